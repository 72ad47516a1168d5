"""Which files of a training and of its folder are ours, recognized by their content.

A training writes for hours before its manifest lists anything. What it wrote is therefore recognized by what
only the trainer writes, in the first bytes of each file. See `storage.ownership` for the rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from qarib_tasks.config.yaml_text import read_yaml
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import (
    EXPORT,
    MODEL_CARD,
    ModelLayout,
    checkpoint_of_index,
    checkpoint_of_state,
    evaluation_step,
)
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import BEGINNING, Kind, Manifest, is_like_manifest
from qarib_tasks.storage.model_files import EXPORTED
from qarib_tasks.storage.ownership import OTHER_OUTPUT, Earlier
from qarib_tasks.storage.records.settings import WRITTEN

MOVE_SHARED = (
    "Restore it from a copy, or move it: then a new one is started, without what the runs before recorded"
)
HEAD = 1 << 20  # bytes that decide
Recognizer = Callable[[bytes], bool]
NOT_OURS = "exists and was not made by qarib"
MOVE_RECORD = "Choose another output, or move this file: if it was made by qarib, it is made again"


def json_with(*names: str, begins: bytes = b"") -> Recognizer:
    """A recognizer of JSON objects that have at least these names; of three and more, one can be missing.

    Args:
        begins: how such a file begins: one that is cut off is recognized by it.
    """

    def recognized(head: bytes) -> bool:
        try:
            values = json.loads(head)
        except (ValueError, RecursionError):
            return bool(begins) and head.startswith(begins)
        return isinstance(values, dict) and _has_names(values, names)

    return recognized


def _has_names(values: Mapping[Any, Any], names: Collection[str]) -> bool:
    """Whether an object has the names of a record, which may be damaged."""
    return len(set(names) - values.keys()) <= (len(names) > 2)


def settings_with(*names: str, first: str) -> Recognizer:
    """A recognizer of settings in YAML that have at least these names.

    Args:
        first: the name of the first setting: a damaged file of ours is recognized by it.
    """
    begins = re.compile(rf"{re.escape(WRITTEN)}[^\n]*\n{first}:".encode())

    def recognized(head: bytes) -> bool:
        try:
            values = read_yaml(head.decode("utf-8"))
        except (yaml.YAMLError, ValueError):
            values = None
        if isinstance(values, dict) and values.keys() >= set(names):
            return True
        return begins.match(head) is not None

    return recognized


is_training_job = settings_with("training_data", "vocab_file", "output", first="training_data")
is_run_config = settings_with("collect", "vocab", "convert", first="workspace")
is_progress = json_with("state", "step", "train_steps", "updated_at", begins=b'{\n "state":')
is_checkpoint_index = json_with("step", "position", "model", "state", "format", begins=b'{\n "figures":')
is_probe_predictions = json_with("step", "tasks", begins=b'{"step": ')
is_evaluation = json_with("step", "masked_lm_loss", "masked_lm_accuracy", "perplexity", begins=b'{\n "step":')

is_finetuning_result = json_with("task", "sha256", "seed", "rates", "predicted", begins=b'{"task":')

is_process_record = json_with("pid", "started", "log_start", begins=b'{"pid": ')
is_shared_record = json_with("format")
is_plan = json_with("format", "files", begins=b'{\n "format": ')


def is_preview(head: bytes) -> bool:
    """Whether it is what the preflight saw in the sources."""
    return head.startswith(b'[{"source": ') or head == b"[]\n"


def is_manifest(head: bytes) -> bool:
    """Whether it is a manifest of any kind and size, which may be damaged."""
    return head.startswith(BEGINNING) or is_like_manifest(head)


def _manifest_of(kind: Kind) -> Recognizer:
    def recognized(head: bytes) -> bool:
        try:
            return Manifest.parse(head, "").kind == kind
        except CorruptError:
            return is_manifest(head)  # cut off, or damaged

    return recognized


is_model_manifest = _manifest_of("model")
is_dataset_manifest = _manifest_of("dataset")


def is_finetuning_table(head: bytes) -> bool:
    """Whether it is the table of a model's fine-tunings; other programs have files of this name too."""
    try:
        values = json.loads(head)
    except (ValueError, RecursionError):
        return head.startswith(b'{\n "tasks": [\n  {\n   "name":')  # cut off
    tasks = values.get("tasks") if isinstance(values, dict) and len(values) == 1 else None
    return isinstance(tasks, list) and all(
        isinstance(task, dict) and task.keys() >= {"sha256", "seeds", "missing"} for task in tasks
    )


def is_empty(head: bytes) -> bool:
    return not head


def is_history(head: bytes) -> bool:
    """Whether it is `history.jsonl`, which can be empty, or cut off by a kill."""
    start = b'{"step": '
    return head[: len(start)] == start[: len(head)]


def is_evaluation_text(head: bytes) -> bool:
    return head.startswith(b"global_step = ")


def is_checkpoint_state(head: bytes) -> bool:
    """Whether the header of a safetensors file names the tensors that only a trainer keeps."""
    length = int.from_bytes(head[:8], "little")
    return b'"global_step":' in head[8 : 8 + length] and head[8:9] == b"{"


