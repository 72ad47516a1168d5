"""Named sets of settings: the published recipe and a modern one, each also in a size of minutes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.errors import ConfigError

SAMPLE = Path(__file__).resolve().parents[2] / "sample"


def _samples(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "path": str(SAMPLE / f"{name}.txt")} for name in names]


# benchmarks/recipes.py measures what each of these gains, see docs/recipes.md.
_MODERN: dict[str, dict[str, Any]] = {
    "convert": {"format": "packed", "dupe_factor": 1},
    "model": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "train": {
        "next_sentence": False,
        "masking": "dynamic",
        "masked_lm_prob": 0.3,
        "bias_correction": True,
        "beta_2": 0.98,
        "warmup_share": 0.06,
        "schedule": "wsd",
    },
}
_DEMO: dict[str, dict[str, Any]] = {
    "collect": {
        "heldout_share": 0.05,
        "sources": _samples("muwatta", "classical", "office", "udhr", "tweets"),
    },
    "vocab": {"vocab_size": 3_000, "placeholders": 16},
    "split": {"shard_lines": 5_000},
    "convert": {"dupe_factor": 3, "random_seed_per_shard": True},
    "model": {
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "max_position_embeddings": 128,
    },
    "train": {
        # At 2e-3 a model this small learned no more than word frequencies.
        "train_batch_size": 32,
        "learning_rate": 5e-4,
        "train_steps": 800,
        "num_warmup_steps": 80,
        "save_checkpoints_steps": 200,
        "xla": False,
    },
    "evaluate": {"max_eval_steps": 20},
    "tpu": {"machine": "local"},
}


def merged(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `overrides` into `defaults`, section by section. None keeps the default."""
    result = dict(defaults)
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(result.get(key, {}), Mapping):
            result[key] = merged(result.get(key, {}), value)
        elif value is not None:
            result[key] = value
    return result


def overridden(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `values` into `defaults`, without the defaults that a given value stands in for.

    These are a warm-up in the other unit, steps or a share of them, and the number of copies of a text, of
    which packed data have one.
    """
    train, convert = dict(defaults.get("train") or {}), dict(defaults.get("convert") or {})
    if _given(values, "train", "warmup_share"):
        train.pop("num_warmup_steps", None)
    if _given(values, "train", "num_warmup_steps") is not None:
        train.pop("warmup_share", None)
    if _given(values, "convert", "format") == "packed":
        convert.pop("dupe_factor", None)
    return merged({**defaults, "train": train, "convert": convert}, values)


def _given(values: Mapping[str, Any], section: str, name: str) -> Any:
    given = values.get(section)
    return given.get(name) if isinstance(given, Mapping) else None


_DEMO_MODERN = overridden(
    _DEMO,
    merged(
        _MODERN,
        {
            "collect": {"sources": _samples("muwatta", "classical", "prayer", "office", "udhr", "tweets")},
            "train": {
                "train_batch_size": 16,
                "learning_rate": 3e-3,
                "train_steps": 2_080,
                "save_checkpoints_steps": 520,
                "decay_share": 0.25,
                "xla": True,
            },
        },
    ),
)

PRESETS: dict[str, dict[str, Any]] = {
    "qarib": {},
    # An epoch of the published corpus: 600M sentences are some 160M packed examples.
    "qarib_modern": merged(
        _MODERN,
        {
            "train": {
                "train_batch_size": 2_048,
                "learning_rate": 7e-4,
                "train_steps": 80_000,
                "save_checkpoints_steps": 4_000,
                "precision": "auto",
            }
        },
    ),
    "demo": _DEMO,
    "demo_modern": _DEMO_MODERN,
    # A first contact with a Google Cloud project: minutes on one chip. docs/cloud-tpu.md says what it shows.
    "tpu_smoke": merged(
        _DEMO_MODERN,
        {
            "train": {"train_steps": 1_040, "save_checkpoints_steps": 520, "precision": "auto"},
            "evaluate": {"probe_seconds": 10.0},
            "tpu": {
                "machine": "cloud_tpu",
                "accelerator_type": "v5litepod-1",
                "runtime_version": "v2-alpha-tpuv5-lite",
                "queueing_hours": 0.5,
                "booting_hours": 0.5,
                "running_hours": 0.5,
                "max_preemptions": 2,
                "max_cost": 2.0,
            },
        },
    ),
}

# What the settings of a deployment do not change: a check of minutes on one chip remains one.
_FIRM = {
    "tpu_smoke": {
        "tpu": {
            *("accelerator_type", "runtime_version", "queueing_hours", "booting_hours", "running_hours"),
            *("max_preemptions", "max_cost"),
        }
    }
}


def deployed(defaults: Mapping[str, Any], preset: object) -> dict[str, Any]:
    """Return the settings of a deployment that go before those of a preset."""
    firm = _FIRM.get(preset, {}) if isinstance(preset, str) else {}
    kept = {
        section: {name: value for name, value in values.items() if name not in firm[section]}
        for section, values in defaults.items()
        if section in firm and isinstance(values, Mapping)
    }
    return {**defaults, **kept}


def resolve(values: Mapping[str, Any], where: object = None) -> RunConfig:
    """Resolve the preset named in `values`, overridden by the values that are not None.

    Raises:
        ConfigError: there is no such preset, or a setting is wrong.
    """
    return from_dict(RunConfig, all_values(values, where), where)


def all_values(values: Mapping[str, Any], where: object = None) -> dict[str, Any]:
    """Return the values of a run, those of the preset named in `values` included; they may be invalid.

    Raises:
        ConfigError: there is no such preset.
    """
    name = values.get("preset", "qarib")
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", where=where, do=f"Choose one of: {', '.join(PRESETS)}")
    return {**overridden(PRESETS[name], values), "preset": name}
