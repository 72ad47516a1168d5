"""Which settings are part of a name: another value makes another dataset, another model, or neither.

Each setting says so on its field: `Annotated[int, Field(...), DATASET]`. `named_settings` is what a name is
hashed from and what a step's manifest records. The rules that keep old names:

- The settings of the first version are hashed at every value.
- A setting that a later version adds is hashed only if it is not at its default, so that it renames nothing.
  You only have to mark the field, in whatever section it is.
- A setting that was removed from the names is hashed with the value that it had at that time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from qarib_tasks.config.loading import to_dict


@dataclass(frozen=True)
class Identity:
    """What another value of a setting makes.

    Attributes:
        of: `dataset` also makes another model, which is named by its dataset too.
        why: a phrase for the documentation.
    """

    of: Literal["dataset", "model", "neither"]
    why: str


DATASET = Identity("dataset", "changes the text or the examples")
MODEL = Identity("model", "changes the weights")


def neither(why: str) -> Identity:
    """Return the mark of a setting that no name depends on."""
    return Identity("neither", why)


# Hashed at every value, by section: all settings of the first version that were part of a name.
_FIRST = {
    "CollectConfig": {
        *("sources", "heldout_share", "cleaning", "minimum_characters", "maximum_characters"),
        *("arabic_share", "deduplicate", "near_duplicates"),
    },
    "SourceConfig": {
        *("name", "format", "compression", "field", "document", "group", "member", "limit", "share"),
        *("skip_at_most", "sha256"),
    },
    "VocabConfig": {
        *("vocab_size", "sample_lines", "placeholders", "recipe", "model_type", "vocab_file"),
    },
    "SplitConfig": {"shard_lines"},
    "ConvertConfig": {
        *("max_seq_length", "max_predictions_per_seq", "masked_lm_prob", "random_seed", "dupe_factor"),
        *("short_seq_prob", "do_lower_case", "do_whole_word_mask", "random_seed_per_shard", "compression"),
    },
    "ModelConfig": {
        *("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
        *("max_position_embeddings", "type_vocab_size", "hidden_act", "hidden_dropout_prob"),
        *("attention_probs_dropout_prob", "initializer_range"),
    },
    "TrainConfig": {
        *("start_from", "train_batch_size", "learning_rate", "train_steps", "num_warmup_steps"),
        *("shuffle_window", "next_sentence", "backend", "precision", "xla"),
    },
}
# Settings that have left the names, and the values that they are hashed as: those of the first version's
# presets, so that the names of its datasets and models stay.
_LEFT: dict[str, dict[str, Any]] = {
    "train": {
        "keep_checkpoint_max": 20,
        "max_corrupt_records": 0,
        "num_tpu_cores": 8,
        "save_checkpoints_steps": 100_000,
    },
    "evaluate": {"eval_batch_size": 64, "max_eval_steps": 100},
}
_LEFT_OF_PRESET: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {
        "train": {"num_tpu_cores": 1, "save_checkpoints_steps": 200},
        "evaluate": {"max_eval_steps": 20},
    },
}


@cache
def identities(cls: type) -> dict[str, Identity | None]:
    """Return the mark of each field of a config class, or None for a section or a field without a mark."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        field.name: next((mark for mark in get_args(hints[field.name]) if isinstance(mark, Identity)), None)
        for field in dataclasses.fields(cls)
    }


def named_settings(config: Any) -> dict[str, Any]:
    """Return the values of a section's settings that are part of a name; see the module's docstring."""
    return _settings(config, lambda mark: mark is None or mark.of != "neither")


def marked_settings(config: Any, of: str) -> dict[str, Any]:
    """Return the values of a section's settings that are marked as part of a dataset's or a model's name."""
    return _settings(config, lambda mark: mark is not None and mark.of == of)


def recorded_settings(config: Any) -> dict[str, Any]:
    """Return the same as `named_settings`, plus the settings that are part of no name."""
    return _settings(config, lambda mark: True)


def _settings(config: Any, keep: Callable[[Identity | None], bool]) -> dict[str, Any]:
    cls: Any = type(config)
    plain, marks = to_dict(config), identities(cls)
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        value = getattr(config, field.name)
        is_first = field.name in _FIRST.get(cls.__name__, ())
        if not keep(marks[field.name]) or not (is_first or value != _default(cls, field)):
            continue
        if dataclasses.is_dataclass(value):
            settings[field.name] = _settings(value, keep)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            settings[field.name] = [_settings(one, keep) for one in value]
        else:
            settings[field.name] = plain[field.name]
    return settings


def _default(cls: Any, field: dataclasses.Field[Any]) -> Any:
    """Return a field's default, also one that a factory makes; a value equal to nothing if it has none."""
    if hasattr(cls, "__pydantic_fields__"):
        return cls.__pydantic_fields__[field.name].get_default(call_default_factory=True)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def left_settings(preset: str) -> dict[str, dict[str, Any]]:
    """Return the values that settings removed from the names are hashed with, by section."""
    of_preset: Mapping[str, Mapping[str, Any]] = _LEFT_OF_PRESET.get(preset, {})
    return {section: values | dict(of_preset.get(section, {})) for section, values in _LEFT.items()}
