"""Which files in the folder of a dataset or a model are ours, in the workspace and in the bucket.

In the workspace, a file is ours if a manifest of ours lists it with its content, or if its own content shows
it. In the bucket, its name and its checksum decide, because reading all objects takes too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.staged import is_task
from qarib_tasks.layout import (
    BERT_CONFIG,
    LEDGER,
    MANIFEST,
    PROGRESS,
    REPORT,
    SETTINGS,
    TASKS,
    TENSORBOARD,
    TFRECORD,
    TOKENIZER,
    TOKENIZER_CONFIG,
    ModelLayout,
    checkpoint_of_index,
    checkpoint_of_state,
    evaluation_step,
    is_shard_file,
)
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.files import is_temporary
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.ownership import is_one_of
from qarib_tasks.storage.recognition import (
    HEAD,
    Recognizer,
    is_checkpoint_index,
    is_checkpoint_state,
    is_empty,
    is_evaluation,
    is_evaluation_text,
    is_history,
    is_manifest,
    is_ours,
    is_plan,
    is_probe_predictions,
    is_process_record,
    is_progress,
    is_run_config,
    is_training_events,
    is_training_job,
    json_with,
)

_LARGE = 64 << 20  # bytes; of larger files only the size is compared
_MODEL = ModelLayout(Path(), UploadConfig())
_TASK = _MODEL.task("any").suffix
_EVENTS = "events.out.tfevents."
_NAMES: Mapping[str, Recognizer] = {
    SETTINGS: lambda head: is_run_config(head) or is_training_job(head),
    LEDGER: is_plan,
    PROGRESS: is_progress,
    _MODEL.history.name: is_history,
    _MODEL.eval_results.name: is_evaluation_text,
    _MODEL.probe_predictions.name: is_probe_predictions,
    _MODEL.lock.name: is_empty,
    BERT_CONFIG: json_with("vocab_size"),
    TOKENIZER: json_with("model", "normalizer", begins=b'{\n  "version":'),
    TOKENIZER_CONFIG: json_with("tokenizer_class"),
    REPORT: lambda head: b"<title>The corpus</title>" in head,
}
# Without a folder: objects that the manifests do not list.
_OBJECTS = {MANIFEST, SETTINGS, LEDGER, PROGRESS, BERT_CONFIG, TOKENIZER, TOKENIZER_CONFIG}


def split_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below a folder that are ours, and those that are not; both sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    ours = set(_listed(files))
    for path in files:
        if path not in ours and _shows(path):
            ours.add(path)
    return [path for path in files if path in ours], [path for path in files if path not in ours]


def split_objects(bucket: Bucket, objects: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of the objects below a folder that are ours, and of those that are not.

    Args:
        bucket: with the prefix of the dataset's or the model's folder.
        objects: what it lists.
    """
    ours = {name for name in objects if _is_name_of_ours(name)}
    tasks = (name for name in objects if name.startswith(f"{TASKS}/") and name.endswith(_TASK))
    ours |= {name for name in tasks if is_task(bucket.read_start(name, HEAD))}
    for name in objects:
        if "/" in name or not name.endswith(".json"):
            continue
        try:
            manifest = Manifest.parse((bucket.read_text(name) or "").encode(), name)
        except CorruptError:
            continue
        ours.add(name)
        ours |= {
            record.name for record in manifest.outputs if same(objects.get(record.name), record.checksums)
        }
    return [name for name in objects if name in ours], [name for name in objects if name not in ours]


def _is_name_of_ours(name: str) -> bool:
    """Whether an object of this name, below the folder of a dataset or a model, is ours."""
    folder, _, file = name.rpartition("/")
    if not folder:
        return file in _OBJECTS or file.endswith(REPORT)
    if is_shard_file(file.partition(".")[0]):
        return file.endswith((TFRECORD, ".json")) or "." not in file
    if folder.endswith(TENSORBOARD):
        return file.startswith(_EVENTS)
    return (
        file in (_MODEL.history.name, _MODEL.eval_results.name, _MODEL.probe_predictions.name)
        or _of_model(file) is not None
        or checkpoint_of_state(file) is not None
    )


def _listed(files: list[Path]) -> Iterator[Path]:
    """Yield the manifests, and the files that they list."""
    for path in files:
        if path.suffix != ".json" or not is_ours(path, is_manifest):
            continue
        yield path
        try:
            records = Manifest.read(path).outputs
        except (InputError, CorruptError):
            continue
        for record in records:
            output = path.parent / record.name
            if output.is_file() and (_only_machines_write(output) or _is_unchanged(output, record)):
                yield output


def _is_unchanged(path: Path, record: FileRecord) -> bool:
    return path.stat().st_size == record.bytes and (record.bytes > _LARGE or is_one_of(path, [record]))


def _only_machines_write(path: Path) -> bool:
    """Whether a difference from the manifest is damage."""
    return path.suffix == TFRECORD


def _shows(path: Path) -> bool:
    """Whether a file that no manifest lists shows by its content that it is ours."""
    if path.is_symlink():
        return False
    if is_temporary(path.name):
        return True
    if state := checkpoint_of_state(path.name):
        index = path.with_name(f"{state.name}.json")
        return is_ours(index, is_checkpoint_index) or is_ours(path, is_checkpoint_state)
    if path.parent.name == TENSORBOARD:
        return is_ours(path, is_training_events)
    if path.parent.name == TASKS and path.suffix == _TASK:
        return is_ours(path, is_task)
    if recognizer := _NAMES.get(path.name) or _of_model(path.name):
        return is_ours(path, recognizer)
    if path.name.endswith(f".{REPORT}"):
        return is_ours(path, _NAMES[REPORT])
    work, _, what = path.name.partition(".")
    process = path.with_name(f"{work}.process.json")
    if what in ("process.json", "log", "lease", "lock") and work:
        return is_ours(process, is_process_record)
    return False


def _of_model(file: str) -> Recognizer | None:
    if checkpoint_of_index(file):
        return is_checkpoint_index
    return is_evaluation if evaluation_step(file) is not None else None
