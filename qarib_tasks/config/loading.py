"""Config dataclasses from plain values and YAML, and back."""

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


# The compiled one, where PyYAML has it: each task of a shard reads its run's settings.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def from_dict(cls: type[T], values: Mapping[str, Any], where: object = None) -> T:
    """Make a config dataclass of plain values.

    Raises:
        ConfigError: with every fault at once, each with the setting's full name.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cast(Hashable, cls))
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(_faults(error), where=where, do="Correct the settings named") from None


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
            message = f"{message} (it is {fault['input']!r})"
        lines.append(f"{name}: {message}" if name else message)
    return "; ".join(lines)


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config dataclass, as JSON and YAML hold them."""
    values: dict[str, Any] = _adapter(cast(Hashable, type(config))).dump_python(config, mode="json")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing. ConfigError: it is not YAML, or not a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=path) from None
    if not isinstance(values, dict):
        raise ConfigError("must hold settings as `name: value` lines", where=path)
    return values


def dump_yaml(config: Any) -> str:
    """The YAML text of a config dataclass; `from_dict(type(config), yaml)` gives it back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The dataclass fields of a config class by name."""
    return {f.name: f for f in dataclasses.fields(cls)}
