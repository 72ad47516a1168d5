"""The columns of a table that hold the text and the group: by name, or by number from 1."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import normalize

from qarib_tasks.corpus.reading.records import Reading, listed
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError

_WORDS = 3  # more of them are no name of a column


def places_of(
    reading: Reading, columns: Sequence[str], *, header: bool = True
) -> tuple[list[int], int | None]:
    """Return the places, from 0, of the columns of the text that exist, and of the group.

    Args:
        columns: their names; without a header, the first row.

    Raises:
        InputError: none of the text's columns exists, or the group's does not; a name is that of several.
    """
    source = reading.source
    reading.columns = list(columns) if header else [str(number + 1) for number in range(len(columns))]
    places = [_place(reading, columns, name, source.text_setting, header) for name in source.fields]
    found = [place for place in places if place is not None]
    if not found:
        raise _missing(reading, columns, source.fields, header)
    reading.column = reading.columns[found[0]]
    group = _place(reading, columns, source.group, source.group_setting, header) if source.group else None
    if source.group and group is None:
        raise _missing(reading, columns, [source.group], header)
    by_number = all(not _named(columns, name) for name in source.fields)
    if header and by_number and _is_data(columns):
        reading.warn(
            f"the first row is taken for the names of the columns: {listed(columns)}. If it is text, set "
            "`header: false`"
        )
    return found, group


def _place(reading: Reading, columns: Sequence[str], name: str, setting: str, header: bool) -> int | None:
    found = _named(columns, name) if header else []
    if len(found) > 1:
        numbers = [str(place + 1) for place in found]
        raise InputError(
            f"{len(found)} columns have the name {name!r}",
            where=reading.where,
            do=f"Set `{setting}` to the number of one of them: {' or '.join(numbers)}",
        )
    if found:
        return found[0]
    if name.isdecimal():
        return int(name) - 1 if 0 < int(name) <= len(columns) else None
    if not header:
        raise InputError(
            f"without a header, no column has the name {name!r}",
            where=reading.where,
            do=f"Set `{setting}` to the number of a column, from 1 to {len(columns)}, or set `header: true`",
        )
    return None


def _named(columns: Sequence[str], name: str) -> list[int]:
    """Return the places of the columns with this name, else of those with one that looks the same."""
    found = [place for place, other in enumerate(columns) if other == name]
    if not found and not name.isascii():
        found = [
            place for place, other in enumerate(columns) if normalize("NFC", other) == normalize("NFC", name)
        ]
    return found


def _missing(reading: Reading, columns: Sequence[str], names: Sequence[str], header: bool) -> InputError:
    wanted = " or ".join(map(repr, names))
    if not header:
        return InputError(
            f"no column {wanted}: the first row has {counted(len(columns), 'column')}",
            where=reading.where,
            do=f"Use a number from 1 to {len(columns)}: {listed(columns)}",
        )
    do = f"Use one of these columns: {listed(columns)}"
    if not any(columns):
        setting = reading.source.text_setting
        do = f"Set `{setting}` to the number of a column, from 1 to {len(columns)}"
    if len(columns) == 1 and reading.form in ("csv", "tsv"):
        do += ". If these are several columns, set `delimiter`"
    if (len(columns) == 1 or not any(columns)) and reading.form in ("csv", "tsv"):
        do += ". If a later row has the names, remove the rows above it"
    if _is_data(columns):
        do += (
            ". If this first row is text, set `header: false`, and "
            f"`{reading.source.text_setting}` to the number of a column"
        )
    return InputError(f"no column {wanted}", where=reading.where, do=do)


def _is_data(columns: Sequence[str]) -> bool:
    """Return whether a first row probably has no names."""
    return any(name.isdecimal() or len(name.split()) > _WORDS for name in columns)