def is_training_events(head: bytes) -> bool:
    """Whether it is a file of TensorBoard with a figure of a training."""
    return b"brain.Event:" in head[:64] and b"masked_lm_loss" in head


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def is_ours(path: Path, recognizer: Recognizer) -> bool:
    """Whether a path is a regular file that the recognizer knows."""
    return path.is_file() and recognizer(head_of(path))


def require_ours(path: Path, recognizer: Recognizer, do: str = MOVE_RECORD) -> None:
    """Check, before anything is written, that the file at a path is ours, if there is one.

    Args:
        do: what a person can do otherwise.

    Raises:
        InputError: it is not.
    """
    if (path.exists() or path.is_symlink()) and not is_ours(path, recognizer):
        raise InputError(f"{NOT_OURS}, or is damaged", where=path, do=do)


def require_our_object(bucket: Bucket, name: str, recognizer: Recognizer) -> None:
    """Check that an object is ours, if there is one with bytes.

    Raises:
        InputError: it is not.
    """
    head = bucket.read_start(name, HEAD)
    if head and not recognizer(head):
        raise InputError(
            NOT_OURS, where=bucket.address + name, do="Choose another prefix, or move this object"
        )


def require_folders(folders: Iterable[Path]) -> None:
    """Check that each is a folder, or does not exist.

    Raises:
        InputError: one is something else.
    """
    for folder in folders:
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            raise InputError("is a file, not a folder", where=folder, do=OTHER_OUTPUT)


def check_model_folder(layout: ModelLayout) -> None:
    """Check, before a training writes anything, that every file that it would replace is ours.

    Raises:
        InputError: a file is not.
    """
    parts = (layout.root, layout.bert_model, layout.bert_evals)
    require_folders([*parts, layout.events, layout.evaluation_events, layout.export])
    for folder in parts:
        for path in sorted(folder.glob("*")):
            recognizer = _of_model(layout, path)
            if recognizer and not _is_indexed(layout, path):
                require_ours(path, recognizer)
    _check_export(layout)
    require_ours(layout.lock, lambda head: True)
    if not layout.lock.exists():  # A training that was killed before its first line has made its lock.
        require_ours(layout.history, lambda head: bool(head))


def _check_export(layout: ModelLayout) -> None:
    """Check, before hours of training, what the export would refuse after them."""
    found = (layout.export / name for name in sorted(EXPORTED) if name != MODEL_CARD)
    unknown = [path for path in found if path.exists() or path.is_symlink()]
    if not unknown or _began(path.name for path in layout.bert_model.glob("*")):
        return  # An earlier version can have written them, too: the export compares their contents.
    earlier = Earlier.read(layout.manifest)
    for path in unknown:
        if not earlier.owns(path):
            raise InputError(NOT_OURS, where=path, do="Move this file")


def _began(names: Iterable[str]) -> bool:
    """Whether a training has written a checkpoint, by the names of files."""
    return any(map(checkpoint_of_index, names))


def _is_indexed(layout: ModelLayout, path: Path) -> bool:
    """Whether it is a checkpoint's tensors, maybe damaged, and our index names it."""
    name = checkpoint_of_state(path.name)
    return name is not None and is_ours(layout.checkpoint_index(name.name), is_checkpoint_index)


def check_model_objects(layout: ModelLayout, bucket: Bucket) -> None:
    """Check the same of the objects that the training would replace or fetch.

    Objects that this machine has too are not read.

    Args:
        bucket: with the prefix of the model's folder.

    Raises:
        InputError: an object is not ours.
    """
    objects = bucket.list()
    if layout.name_of(layout.manifest).removeprefix(layout.name) not in objects:
        names = {f"{EXPORT}/{name}" for name in EXPORTED if name != MODEL_CARD}
        exported = sorted(names & objects.keys())
        if exported and not _began(name.rpartition("/")[2] for name in objects):
            where = bucket.address + exported[0]
            raise InputError(NOT_OURS, where=where, do="Choose another prefix, or move this object")
    for name, blob in objects.items():
        path = layout.root / name
        recognizer = _of_model(layout, path)
        if recognizer is None:
            continue
        if path.is_file() and path.stat().st_size == blob.size and same(blob, checksums(path)):
            continue
        if state := checkpoint_of_state(path.name):
            index = layout.name_of(layout.checkpoint_index(state.name)).removeprefix(layout.name)
            if index in objects:  # It is checked itself.
                continue
        require_our_object(bucket, name, recognizer)


def _of_model(layout: ModelLayout, path: Path) -> Recognizer | None:
    """The recognizer of a file that a training writes; None for the name of another file."""
    fixed: dict[Path, Recognizer] = {
        layout.manifest: is_model_manifest,
        layout.config: is_training_job,
        layout.progress: is_progress,
        layout.history: is_history,
        layout.eval_results: is_evaluation_text,
        layout.probe_predictions: is_probe_predictions,
        layout.finetuning_table: is_finetuning_table,
    }
    if recognizer := fixed.get(path):
        return recognizer
    if path.parent == layout.bert_evals and evaluation_step(path.name) is not None:
        return is_evaluation
    if path.parent == layout.bert_model and checkpoint_of_index(path.name):
        return is_checkpoint_index
    if path.parent == layout.bert_model and checkpoint_of_state(path.name):
        return is_checkpoint_state
    return None
