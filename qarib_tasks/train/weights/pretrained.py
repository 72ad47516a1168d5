"""The weights of `train.start_from`, checked against the model to train."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.layout import BERT_CONFIG, HUGGING_FACE_CONFIG, START_FROM, checkpoint_files
from qarib_tasks.storage.checked_file import watched
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.model_files import (
    MOST_BYTES,
    SHARDS_INDEX,
    Pretrained,
    find,
    read_json,
    shards_of,
)
from qarib_tasks.storage.records.read import read_record
from qarib_tasks.storage.records.schemas import CheckpointIndex
from qarib_tasks.storage.regular_files import read_regular
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.model.trained import TOKEN_LOSSES, is_weight
from qarib_tasks.train.output import Output
from qarib_tasks.train.weights.compare_vocabulary import check_vocabulary, lower_case
from qarib_tasks.train.weights.hugging_face import read_hugging_face, variable_name
from qarib_tasks.train.weights.tensorflow1 import read_checkpoint

log = logging.getLogger(__name__)
HEADS = ("cls/", "bert/pooler/")
AVERAGES = ("adam_m", "adam_v")
REPLACE = "Copy the weights again, or start from others"
GELUS = ("gelu", "gelu_new", "gelu_pytorch_tanh")
LAYER = re.compile(r"bert/encoder/layer_(\d+)/")


def pretrained_weights(
    job: TrainingJob, output: Output, vocabulary: Vocabulary, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], list[FileRecord]]:
    """Read the weights that the job starts from, without the optimizer's averages and the step.

    Args:
        shapes: shapes of the model's variables by name.

    Returns:
        float32 arrays by variable, and the files that hold them. Heads that the source lacks are missing,
        with a warning.

    Raises:
        InputError: the source does not exist, or has changed since the run was prepared.
        ConfigError: the vocabulary, a shape or a setting differs from the job's, or the source is no BERT.
        CorruptError: the source cannot be read, or has values that are not finite.
    """
    address = job.train.start_from
    found = find(address)
    if job.start_from_digest and found.digest != job.start_from_digest:
        raise InputError("has changed since the run was prepared", where=address, do="Start a new run")
    folder = found.stage(output.cache)
    require_unchanged = watched(*(folder / name for name in found.recorded))
    weights, settings = read(found, folder)
    _check_architecture(address, weights, settings, shapes)
    check_vocabulary(found, folder, settings, vocabulary, lower_case(job, output))
    _check_settings(address, settings, job)
    check_shapes(address, weights, shapes)
    check_finite(found, folder, weights, shapes)
    missing = sorted(set(shapes) - set(weights))
    if missing:
        log.warning("%s has no %s: using initial values", address, ", ".join(missing))
    log.info("%s: loaded %d of %d variables", address, len(shapes) - len(missing), len(shapes))
    records = [FileRecord.of(folder / name, f"{START_FROM}/{name}") for name in found.recorded]
    require_unchanged()
    return {name: weights[name] for name in shapes if name in weights}, records


def optimizer_averages(
    job: TrainingJob, output: Output, names: Iterable[str]
) -> tuple[dict[str, np.ndarray], int]:
    """Read the optimizer's averages, and the losses for token dropping, of the job's `start_from`.

    Args:
        names: names of the model's variables.

    Returns:
        float32 arrays by name (`…/adam_m`, `…/adam_v`; the losses if there are any), and the number of
        updates that are in them.

    Raises:
        ConfigError: the source is no checkpoint of this project, or lacks averages of a variable.
        CorruptError: the source cannot be read, or has values that are not finite.
    """
    address = job.train.start_from
    found = find(address)
    if found.kind != "checkpoint":
        raise ConfigError(
            "has no state of an optimizer, which train.start_from_optimizer asks for",
            where=address,
            do="Give a checkpoint of this project, such as bert_model/checkpoint-500 of a model's folder",
        )
    folder = found.stage(output.cache)
    index, state = _checkpoint(found, folder)
    wanted = [f"{name}/{average}" for name in names for average in AVERAGES]
    if missing := sorted(set(wanted) - set(state)):
        raise ConfigError(
            f"has no {', '.join(missing[:3])}", where=address, do="Set train.start_from_optimizer to false"
        )
    check_finite(found, folder, state, wanted)
    updates = int(state["global_step"]) + int(index.get("updates_before", 0))
    return {name: state[name] for name in (*wanted, TOKEN_LOSSES) if name in state}, updates


def check_finite(
    found: Pretrained, folder: Path, weights: Mapping[str, np.ndarray], names: Iterable[str]
) -> None:
    """Check that every number in the weights that are used is finite.

    Raises:
        CorruptError: one is not.
    """
    for name in names:
        if name in weights and not np.isfinite(weights[name]).all():
            raise CorruptError(
                f"{name} has values that are not finite", where=_file_of(found, folder, name), do=REPLACE
            )


def read(found: Pretrained, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the weights by their TF 1 names, and the settings stored beside them (empty if there are none)."""
    settings: dict[str, Any] = {}
    if found.kind == "checkpoint":
        index, state = _checkpoint(found, folder)
        return {name: value for name, value in state.items() if is_weight(name)}, index["model"]
    for name in (BERT_CONFIG, HUGGING_FACE_CONFIG):
        if name in found.files:
            settings = read_json(folder / name)
    if found.kind == "tensorflow1":
        return read_checkpoint(folder / found.stem), settings
    return read_hugging_face(folder / found.stem), settings


