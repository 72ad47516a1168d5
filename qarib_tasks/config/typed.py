"""What people type into a field: numbers as they write them, and sources as YAML or as one path a line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from glob import has_magic
from typing import Any

import yaml

from qarib_tasks.config.yaml_text import YAML_LOADER, require_small

LONGEST_NAME = 60  # characters; the name is part of file names
WEB = re.compile(r"https?://[^/?#]*([^?#]*)", re.IGNORECASE)  # the path of an address
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")
# Spaces between groups of digits: those of a keyboard, and those that tables print.
_SPACES = "\u0020\u00a0\u2009\u202f"
_GROUPS = re.compile(rf"[0-9]{{1,3}}([,_'{_SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?![0-9])")
_NUMBER = re.compile(r"([+-]?)([0-9]*)(\.[0-9]*)?(?:[eE]([+-]?[0-9]{1,2}))?")
# Marks of direction, which are copied with Arabic numbers and cannot be seen.
_MARKS = "\u061c\u200e\u200f"
# Eastern Arabic digits, the Arabic decimal and thousands separators, the Arabic comma, which keyboards have
# instead, and a typographic minus sign.
_WESTERN = str.maketrans("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹٫٬،\u2212", "01234567890123456789.,,-", _MARKS)
# Of a field for a number: nothing, or characters that a number can have, a digit among them.
_DIGIT, _PART = "[0-9٠-٩۰-۹]", rf"[-+.,_'eE{_SPACES}\u061c\u200e\u200f\u2212٫٬،0-9٠-٩۰-۹]"
NUMBER_PATTERN = rf"^\s*$|^{_PART}*{_DIGIT}{_PART}*$"
_IN_TWO_WAYS = re.compile(r"[0-9]{1,3}\.[0-9]{3}")  # of an integer: in German, the point groups digits
_YAML = re.compile(r"-(?:\s|$)|[\w-]+:(?:\s|$)")  # the beginning of an item of a list, or of a mapping


def number(text: str, *, integer: bool = False) -> int | float:
    """Read a number as people write it: `2,000,000`, `8e-6`, `.0001`, `1e5`, `٢٬٠٠٠`.

    Args:
        integer: an integer is meant, so that `2.000` is refused: two, or two thousand.

    Returns:
        an int if the value has no decimals.

    Raises:
        ValueError: the text is no number, or can be read in two ways, such as `2,5`.
    """
    western = text.translate(_WESTERN).strip()
    sign = western[:1] if western[:1] in ("+", "-") else ""
    rest = western[len(sign) :]
    if groups := _GROUPS.match(rest):
        rest = groups[0].replace(groups[1], "") + rest[groups.end() :]
    found = _NUMBER.fullmatch(sign + rest)
    if (
        not found
        or len(western) > LONGEST_NAME
        or not re.search("[0-9]", f"{found[2]}{found[3]}")
        or (integer and _IN_TWO_WAYS.fullmatch(rest))
    ):
        how = "2,000,000 or 1e5" if integer else "2,000,000, 0.15, or 8e-6, with a point before the decimals"
        shown = text.strip()[:LONGEST_NAME]
        raise ValueError(f"{shown!r} is not a number that can be read in one way. Write it as {how}")
    if found[3] is None and not (found[4] or "").startswith("-"):
        zeros = "0" * int(found[4] or 0)
        return int(f"{sign}{found[2]}{zeros}")  # Not by way of a float, which has 53 bits.
    value = float(found[0])
    return int(value) if value.is_integer() else value


def listed(text: str) -> list[Any]:
    """Read a list of sources: one path or address a line, or YAML or JSON.

    A source that is a path is named after its file. Lines that are empty or begin with # are skipped. In
    YAML, the list can be a mapping: of names to paths, or of names to the other settings.

    Raises:
        ValueError: the text is no valid YAML, or not a list.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    value: Any = lines
    if lines and (_YAML.match(lines[0]) or (lines[0][0] in "[{" and lines[-1][-1] in "]}")):
        try:
            require_small(text, aliases=False)
            value = yaml.load(text, YAML_LOADER)
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None
    if isinstance(value, dict):
        value = [value] if "path" in value or "train" in value else list(map(_named, value, value.values()))
    if not isinstance(value, list):
        raise ValueError("must be a list: one path a line, or YAML whose items begin with `- `")
    names = iter(source_names([item for item in value if isinstance(item, str)]))
    return [{"name": next(names), "path": item} if isinstance(item, str) else item for item in value]


def _named(name: Any, value: Any) -> dict[str, Any]:
    return {"name": name, **value} if isinstance(value, dict) else {"name": name, "path": value}


def source_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each path, after its file: `tweets` for `2024/tweets.jsonl.gz`, then `tweets-2`."""
    names: list[str] = []
    taken: set[str] = set()
    last: dict[str, int] = {}  # of each name, the number of its newest namesake
    for path in paths:
        base = name = "stdin" if path == "-" else _name(path)
        while name.casefold() in taken:
            last[base.casefold()] = last.get(base.casefold(), 1) + 1
            name = f"{base}-{last[base.casefold()]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _name(path: str) -> str:
    """Return the last part of the path that has letters or digits when it is no pattern, without endings."""
    if address := WEB.match(path):
        path = address[1]
    is_pattern = has_magic(path) and not os.path.lexists(path)
    if path.rstrip("/").rpartition("/")[2] in (".", ".."):
        path = os.path.abspath(path)
    for part in reversed(path.split("/")):
        if is_pattern:
            part = re.sub(r"\[[^]]*\]", "_", part)
        while ENDING.search(part):
            part = ENDING.sub("", part)
        kept = "".join(c if c.isalpha() or c.isdecimal() or c in "-_." else "_" for c in part)
        name = re.sub("_+", "_", kept).strip("_.-")[:LONGEST_NAME].strip("_.-")
        if name:
            return name
    return "text"
