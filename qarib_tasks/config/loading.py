"""Convert config dataclasses to and from plain values and YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from qarib_tasks.errors import ConfigError, InputError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

T = TypeVar("T")


# Prefer the compiled loader: every task of a shard reads the settings of its run.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def from_dict(cls: type[T], values: Mapping[str, Any], where: object = None) -> T:
    """Build a config dataclass from plain values.

    Raises:
        ConfigError: a value is not valid. The error lists all faults, each with the full name of the setting.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cast(Hashable, cls))
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(_faults(error), where=where, do="Correct these settings") from None


def _faults(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            message = "unknown setting"
        elif fault["type"] in {"missing", "missing_argument"}:
            message = "is missing"
        elif fault["type"] != "value_error":
            message = f"{message} (got {fault['input']!r})"
        lines.append(f"{name}: {message}" if name else message)
    return "; ".join(lines)


def to_dict(config: Any) -> dict[str, Any]:
    """Return the values of a config dataclass as JSON and YAML types."""
    values: dict[str, Any] = _adapter(cast(Hashable, type(config))).dump_python(config, mode="json")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        InputError: the file does not exist.
        ConfigError: the file is not valid YAML, or is not a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=path) from None
    if not isinstance(values, dict):
        raise ConfigError("the file must hold settings as `name: value` lines", where=path)
    return values


def dump_yaml(config: Any) -> str:
    """Return a config dataclass as YAML text. `from_dict` on the loaded text returns an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the dataclass fields of a config class by name."""
    return {f.name: f for f in dataclasses.fields(cls)}
