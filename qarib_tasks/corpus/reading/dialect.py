"""How a delimited file separates its columns, guessed from its first rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.characters import control_characters
from qarib_tasks.corpus.reading.records import LONGEST_RECORD

DELIMITERS = (",", ";", "\t", "|")
_QUOTES = {"double": '"', "single": "'", "none": None}
_NAMES = {"\t": "tab"}
_FEWEST_ROWS = 2  # that show that a name is missing in the header
_FEW = 50  # values of a column that are labels, not text


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
        delimiter = _NAMES.get(self.delimiter, repr(self.delimiter))
        return f"delimiter {delimiter}, quoting {quoting}{escape}"


@dataclass(frozen=True)
class Layout:
    """What the first rows of a file show.

    Attributes:
        dialect: how the columns are separated.
        first: the first row; empty if there is none.
        width: the number of columns of each row.
        kinds: columns, from 0, that hold no text: the few values that they have, or None for any number.
        guessed: the dialect, or a part of it, is a guess.
        guessed_quoting: the quoting is a guess.
        unnamed: each of the first rows has one column more than the header.
    """

    dialect: Dialect
    first: Sequence[str]
    width: int
    kinds: Mapping[int, frozenset[str] | None]
    guessed: bool
    guessed_quoting: bool
    unnamed: bool = False

    def __str__(self) -> str:
        return f"{'guessed ' if self.guessed else ''}{self.dialect}"

    def encloses_rows(self, row: Sequence[str]) -> bool:
        """Return whether the lines inside the row's cells look like rows.

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
            # A tab is no part of a sentence; a comma is.
            if self.dialect.delimiter != "\t" and not any(
                _all_of_kind(kind, [columns[number] for columns in (*inner, last)])
                if number < place
                else _all_of_kind(kind, [first[number - place], *(columns[number] for columns in inner)])
                for number, kind in self.kinds.items()
                if number != place
            ):
                return False
        return found


@dataclass(frozen=True)
class _Trial:
    """The first rows, as a dialect separates them.

    Attributes:
        fits: all have as many columns.
        known: they have the columns that the settings name.
        share: of the lines that are rows with as many columns.
        unclosed: a quote closes in no line, or in a later one in front of other text.
    """

    layout: Layout
    rows: Sequence[Sequence[str]]
    fits: bool
    known: bool
    share: float
    unclosed: bool

    @property
    def merit(self) -> tuple[bool, bool, bool, float]:
        return self.known, self.fits, self.layout.width > 1, self.share


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
    trials: list[_Trial] = []
    for delimiter in delimiters:
        trials.append(_trial_of_delimiter(source, delimiter, lines, complete, delimiter == delimiters[0]))
        if trials[-1].merit[:3] == (True, True, True):
            return trials[-1].layout
    return max(trials, key=lambda trial: trial.merit).layout


def _trial_of_delimiter(
    source: SourceConfig, delimiter: str, lines: Sequence[str], complete: bool, narrow: bool
) -> _Trial:
    """Return the best trial with a delimiter."""
    escape = source.escape or None

    def trial(quote: str | None, escape: str | None = escape, spaces: bool = False) -> _Trial:
        return _trial(source, Dialect(delimiter, quote, escape, spaces), lines, complete, narrow)

    if source.quoting != "auto":
        return trial(_QUOTES[source.quoting])
    double, plain, single = trial('"'), trial(None), trial("'")
    if plain.fits and any(double.layout.encloses_rows(row) for row in double.rows):
        return plain
    if single.fits and _enclosed(single.rows, plain.rows) and not _enclosed(double.rows, plain.rows):
        return single
    if double.fits:
        return double
    backslash = [trial('"', "\\")] if not escape and any('\\"' in line for line in lines) else []
    spaces = trial('"', spaces=True)
    # In a TSV file quotes often are text. Elsewhere a quote that does not close is a fault, which an error
    # shows with its line; so is one before lines that are no rows.
    fault = double.unclosed and (delimiter != "\t" or (not plain.fits and plain.share < 0.5))
    if fault and not any(each.fits for each in (*backslash, spaces)):
        return double
    return max([double, *backslash, plain, single, spaces], key=lambda each: (each.fits, each.share))


