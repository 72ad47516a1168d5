"""Convert config dataclasses to and from plain values and YAML."""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import InitErrorDetails, PydanticCustomError

from qarib_tasks.config.yaml_text import YAML_LOADER, require_small
from qarib_tasks.errors import ConfigError, InputError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
LARGEST = 2**63 - 1
SETTINGS_BYTES = 64 << 20  # of a file at most
MOST_SHOWN = 100  # characters of a wrong value

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Settings:
    """The base of all config classes.

    A number cannot be true or false, which Python takes for 1 and 0. An integer has at most 64 bits, as the
    libraries that read it. No text has a NUL character: no path can have one.
    """

    # One validator for all fields: one for each would be a hundredth of the import of the DAG files.
    @model_validator(mode="before")
    @classmethod
    def _no_boolean_or_nul(cls, values: Any) -> Any:
        given = getattr(values, "kwargs", values)  # of a constructor
        if isinstance(given, Mapping):
            wrong = []
            for name, value in given.items():
                each = value if isinstance(value, list | tuple) else [value]
                what = ""
                if any(isinstance(one, str) and "\0" in one for one in each):
                    what = f"must not have a NUL character {got(value)}"
                elif any(type(one) is bool for one in each) and _is_numeric(cls, name):
                    what = f"must be a number (got {str(value).lower()})"
                elif any(map(_is_too_large, each)) and _is_numeric(cls, name):
                    what = f"is too large {got(value)}"
                if what:
                    kind = PydanticCustomError("value_error", "{what}", {"what": what})
                    wrong.append(InitErrorDetails(type=kind, loc=(name,), input=value))
            if wrong:
                raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values


def _is_too_large(value: Any) -> bool:
    """Whether this is an integer, or the text of one, of more than 64 bits."""
    if isinstance(value, str):
        digits = value.strip().lstrip("+-")
        return digits.isdecimal() and len(digits) > len(str(LARGEST))
    return type(value) is int and abs(value) > LARGEST


def got(value: Any) -> str:
    """A wrong value, for an error; of a long one, the beginning."""
    # Python writes out no integer of more than 4,300 digits.
    is_long = isinstance(value, int) and value.bit_length() > 4 * MOST_SHOWN
    text = f"{value:#x}" if is_long else repr(value)
    return f"(got {text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + '…'})"


def _is_numeric(cls: Any, name: str) -> bool:
    if name not in cls.__pydantic_fields__:
        return False
    kind = cls.__pydantic_fields__[name].annotation
    parts = [getattr(part, "__origin__", part) for part in get_args(kind)]  # without `Annotated`
    return not {int, float}.isdisjoint([kind, *parts])


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_address(path: str) -> bool:
    """Return whether a path is an address, such as gs://bucket/folder; as a path, it begins with `gs:`."""
    return bool(_ADDRESS.match(path))


def local(path: str, bucket: str) -> str:
    """Return the path of a folder to write to.

    Args:
        bucket: the setting that names a bucket to publish to.

    Raises:
        ValueError: it is an address.
    """
    if is_address(path):
        raise ValueError(
            f"must be a folder on this machine; to publish to a bucket, set {bucket} (got {path!r})"
        )
    return path


BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


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
        faults = "; ".join(f"{name}: {message}" if name else message for name, message in _faults(error))
        raise ConfigError(faults, where=where, do="Correct these settings") from None


