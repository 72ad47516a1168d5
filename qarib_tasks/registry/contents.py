"""Which files in the folder of a dataset or a model are ours, in the workspace and in the bucket.

In the workspace, a file is ours if a manifest of ours lists it with its content, or if its own content shows
it. In the bucket, its name and its checksum decide, because reading all objects takes too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.config.yaml_text import read_yaml
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.staged import is_task
from qarib_tasks.layout import (
    BERT_CONFIG,
    HELDOUT,
    LEDGER,
    MANIFEST,
    PREVIEW,
    PROGRESS,
    REPORT,
    SETTINGS,
    SHARDS,
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
    is_preview,
    is_probe_predictions,
    is_process_record,
    is_progress,
    is_run_config,
    is_training_events,
    is_training_job,
    json_with,
)
from qarib_tasks.storage.regular_files import read_settings_text
from qarib_tasks.storage.working_folder import is_our_folder

_LARGE = 64 << 20  # bytes; of larger files only the size is compared
_MODEL = ModelLayout(Path(), UploadConfig())
_EVENTS = "events.out.tfevents."
_TASK = _MODEL.task("any").suffix
_FORMER_WORKING_FOLDER = "data.sources"  # of the first version
# In the artifact's folder itself.
_NAMES: Mapping[str, Recognizer] = {
    SETTINGS: lambda head: is_run_config(head) or is_training_job(head),
    LEDGER: is_plan,
    PREVIEW: is_preview,
    PROGRESS: is_progress,
    _MODEL.lock.name: is_empty,
    BERT_CONFIG: json_with("vocab_size"),
    TOKENIZER: json_with("model", "normalizer", begins=b'{\n  "version":'),
    TOKENIZER_CONFIG: json_with("tokenizer_class"),
    REPORT: lambda head: b"<title>The corpus</title>" in head,
}
# In the folders of checkpoints and evaluations.
_FIGURES: Mapping[str, Recognizer] = {
    _MODEL.history.name: is_history,
    _MODEL.eval_results.name: is_evaluation_text,
    _MODEL.probe_predictions.name: is_probe_predictions,
}
# Without a folder: objects that the manifests do not list.
_OBJECTS = {MANIFEST, SETTINGS, LEDGER, PREVIEW, PROGRESS, BERT_CONFIG, TOKENIZER, TOKENIZER_CONFIG}


@dataclass(frozen=True)
class _Folders:
    """The folders below that of a dataset or a model that we write to, relative; the empty one is itself.

    Files in other folders are the user's, even if they are copies of ours.
    """

    data: frozenset[str]
    training: frozenset[str]

    @classmethod
    def of(cls, settings: str) -> _Folders:
        """Read the names that can be chosen from a `config.yaml`."""
        try:
            values = read_yaml(settings)
        except (yaml.YAMLError, ValueError):
            values = None
        chosen = values if isinstance(values, dict) else {}
        if isinstance(upload := chosen.get("upload"), dict):
            chosen = chosen | upload
        default = UploadConfig()
        pretraining, *training = (
            str(chosen.get(name) or getattr(default, name)).strip("/")
            for name in ("pretraining_data", "bert_model", "bert_evals")
        )
        parts = ("", *(name.strip("/") for name in (SHARDS, pretraining)))
        data = {f"{HELDOUT}{part}".strip("/") for part in parts} | {*parts}
        return cls(frozenset(data), frozenset(training))

    @property
    def events(self) -> set[str]:
        return {f"{folder}/{TENSORBOARD}" for folder in self.training}


def split_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below a folder that are ours, and those that are not; both sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    settings = folder / SETTINGS
    known = _Folders.of(read_settings_text(settings) if settings.is_file() else "")
    ours = set(_listed(folder, known, files))
    for path in files:
        if path not in ours and _shows(folder, known, path):
            ours.add(path)
    return [path for path in files if path in ours], [path for path in files if path not in ours]


def split_objects(bucket: Bucket, objects: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of the objects below a folder that are ours, and of those that are not.

    Args:
        bucket: with the prefix of the dataset's or the model's folder.
        objects: what it lists.
    """
    known = _Folders.of((bucket.read_text(SETTINGS) or "") if SETTINGS in objects else "")
    ours = {name for name in objects if _is_name_of_ours(known, name)}
    tasks = (name for name in objects if _is_name_of_task(name))
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


def _is_name_of_ours(known: _Folders, name: str) -> bool:
    """Whether an object of this name, below the folder of a dataset or a model, is ours."""
    folder, _, file = name.rpartition("/")
    if not folder:
        return file in _OBJECTS or file.endswith(REPORT)
    if folder in known.data and is_shard_file(file.partition(".")[0]):
        return file.endswith((TFRECORD, ".json")) or "." not in file
    if folder in known.events:
        return file.startswith(_EVENTS)
    return folder in known.training and (
        file in _FIGURES or _of_model(file) is not None or checkpoint_of_state(file) is not None
    )


def _is_name_of_task(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder == TASKS and file.endswith(_TASK)


def _listed(folder: Path, known: _Folders, files: list[Path]) -> Iterator[Path]:
    """Yield the manifests, and the files that they list."""
    for path in files:
        if not _is_written_to(folder, known, path.parent):
            continue
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


def _place(folder: Path, inner: Path) -> str:
    """Return the name of a folder below that of the artifact; empty for the latter."""
    return "" if inner == folder else inner.relative_to(folder).as_posix()


def _is_written_to(folder: Path, known: _Folders, inner: Path) -> bool:
    """Whether steps write manifests to a folder: those of the dataset, and of what was collected before."""
    name = _place(folder, inner)
    return name in known.data or name == _FORMER_WORKING_FOLDER or is_our_folder(inner)


def _is_unchanged(path: Path, record: FileRecord) -> bool:
    return path.stat().st_size == record.bytes and (record.bytes > _LARGE or is_one_of(path, [record]))


def _only_machines_write(path: Path) -> bool:
    """Whether a difference from the manifest is damage."""
    return path.suffix == TFRECORD


def _shows(folder: Path, known: _Folders, path: Path) -> bool:
    """Whether a file that no manifest lists shows by its place and its content that it is ours."""
    if path.is_symlink():
        return False
    if is_temporary(path.name):
        return True
    place = _place(folder, path.parent)
    if place in known.events:
        return is_ours(path, is_training_events)
    if place == TASKS:
        return path.name.endswith(_TASK) and is_ours(path, is_task)
    if place in known.training:
        if state := checkpoint_of_state(path.name):
            index = path.with_name(f"{state.name}.json")
            return is_ours(index, is_checkpoint_index) or is_ours(path, is_checkpoint_state)
        recognizer = _FIGURES.get(path.name) or _of_model(path.name)
        return recognizer is not None and is_ours(path, recognizer)
    return not place and _shows_in_the_folder(path)


def _shows_in_the_folder(path: Path) -> bool:
    if recognizer := _NAMES.get(path.name):
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
