"""The one reader of the JSON records that we write and read again.

A record that can be made again is set aside under another name, which the log says, and its step is done
again (`take_record`). Where only a person can decide, `read_record` raises an error that names the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.records.aside import set_aside
from qarib_tasks.storage.regular_files import read_regular

LARGEST = 256 << 20  # bytes of a record
# So many small values take less than 2 GB.
MOST_VALUES, MOST_GROUPS = 16_000_000, 2_000_000
DIGITS = 19  # of the largest number: no count or time of ours is longer


def parse_record(data: bytes, schema: type[BaseModel] | TypeAdapter[Any], where: object) -> dict[str, Any]:
    """The JSON object in a record's bytes, unchanged.

    Raises:
        CorruptError: it is not such an object.
    """
    if data.count(b",") > MOST_VALUES or data.count(b"[") + data.count(b"{") > MOST_GROUPS:
        raise CorruptError("is damaged: has more values than any record", where=where)
    validate = schema.validate_json if isinstance(schema, TypeAdapter) else schema.model_validate_json
    try:
        validate(data, strict=True)
        values = json.loads(data, parse_int=_number)
    except ValidationError as error:
        raise CorruptError(f"is damaged: {first_fault(error)}", where=where) from None
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"is damaged: {error}", where=where) from None
    if not isinstance(values, dict):
        raise CorruptError("is damaged: not a JSON object", where=where)
    return values


def fault_of(values: Mapping[str, Any], schema: type[BaseModel], *, missing: bool = True) -> str:
    """What is wrong in values that were read from JSON; empty if they are such a record.

    Args:
        missing: whether a name that is missing is wrong.
    """
    try:
        schema.model_validate(values, strict=True)
    except ValidationError as error:
        return first_fault(error, missing=missing)
    return ""


def first_fault(error: ValidationError, *, missing: bool = True) -> str:
    """The first fault that a validation found, in one line."""
    for found in error.errors(include_input=False, include_url=False):
        if missing or found["type"] != "missing":
            place = ".".join(map(str, found["loc"]))
            return " ".join(f"{place}: {found['msg']}".removeprefix(": ").split())
    return ""


def _number(digits: str) -> int:
    if len(digits) > DIGITS + 1:
        raise ValueError("a number is too large")
    return int(digits)


def read_record(
    path: Path, schema: type[BaseModel] | TypeAdapter[Any], do: str | None = None
) -> dict[str, Any] | None:
    """Read a record; None if there is no file of this name.

    Args:
        do: what a person can do about a damaged one.

    Raises:
        CorruptError: it is damaged. InputError: it is no file. OSError: it may not be read.
    """
    data = record_bytes(path)
    if data is None:
        return None
    try:
        return parse_record(data, schema, path)
    except CorruptError as error:
        raise CorruptError(error.what, where=path, do=do) from None


def take_record(path: Path, schema: type[BaseModel] | TypeAdapter[Any], then: str) -> dict[str, Any] | None:
    """Read a record that can be made again; None if there is none, or a damaged one, which is set aside.

    Args:
        then: what happens now, for the log.

    Raises:
        InputError: it is no file. OSError: it may not be read.
    """
    try:
        return read_record(path, schema)
    except CorruptError as error:
        set_aside(path, error.what, then)
        return None


def record_bytes(path: Path) -> bytes | None:
    """The bytes of a record; None if there is no file of this name.

    Raises:
        InputError: it is no file. OSError: it may not be read. CorruptError: it is larger than any record.
    """
    try:
        return read_regular(path, LARGEST)
    except FileNotFoundError:
        return None
    except InputError as error:
        raise InputError(error.what, where=path, do="Move it: qarib keeps a record of this name") from None
