"""Damage done to JSON files: cut off, of wrong types, with numbers too large or without some names."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

HUGE = 10**40
MOST_NAMES = 12  # of one object that are damaged


def damaged_bytes(data: bytes) -> dict[str, bytes]:
    """The bytes of a JSON file, damaged without regard to what is in it."""
    return {
        "empty": b"",
        "one byte": data[:1],
        "beginning": data[:40],
        "half": data[: len(data) // 2],
        "all but the end": data[:-3],
        "zeros": b"\0" * len(data),
        "zeros at the end": data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2),
        "not UTF-8": data[:60] + b"\xff\xfe" + data[60:],
        "list": b"[]\n",
        "number": b"7\n",
        "null": b"null\n",
        "text": b'"text"\n',
        "empty object": b"{}\n",
        "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "long number": (data.rstrip().removesuffix(b"}") or b'{"y": 1') + b', "x": ' + b"9" * 5000 + b"}\n",
    }


def damaged_values(values: Any, depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Yield the name of a damage and the damaged values: each name removed, each value of another type."""
    for path, value in _places(values, (), depth):
        name = ".".join(map(str, path))
        for what, other in _others(value):
            yield f"{name}: {what}", _with(values, path, other)
        if isinstance(path[-1], str):
            yield f"{name}: removed", _with(values, path, _REMOVED)


def damaged_json(data: bytes, depth: int = 4) -> dict[str, bytes]:
    """The text of a JSON file, damaged in every way."""
    found = {name: json.dumps(values).encode() for name, values in damaged_values(json.loads(data), depth)}
    return damaged_bytes(data) | found


_REMOVED = object()


def _places(values: Any, path: tuple[Any, ...], depth: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not depth:
        return
    if isinstance(values, dict):
        items: list[tuple[Any, Any]] = list(values.items())[: MOST_NAMES if path else None]
    else:
        items = list(enumerate(values))[:1] if isinstance(values, list) else []
    for key, value in items:
        yield (*path, key), value
        yield from _places(value, (*path, key), depth - 1)


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool) or value is None:
        yield "text", "x"
        yield "list", [1]
    elif isinstance(value, int | float):
        yield "text", "x"
        yield "null", None
        yield "huge", HUGE
        yield "negative", -7
        yield "infinite", float("inf")
    elif isinstance(value, str):
        yield "number", 7
        yield "null", None
        yield "other text", "x\0/../é"
        yield "object", {"a": 1}
    elif isinstance(value, list):
        yield "object", {"a": 1}
        yield "empty", []
        yield "other entries", [7, None, "x", [], {}]
        yield "number", 7
    else:
        yield "list", [1]
        yield "empty", {}
        yield "number", 7
        yield "text", "x"


def _with(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(values)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is _REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed
