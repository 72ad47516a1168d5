"""Delimited text: CSV and TSV."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.reading.columns import places_of
from qarib_tasks.corpus.reading.dialect import Dialect, Layout, is_blank, layout_of
from qarib_tasks.corpus.reading.records import LONGEST_RECORD, Batches, Documents, Reading
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError

log = logging.getLogger(__name__)
SAMPLE = 1 << 18  # characters of the first rows, which show the layout
_BATCH = 1 << 17  # characters that are yielded at once, about
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_LONE_RETURN = re.compile(r"\r(?!\n)")
# Characters that csv would take for the end of a column or row get another code, which no UTF-8 has.
_RETURN, _FEED, _TAB = "\udc0d", "\udc0a", "\udc09"
_CODES = {ord(_RETURN): "\n", ord(_FEED): "\n", ord(_TAB): "\t"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# What databases write, without quotes, for characters and for a value that is null.
_ESCAPES = {"n": _FEED, "r": _RETURN, "t": _TAB, "N": ""}


@dataclass(frozen=True)
class _Block:
    start: int
    lines: int
    text: str
    size: int


class _Lines:
    """The lines of a stream, as csv's reader needs them.

    Attributes:
        passed: how many lines belong to complete rows. Later lines are kept, to find a fault in them.
        coded: some characters have another code, see `_CODES`.
    """

    def __init__(self, reading: Reading, stream: IO[bytes]) -> None:
        self.passed = 0
        self.coded = False
        self._reading = reading
        self._stream = stream
        self._count = 0
        self._kept: list[_Block] = []
        self._returns = False

    def blocks(self) -> Iterator[str]:
        """Yield blocks of complete lines.

        Raises:
            InputError: a line is too long.
            csv.Error: a row is too long.
        """
        for data in self._cut():
            text = self._reading.text(data)
            lines = text.count("\n") + (not text.endswith(("\n", "\r") if self._returns else "\n"))
            if self._returns:
                lines += text.count("\r") - text.count("\r\n")
            elif "\r" in text:
                text, count = _LONE_RETURN.subn(_RETURN, text)
                self.coded |= count > 0
            self._kept = [block for block in self._kept if block.start + block.lines > self.passed]
            self._kept.append(_Block(self._count, lines, text, len(data)))
            self._count += lines
            if sum(len(block.text) for block in self._kept) > LONGEST_RECORD + 2 * BLOCK:
                raise csv.Error(f"the row is longer than {LONGEST_RECORD:,} characters")
            yield text

    def rest(self) -> str:
        """Return the text after the lines that have passed, as far as it has been read."""
        blocks = [block for block in self._kept if block.start + block.lines > self.passed]
        if not blocks:
            return ""
        lines = io.StringIO(blocks[0].text, newline="")
        for _ in islice(lines, self.passed - blocks[0].start):
            pass
        return "".join([lines.read(), *(block.text for block in blocks[1:])])

    def held(self) -> int:
        """Return the number of bytes that belong to later lines than have passed, about."""
        return sum(
            int(block.size * min(1.0, left / block.lines))
            for block in self._kept
            if (left := block.start + block.lines - self.passed) > 0
        )

    def _cut(self) -> Iterator[bytes]:
        """Yield blocks that end where a line does. The end of the first line decides what ends a line."""
        rest, known = b"", False
        while block := self._stream.read(BLOCK):
            data = rest + block
            if not known:
                feed, lone = data.find(b"\n"), data.find(b"\r", 0, len(data) - 1)
                known = feed >= 0 or lone >= 0
                self._returns = lone >= 0 and (feed < 0 or lone + 1 < feed)
            end = data.rfind(b"\n") + 1
            if self._returns:
                # Not the last byte: a line feed may follow it.
                end = max(end, data.rfind(b"\r", 0, len(data) - 1) + 1)
            if not end and len(data) > LONGEST_RECORD:
                raise InputError(
                    f"the line is longer than {LONGEST_RECORD:,} bytes",
                    where=f"{self._reading.where}:{self._count + 1}",
                    do="Check that the file is delimited text, or correct `format`",
                )
            rest = data[end:]
            if end:
                yield data[:end]
        if rest:
            yield rest


def read_csv(reading: Reading, stream: IO[bytes]) -> Batches:
    """Yield the lines of the texts in a CSV or TSV file.

    Raises:
        InputError: there is no such column, a quote does not close, or more rows than allowed do not have as
            many columns as the others.
    """
    source = _Lines(reading, stream)
    blocks = source.blocks()
    head = ""
    while len(head) < SAMPLE and (block := next(blocks, "")):
        head += block
    complete = len(head) < SAMPLE
    lines = list(io.StringIO(head.removeprefix("\ufeff"), newline=""))
    delimiter, above = "\t" if reading.form == "tsv" else ",", 0
    if lines and (separator := _SEPARATOR.fullmatch(lines[0].rstrip("\r\n"))):
        # Excel's line above the header.
        delimiter, above = separator[1], 1
    sample = _first(lines[above:])
    layout = layout_of(reading.source, delimiter, sample, complete and len(sample) == len(lines) - above)
    if not layout.first:
        return
    reading.dialect = str(layout)
    if reading.detailed:
        with suppress(csv.Error):  # It is found again, with its line.
            rows = layout.dialect.reader(sample)
            reading.examples = next(islice(rows, int(reading.source.header), None), ())
    first: Iterable[str] = lines[above:]
    if layout.dialect.quote is None and layout.dialect.escape == "\\":
        source.coded = True
        first, blocks = map(_unescaped, first), map(_unescaped, blocks)
    later = (io.StringIO(block, newline="") for block in blocks)
    rows = layout.dialect.reader(chain(first, chain.from_iterable(later)))
    yield from _lines_of_rows(reading, source, layout, rows, above)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[0]), text)


def _first(lines: list[str]) -> list[str]:
    """Return the first lines, of at most `SAMPLE` characters, but at least one."""
    size = 0
    for number, line in enumerate(lines):
        size += len(line)
        if size > SAMPLE:
            return lines[: max(1, number)]
    return lines


def _lines_of_rows(reading: Reading, source: _Lines, layout: Layout, rows: Any, above: int) -> Batches:
    """Yield the lines of csv's rows.

    Args:
        above: the lines above the first row.
    """
    settings, documents, width = reading.source, Documents(reading), layout.width
    places, group = places_of(reading, layout.first, header=settings.header)
    log.info("%s: %s, %s", reading.where, layout, _columns(layout, settings.header))
    header = settings.header
    check = layout.guessed_quoting and layout.dialect.quote is not None
    place, single = places[0], len(places) == 1
    lines: list[str] = []
    size = 0
    while True:
        try:
            for row in rows:
                number, last = source.passed + 1, rows.line_num + above
                if len(row) != width:
                    if is_blank(row):
                        pass
                    elif header:
                        # The header, whose row may lack the delimiters that end the other rows.
                        header = False
                    else:
                        what = f"the row has {counted(len(row), 'column')}, expected {width} ({layout})"
                        do = _RIGHT if width > 1 else _ONE + _RIGHT[0].lower() + _RIGHT[1:]
                        if layout.unnamed and len(row) == width + 1:
                            raise _unnamed(reading, layout, what, number)
                        if len(row) > width and any(_RETURN in cell for cell in row):
                            what, do = f"{what}: {_A_RETURN}", _NO_RETURNS
                        reading.unreadable(what, number, do=do)
                    source.passed = last
                    continue
                if check and last > number and layout.encloses_rows(row):
                    raise InputError(
                        "a quote that opens here encloses complete rows",
                        where=f"{reading.where}:{number}",
                        do="If quotes are text, set `quoting: none`; if not, `quoting: double`",
                    )
                source.passed = last
                if header:
                    header = False
                    continue
                text = row[place] if single else next((row[i] for i in places if row[i]), "")
                if source.coded:
                    text = text.translate(_CODES)
                lines += documents.lines(text, None if group is None else row[group], number)
                size += len(text) + 1
                if size > _BATCH:
                    reading.counts["line"] = last
                    reading.held = source.held()
                    yield lines
                    lines, size = [], 0
            break
        except csv.Error as error:
            _fault(reading, source, layout, str(error))
            source.passed = rows.line_num + above
    reading.counts["line"] = source.passed
    yield lines


_ONE = "If each line is one text, set `delimiter: tab`; if not, "
_RIGHT = "Correct the row, or set `delimiter`, `quoting` or `escape` as the file has them"


# Rows whose ends differ are joined.
_A_RETURN = "it has a carriage return (CR), which ends no row here, because the first line ends with another"
_NO_RETURNS = (
    "If it ends a row, make all line ends the same: tr '\\r' '\\n' < FILE > REPAIRED. If not, correct the row"
)


def _unnamed(reading: Reading, layout: Layout, what: str, number: int) -> InputError:
    """Return the error for a header without a name for one column, as write.table of R writes it."""
    delimiter = "\\t" if layout.dialect.delimiter == "\t" else layout.dialect.delimiter
    return InputError(
        f"{what}, as the rows after it: the header lacks a name, probably that of the first column",
        where=f"{reading.where}:{number}",
        do=f"Add it: sed '1s/^/row{delimiter}/' FILE > REPAIRED. Or remove the header, set `header: false`, "
        f"and `{reading.source.text_setting}` to the number of the text's column",
    )


def _columns(layout: Layout, header: bool) -> str:
    if not header:
        return f"{counted(layout.width, 'column')} without a header"
    return f"columns {', '.join(layout.first)[:200]}"


def _fault(reading: Reading, source: _Lines, layout: Layout, what: str) -> None:
    """Handle a row that csv cannot separate.

    Raises:
        InputError: the quotes span lines, which may be any number of rows; or more rows than allowed are
            unreadable.
    """
    text = source.rest()
    number = source.passed + 1
    if found := quote_fault(text, layout.dialect):
        opened, closed = found
        number += _line_ends(text[:opened])
        if closed is None:
            raise InputError(
                "the quote that opens here does not close"
                + (f" within {LONGEST_RECORD:,} characters" if len(text) > LONGEST_RECORD else ""),
                where=f"{reading.where}:{number}",
                do="Correct it, or set `quoting: none` if quotes are text, or set `escape`",
            )
        if text.startswith(_RETURN, closed + 1):
            reading.unreadable(f"a quote closes, and then {_A_RETURN} ({layout})", number, do=_NO_RETURNS)
            return
        across = _line_ends(text[opened:closed])
        what = "text follows the quote that closes the column"
        if across:
            raise InputError(
                f"the quote that opens here closes in line {number + across}, in front of other text",
                where=f"{reading.where}:{number}",
                do="Correct it, or set `quoting: none` if quotes are text, or set `escape`",
            )
    elif len(text) > LONGEST_RECORD:
        raise InputError(what, where=f"{reading.where}:{number}", do=_RIGHT)
    reading.unreadable(f"{what} ({layout})", number, do=_RIGHT)


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def quote_fault(text: str, dialect: Dialect) -> tuple[int, int | None] | None:
    """Find the first quote in a row that does not close, or closes in front of other text.

    Args:
        text: begins with the row.

    Returns:
        where the quote opens, and where it closes, if it does; None if the row's quotes are right.
    """
    quote, escape = dialect.quote, dialect.escape
    stops = re.compile("|".join(map(re.escape, filter(None, (dialect.delimiter, "\n", "\r", escape)))))
    place = 0
    while quote:
        while dialect.spaces and text.startswith(" ", place):
            place += 1
        if text.startswith(quote, place):
            opened, place = place, _closing(text, place + 1, quote, escape)
            if place < 0:
                return opened, None
            if place + 1 < len(text) and not stops.match(text, place + 1):
                return opened, place
        stop = stops.search(text, place)
        while stop and stop[0] == escape:
            stop = stops.search(text, stop.end() + 1)
        if not stop or stop[0] != dialect.delimiter:
            return None
        place = stop.end()
    return None


def _closing(text: str, place: int, quote: str, escape: str | None) -> int:
    """Return where the quote that opened before `place` closes; -1 if it does not."""
    marks = re.compile("|".join(map(re.escape, filter(None, (quote, escape)))))
    while found := marks.search(text, place):
        if found[0] == quote and not text.startswith(quote, found.end()):
            return found.start()
        place = found.end() + 1
    return -1