def faults_of(cls: type, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what `from_dict` refuses: the full name of each setting or section, and what is wrong."""
    try:
        _adapter(cast(Hashable, cls)).validate_python(dict(values))
    except ValidationError as error:
        return _faults(error)
    return []


_SHAPES = {
    "tuple_type": "must be a list",
    "dataclass_type": "must hold settings as `name: value`",
    "dict_type": "must hold settings as `name: value`",
}


def _faults(error: ValidationError) -> list[tuple[str, str]]:
    found = []
    for fault in error.errors():
        unknown = fault["type"] in {"unexpected_keyword_argument", "extra_forbidden", "invalid_key"}
        # Of a setting with several types, the place ends with the type.
        parts = [str(part) for part in fault["loc"] if unknown or (part != "str" and "[" not in str(part))]
        if fault["type"] == "invalid_key":
            parts[-1] = str(fault["input"])  # a date, for example, which pydantic shows as Python's code
        name = ".".join(parts)
        message = fault["msg"].removeprefix("Value error, ")
        if unknown:
            message = "unknown setting"
        elif fault["type"] in {"missing", "missing_argument"}:
            message = "is missing"
        elif fault["type"] != "value_error":
            message = _SHAPES.get(fault["type"], message)
            message = f"{message} {got(fault['input'])}"
        found.append((name, message))
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return the values of a config dataclass as JSON and YAML types."""
    values: dict[str, Any] = _adapter(cast(Hashable, type(config))).dump_python(config, mode="json")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file, see `load_yaml_value`.

    Raises:
        InputError: the file does not exist, or cannot be read.
        ConfigError: the file is not valid YAML, has a key twice, or is not a mapping (with the line).
    """
    values = load_yaml_value(path)
    if not isinstance(values, dict):
        raise ConfigError("the file must hold settings as `name: value` lines", where=path)
    return values


def load_yaml_value(path: Path) -> Any:
    """Read the value in a YAML or JSON file: UTF-8, or UTF-16 with a byte-order mark.

    Raises:
        InputError: the file does not exist, or cannot be read.
        ConfigError: the file is not valid YAML, or has a key twice (with the line).
    """
    # Reading a pipe without a writer never ends. The shell gives a writer to the pipes that it opens.
    opened = any(path.is_relative_to(place) for place in ("/dev/stdin", "/dev/fd", "/proc"))
    if path.exists() and not (path.is_file() or path.is_dir() or opened):
        raise InputError("is not a regular file", where=path, do="Use a YAML file")
    try:
        with path.open("rb") as file:
            data = file.read(SETTINGS_BYTES + 1)
    except FileNotFoundError:
        raise InputError("no such file", where=path, do="Correct the path") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, do="Use a YAML file") from None
    if len(data) > SETTINGS_BYTES:
        what = f"larger than {SETTINGS_BYTES >> 20} MiB"
        raise ConfigError(what, where=path, do="Check that this is the file with the settings")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return _parsed(data.decode(encoding), path)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "not UTF-8", where=f"{path}:{line}", do="Save the file as UTF-8, as plain text"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(error, path) from None


def _parsed(text: str, path: Path) -> Any:
    require_small(text)
    loader = YAML_LOADER(text)
    try:
        node = loader.get_single_node()
        _refuse_twice(node, path, set())
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_twice(node: yaml.Node | None, path: Path, seen: set[int]) -> None:
    """Refuse a mapping that has a key twice: YAML keeps the last in silence."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))  # An alias is the same node again.
    lines: dict[tuple[str, str], int] = {}
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        if isinstance(node, yaml.MappingNode):
            key, child = child
            line = key.start_mark.line + 1
            name = (key.tag, key.value)
            if isinstance(key, yaml.ScalarNode) and (first := lines.get(name)):
                raise ConfigError(
                    f"{key.value!r} appears twice, first in line {first}",
                    where=f"{path}:{line}",
                    do="Remove one of them",
                )
            if isinstance(key, yaml.ScalarNode):
                lines[name] = line
        _refuse_twice(child, path, seen)


def _not_yaml(error: Exception, path: Path) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    what = " ".join(str(getattr(error, "problem", None) or error).split())
    do = "Indent with spaces instead of tabs" if "\\t" in what or " tab " in what else None
    where = f"{path}:{mark.line + 1}" if mark else path
    return ConfigError(f"not valid YAML: {what}", where=where, do=do)


def dump_yaml(config: Any) -> str:
    """Return a config dataclass as YAML text. `from_dict` on the loaded text returns an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the dataclass fields of a config class by name."""
    return {f.name: f for f in dataclasses.fields(cls)}
