"""Records in JSON: their texts, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from qarib_tasks.corpus.reading.records import field_of, listed


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record.

    Attributes:
        do: what to do if no other record of the file has had a text.
        is_single: it is a record, and others may be right.
    """

    what: str
    do: str = "Correct the record"
    is_single: bool = True


def fault_of(record: Mapping[str, Any], text: object, names: Sequence[str]) -> Fault:
    """Return what is wrong with a record whose text is an object or does not exist."""
    wanted = " or ".join(map(repr, names))
    if "cells" in record and "nbformat" in record:
        return Fault("a Jupyter notebook, not records", "Convert it to text, or leave it out", False)
    if form := _form_of_pandas(record):
        return Fault(f"a table in the form {form!r} of pandas, not records", _AS_RECORDS, False)
    if text is None and any(has_field(record, name) for name in names):
        return Fault(f"no text in field {wanted}: it is null")
    if text is None and (name := _list_of_records(record)):
        return Fault(f"no field {wanted}, but the list {name!r} of records", from_list(name), False)
    values = list(record.values())
    if text is None and len(values) > 1 and all(isinstance(value, dict) for value in values):
        return Fault(f"no field {wanted}, but an object in each field", from_list(""), False)
    what = f"no field {wanted}" if text is None else f"an object instead of text in field {wanted}"
    same = {normalize("NFC", name) for name in names}
    if text is None and (
        looking := next((name for name in names_of(record) if normalize("NFC", name) in same), "")
    ):
        do = "Copy the name from the file: its letters are composed in another way (Unicode NFC, NFD)"
        return Fault(f"{what}; {looking!r} only looks the same", do)
    names = _texts(record) or list(record)
    return Fault(what, f"Use one of these fields: {listed(names)}") if names else Fault(what)


AS_OBJECTS = "Write each text in an object, such as with: jq -c '.. | strings | {text: .}' FILE > RECORDS"
IN_RECORD = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:\s*\[\s*\{')


def from_list(name: str) -> str:
    place = f'.["{name}"][]' if name else ".[]"
    return f"Write one record per line, such as with: jq -c '{place}' FILE > RECORDS"


def _list_of_records(record: Mapping[str, Any]) -> str:
    """Return the name of the first list that has objects, if a field is one; otherwise ""."""
    return next(
        (
            name
            for name, value in record.items()
            if isinstance(value, list) and value and all(isinstance(item, dict) for item in value[:10])
        ),
        "",
    )


_AS_RECORDS = "Write the file with DataFrame.to_json(path, orient='records', lines=True)"


def text_of(record: Mapping[str, Any], names: Sequence[str]) -> object:
    """Return the text of a record: the first of the fields that it has.

    A tweet's `text` may be cut short. Its full text is preferred, if the tweet has it.
    """
    for name in names:
        above, _, last = name.rpartition(".")
        if last == "text":
            tweet = field_of(record, above) if above else record
            if isinstance(tweet, dict) and (full := _full_text(tweet, given=names != ("text",))):
                return full
        if (value := field_of(record, name)) is not None:
            return value
    return None


def _full_text(tweet: Mapping[str, Any], given: bool) -> str:
    """Return the text of a tweet that has another field for it; "" if it has none.

    Args:
        given: the field is the user's choice.
    """
    extended = tweet.get("extended_tweet")
    if not isinstance(extended, dict) or not tweet.get("truncated", True):
        extended = tweet if not given and tweet.get("text") is None else {}
    full = extended.get("full_text")
    return full if isinstance(full, str) else ""


def has_field(record: object, name: str) -> bool:
    if isinstance(record, dict) and name in record:
        return True
    above, _, last = name.rpartition(".")
    inner = field_of(record, above) if above else None
    return isinstance(inner, dict) and last in inner


def _texts(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that hold text."""
    return [name for name, value in _fields(record) if isinstance(value, str)]


def names_of(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that hold a value."""
    return [name for name, _ in _fields(record)]


def _fields(record: Mapping[str, Any], above: str = "", depth: int = 3) -> Iterator[tuple[str, object]]:
    for name, value in record.items():
        if not isinstance(value, dict):
            yield above + name, value
        elif depth > 1:
            yield from _fields(value, f"{above}{name}.", depth - 1)


def _form_of_pandas(record: Mapping[str, Any]) -> str:
    """Return what form of a table a JSON object has; "" for a record."""
    if {"columns", "data"} <= record.keys() and isinstance(record["data"], list):
        return "split"
    if {"schema", "data"} <= record.keys() and isinstance(record["data"], list):
        return "table"
    if not record or not all(isinstance(value, dict) for value in record.values()):
        return ""
    if all(name.isdecimal() for name in record):
        return "index"
    # Each column is an object from the rows' numbers to their values.
    keys = [list(value) for value in record.values()]
    if all(some == keys[0] and some and all(key.isdecimal() for key in some) for some in keys):
        return "columns"
    return ""