def _trial(
    source: SourceConfig, dialect: Dialect, lines: Sequence[str], complete: bool, narrow: bool
) -> _Trial:
    """Separate the lines.

    Args:
        narrow: rows of a single column are possible.
    """
    rows, failed, unclosed = _rows(dialect, lines, complete)
    first = [_visible(name) for name in rows[0]] if rows else []
    data = rows[1:] if source.header else rows
    width = len(first)
    longer = source.header and data and all(len(row) == len(data[0]) > width for row in data)
    if longer and not any("".join(row[width:]).strip() for row in data):
        # Each row ends with delimiters that the header does not have.
        width = len(data[0])
    equal = [row for row in data if len(row) == width]

    def exists(name: str) -> bool:
        return (source.header and name in first) or (name.isdecimal() and 0 < int(name) <= width)

    possible = width > 1 or narrow
    return _Trial(
        Layout(
            dialect,
            first,
            width,
            _kinds(equal, width),
            guessed="auto" in (source.delimiter, source.quoting),
            guessed_quoting=source.quoting == "auto",
            unnamed=bool(longer) and width + 1 == len(data[0]) and _begin_with_names(data, width),
        ),
        rows,
        fits=possible and not failed and len(equal) == len(data),
        known=possible and any(map(exists, source.fields)) and (not source.group or exists(source.group)),
        share=len(equal) / max(1, len(lines)),
        unclosed=unclosed,
    )


def _rows(dialect: Dialect, lines: Sequence[str], complete: bool) -> tuple[list[list[str]], bool, bool]:
    """Return the rows that quotes do not make unreadable, whether there are others, and `_Trial.unclosed`."""
    rows: list[list[str]] = []
    reader = dialect.reader(lines)
    failed = False
    before = 0
    while True:
        try:
            for row in reader:
                before = reader.line_num
                if not is_blank(row):
                    rows.append(row)
            return rows, failed, False
        except csv.Error:
            # Unless these are all lines, the last row may be incomplete.
            failed |= complete or reader.line_num < len(lines)
            quotes = "".join(lines[before:]).count(dialect.quote) if dialect.quote else 0
            if reader.line_num > before + 1 or (reader.line_num == len(lines) and quotes % 2):
                return rows, failed, failed
            before = reader.line_num


def _kinds(rows: Sequence[Sequence[str]], width: int) -> dict[int, frozenset[str] | None]:
    kinds: dict[int, frozenset[str] | None] = {}
    for place in range(width):
        values = [row[place] for row in rows]
        few = frozenset(values)
        if values and _all_of_kind(None, values):
            kinds[place] = None
        elif few != {""} and 2 * len(few) <= len(values) and len(few) <= _FEW:
            kinds[place] = few
    return kinds


def _all_of_kind(kind: frozenset[str] | None, values: Sequence[str]) -> bool:
    if not values:
        return False
    return all(value.strip().isdecimal() if kind is None else value in kind for value in values)


def _begin_with_names(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether rows begin with numbers or names, and not with a text that has a delimiter."""
    firsts = [row[0].strip() for row in rows]
    return len(rows) >= _FEWEST_ROWS and all(
        first.isdecimal() or (width > 1 and len(first.split()) < 2) for first in firsts
    )


def _visible(name: str) -> str:
    """Return the name of a column without invisible characters, such as a mark of direction."""
    return "".join(control_characters().get(character, character) for character in name).strip()


def is_blank(row: Sequence[str]) -> bool:
    """Return whether a row is a blank line."""
    return not row or (len(row) == 1 and not row[0].strip())


def _enclosed(rows: Sequence[Sequence[str]], plain: Sequence[Sequence[str]]) -> bool:
    """Return whether each row but the first has a cell in quotes."""
    return 1 < len(rows) == len(plain) and all(
        row != other for row, other in zip(rows[1:], plain[1:], strict=True)
    )
