"""The names of a run's dataset and model: the preset and a hash of everything that changes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from qarib_tasks.config.identity import left_settings, marked_settings, named_settings
from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.dataset.ledger import ConsumedFile

# Sections whose every setting counts unless it is marked otherwise. Of others, those that are marked count.
_DATA = ("collect", "vocab", "split", "convert")
_WEIGHTS = ("model", "train", "evaluate")
_APART = ("preset", "extends", "workspace")


def dataset_name(config: RunConfig, files: Sequence[ConsumedFile], vocab_digest: str) -> str:
    """Return the `dataset_id`.

    Args:
        files: the source files. Their contents count, not their addresses. For a remote file, which is not
            fetched yet, its address, size and version count instead.
        vocab_digest: SHA-256 of `config.vocab.vocab_file`; empty for none.
    """
    data: dict[str, Any] = {name: named_settings(getattr(config, name)) for name in _DATA}
    for values in data["collect"]["sources"]:
        values["files"] = [
            file.sha256 or [file.address, file.bytes, file.version]
            for file in files
            if file.source == values["name"]
        ]
    data["vocab"]["vocab_file"] = vocab_digest
    if config.extends:
        data["extends"] = config.extends
    return f"{config.preset}-{short_hash(data | _marked(config, 'dataset', _DATA))}"


def model_name(
    config: RunConfig,
    dataset_id: str,
    start_from_digest: str,
    left: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Return the `model_id`.

    Args:
        start_from_digest: digest of the initial weights; empty for random weights.
        left: values of the settings that were removed from the names; those of the preset by default.
    """
    left = left_settings(config.preset) if left is None else left
    values = weight_settings(config.model, config.train, start_from_digest)
    values["train"] |= left["train"]
    values["evaluate"] = named_settings(config.evaluate) | dict(left["evaluate"])
    values |= later_weight_settings(config)
    return f"{config.preset}-{short_hash([dataset_id, values])}"


def weight_settings(model: Any, train: Any, start_from_digest: str) -> dict[str, Any]:
    """Return the settings that change the weights, with the digest in place of `start_from`."""
    settings = named_settings(train)
    del settings["start_from"]
    if start_from_digest:
        settings["start_from"] = start_from_digest
    return {"model": named_settings(model), "train": settings}


def later_weight_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings outside `weight_settings` that change weights; the first version had none."""
    return _marked(config, "model", _WEIGHTS)


def _marked(config: RunConfig, of: str, besides: Sequence[str]) -> dict[str, Any]:
    own = marked_settings(config, of)
    found = {name: value for name, value in own.items() if name not in (*besides, *_APART)}
    for field in dataclasses.fields(config):
        section = getattr(config, field.name)
        is_other = dataclasses.is_dataclass(section) and field.name not in besides
        if is_other and (settings := marked_settings(section, of)):
            found[field.name] = settings
    return found


def actual_values(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the run's values of the settings that were removed from the names, for `model_name`."""
    plain = {section: to_dict(getattr(config, section)) for section in left_settings("")}
    return {
        section: {name: plain[section].get(name, value) for name, value in values.items()}
        for section, values in left_settings(config.preset).items()
    }


def short_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]