def _checkpoint(found: Pretrained, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the index and the tensors of one of our checkpoints.

    Raises:
        CorruptError: one of them cannot be read, or they do not match.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    index_file, path = (folder / name for name in checkpoint_files(found.stem))
    index = read_record(index_file, CheckpointIndex, "Start from another checkpoint, or copy it again")
    if index is None:
        raise CorruptError("no such file", where=index_file, do=REPLACE)
    if FileRecord.of(path, path.name) != FileRecord(**index["state"]):
        raise CorruptError("does not match its index", where=path)
    try:
        return index, load_file(path)
    except SafetensorError as error:
        raise CorruptError(f"cannot be read: {error}", where=path) from None


def _file_of(found: Pretrained, folder: Path, name: str) -> Path:
    """Return the file that has a variable."""
    path = folder / found.stem
    if found.kind == "checkpoint":
        return folder / checkpoint_files(found.stem)[1]
    if not found.stem.endswith(SHARDS_INDEX):
        return path
    files = shards_of(read_regular(path, MOST_BYTES), path)
    return folder / next(file for key, file in files.items() if variable_name(key) == name)


def _check_architecture(
    address: str,
    weights: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse another architecture: there, no setting of `model` helps."""
    needed = {name: shape for name, shape in shapes.items() if not name.startswith(HEADS)}
    if all(name in weights and weights[name].shape == shape for name, shape in needed.items()):
        return
    kind = settings.get("model_type", "bert")
    firsts = sorted({name.partition("/")[0] for name in weights} - {"cls"})
    if kind == "bert" and (not firsts or "bert" in firsts):
        return
    if kind != "bert":
        what = f"is not a BERT: {HUGGING_FACE_CONFIG} has the model_type {kind!r}"
    else:
        what = f"is not a BERT: the names of its variables begin with {', '.join(firsts[:3])}, not with bert"
    raise ConfigError(what, where=address, do="Give the weights of a BERT")


def _check_settings(address: str, settings: Mapping[str, Any], job: TrainingJob) -> None:
    """Compare the settings that shapes do not show."""
    heads = settings.get("num_attention_heads", job.model.num_attention_heads)
    if heads != job.model.num_attention_heads:
        raise ConfigError(
            f"was trained with {heads} attention heads; model.num_attention_heads is "
            f"{job.model.num_attention_heads}",
            where=address,
            do=f"Set model.num_attention_heads to {heads}",
        )
    if (activation := settings.get("hidden_act", "gelu")) not in GELUS:
        raise ConfigError(f"unsupported activation {activation}; only gelu is supported", where=address)


def check_shapes(
    address: str,
    weights: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    do: str = "Set the settings of `model` to those that these weights were trained with",
) -> None:
    """Compare the weights with the variables to fill. Heads can be missing.

    Raises:
        ConfigError: a shape differs, a variable is missing, or a layer is too many.
    """
    faults = [
        f"{name} has the shape {list(weights[name].shape)}, expected {list(shape)}"
        for name, shape in shapes.items()
        if name in weights and weights[name].shape != shape
    ]
    faults += [f"{name} is missing" for name in shapes if name not in weights and not name.startswith(HEADS)]
    more = {match[0] for name in weights if name not in shapes and (match := LAYER.match(name))}
    faults += [f"unexpected layer {layer.rstrip('/')}" for layer in sorted(more)]
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ConfigError(shown, where=address, do=do)
