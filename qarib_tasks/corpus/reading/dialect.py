"""How a delimited file separates its columns, guessed from its first rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.records import LONGEST_RECORD

DELIMITERS = (",", ";", "\t", "|")
_QUOTES = {"double": '"', "single": "'", "none": None}
_NAMES = {"\t": "tab", " ": "space"}


@dataclass(frozen=True)
class Dialect:
    """How rows are separated into columns.

    Attributes:
        quote: the character that encloses a column; None if quotes are text.
        escape: the character before a quote or delimiter that is text; None if there is none.
        spaces: spaces after a delimiter do not count.
    """

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    spaces: bool = False

    def reader(self, lines: Iterable[str]) -> Any:
        """Return csv's reader of the lines, which raises `csv.Error` where quotes do not match."""
        # The limit is the process's, and a record has an own limit: see `delimited.py`.
        csv.field_size_limit(4 * LONGEST_RECORD)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            skipinitialspace=self.spaces,
            strict=True,
        )

    def __str__(self) -> str:
        quoting = next(name for name, quote in _QUOTES.items() if quote == self.quote)
        escape = f", escape {self.escape}" if self.escape else ""
        return f"delimiter {_NAMES.get(self.delimiter, self.delimiter)}, quoting {quoting}{escape}"


@dataclass(frozen=True)
class Layout:
    """What the first rows of a file show.

    Attributes:
        dialect: how the columns are separated.
        first: the first row; empty if there is none.
        width: the number of columns of each row.
        numbers: the columns, from 0, that hold only numbers.
        guessed: the quoting is a guess.
    """

    dialect: Dialect
    first: Sequence[str]
    width: int
    numbers: frozenset[int]
    guessed: bool

    def encloses_rows(self, row: Sequence[str]) -> bool:
        """Return whether the lines inside the row's cells have the form of rows.

        In this case its quotes probably are text: the quote in front of one sentence has closed at the end
        of a later one.
        """
        found = False
        for place, cell in enumerate(row):
            lines = cell.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            if len(lines) == 1:
                continue
            found = True
            first, *inner, last = (line.split(self.dialect.delimiter) for line in lines)
            if place + len(first) != self.width or len(last) != place + 1:
                return False
            if any(len(columns) != self.width for columns in inner):
                return False
            numbers = [number for number in self.numbers if number < place]
            rows = (*inner, last)
            # A tab is no part of a sentence; a comma is.
            if self.dialect.delimiter != "\t" and not any(
                all(_is_number(columns[number]) for columns in rows) for number in numbers
            ):
                return False
        return found


@dataclass(frozen=True)
class _Trial:
    """The first rows as a dialect separates them."""

    layout: Layout
    rows: Sequence[Sequence[str]]
    fits: bool
    known: bool
    share: float


def layout_of(source: SourceConfig, default: str, lines: Sequence[str], complete: bool) -> Layout:
    """Return the layout of a file, from the settings and, where they are `auto`, from its first lines.

    Args:
        default: the delimiter that the file's name stands for.
        lines: the first lines, with line ends.
        complete: these are all the lines of the file.
    """
    delimiters = [default, *(each for each in DELIMITERS if each != default)]
    if source.delimiter != "auto":
        delimiters = ["\t" if source.delimiter == "tab" else source.delimiter]
    best: _Trial | None = None
    for delimiter in delimiters:
        only = delimiter == delimiters[0]
        trial = _quoting(source, delimiter, lines, complete, only)
        if best is None or (trial.known, trial.fits, trial.share) > (best.known, best.fits, best.share):
            best = trial
    assert best is not None  # noqa: S101
    return best.layout


def _quoting(
    source: SourceConfig, delimiter: str, lines: Sequence[str], complete: bool, narrow: bool
) -> _Trial:
    """Return the best trial with a delimiter."""
    escape = source.escape or None

    def trial(quote: str | None, escape: str | None = escape, spaces: bool = False) -> _Trial:
        return _tried(source, Dialect(delimiter, quote, escape, spaces), lines, complete, narrow)

    if source.quoting != "auto":
        return trial(_QUOTES[source.quoting])
    double, plain, single = trial('"'), trial(None), trial("'")
    others = [plain, single, trial('"', spaces=True)]
    if not escape and any('\\"' in line for line in lines):
        others.insert(0, trial('"', "\\"))
    if plain.fits and any(double.layout.encloses_rows(row) for row in double.rows):
        return plain
    if single.fits and _enclosed(single.rows, plain.rows) and not _enclosed(double.rows, plain.rows):
        return single
    if double.fits:
        return double
    return max([double, *others], key=lambda each: (each.fits, each.share))


def _tried(
    source: SourceConfig, dialect: Dialect, lines: Sequence[str], complete: bool, narrow: bool
) -> _Trial:
    """Separate the lines.

    Args:
        narrow: rows of a single column are possible.
    """
    rows: list[list[str]] = []
    reader = dialect.reader(lines)
    failed = False
    try:
        rows.extend(row for row in reader if not is_blank(row))
    except csv.Error:
        # Unless these are all lines, the last record may be incomplete.
        failed = complete or reader.line_num < len(lines)
    first = [name.strip() for name in rows[0]] if rows else []
    data = rows[1:] if source.header else rows
    width = len(first)
    if source.header and data and all(len(row) == len(data[0]) > width for row in data):
        # Each row ends with delimiters that the header does not have.
        if not any("".join(row[width:]).strip() for row in data):
            width = len(data[0])
    equal = sum(len(row) == width for row in data)
    numbers = frozenset(
        place for place in range(width) if data and all(_is_number("".join(row[place : place + 1])) for row in data)
    )
    wanted = [name for name in (*source.fields, source.group) if name]
    known = any(name in first if source.header and not name.isdecimal() else int_of(name) <= width for name in wanted)
    return _Trial(
        Layout(dialect, first, width, numbers, source.quoting == "auto"),
        rows,
        fits=not failed and equal == len(data) and (width > 1 or narrow),
        known=known and (width > 1 or narrow),
        share=equal / max(1, len(lines)),
    )


def int_of(name: str) -> int:
    """Return the number that a field's name is; a large one if it is a name."""
    return int(name) if name.isdecimal() else 1 << 30


def is_blank(row: Sequence[str]) -> bool:
    """Return whether a row is a blank line."""
    return not row or (len(row) == 1 and not row[0].strip())


def _is_number(cell: str) -> bool:
    return cell.strip().isdecimal()


def _enclosed(rows: Sequence[Sequence[str]], plain: Sequence[Sequence[str]]) -> bool:
    """Return whether each row but the first has a cell in quotes."""
    return 1 < len(rows) == len(plain) and all(
        row != other for row, other in zip(rows[1:], plain[1:], strict=True)
    )
