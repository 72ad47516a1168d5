"""JSON: a record per line, or records in a list or one after the other, on any number of lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, cast

from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.reading.json_records import (
    AS_OBJECTS,
    IN_RECORD,
    Fault,
    fault_of,
    from_list,
    has_field,
    names_of,
    text_of,
)
from qarib_tasks.corpus.reading.records import (
    LONGEST_RECORD,
    Batches,
    Documents,
    Reading,
    field_of,
    kind_of,
)
from qarib_tasks.corpus.reading.text import line_feeds, raw_lines
from qarib_tasks.errors import InputError

_BATCH = 1 << 17  # characters that are yielded at once, about
_MARK = b"\xef\xbb\xbf"  # byte-order mark
_SPACE = re.compile(r"[\s\ufeff]*")
_DECODER = json.JSONDecoder()
_OF_LONG_NUMBERS = json.JSONDecoder(parse_int=float)  # Python refuses an integer of 5,000 digits.


def read_json_lines(reading: Reading, stream: IO[bytes]) -> Batches:
    """Yield the lines of the texts in a JSON file.

    If the first record does not end where its line does, or the records are in a list, the file is read
    record by record. Otherwise, it is read line by line, and an invalid line can be skipped.

    Raises:
        InputError: the JSON is invalid, or more records than allowed have no text.
    """
    head = stream.read(BLOCK)
    again = cast(IO[bytes], _Again(head, stream))
    documents = Documents(reading)
    if _is_by_line(head):
        yield from _read_lines(reading, again, documents)
        return
    lines: list[str] = []
    size = 0
    for number, record in _Values(reading, again).values():
        some = _lines_of_record(reading, documents, record, number)
        lines += some
        size += sum(map(len, some), start=1)
        reading.counts["line"] = number
        if size > _BATCH:
            yield lines
            lines, size = [], 0
    yield lines


class _Again:
    """A stream whose first bytes have been read."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int) -> bytes:
        head, self._head = self._head, b""
        return head or self._stream.read(size)


def _is_by_line(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    text = text[_SPACE.match(text).end() :]  # type: ignore[union-attr]
    if text.startswith("["):
        return False
    line = re.split("[\r\n]", text, maxsplit=1)[0].rstrip()
    if len(line) == len(text) and len(head) >= BLOCK and IN_RECORD.search(text):
        return False  # The records may be in a list in an object, of which this is the only line.
    try:
        _, end = _decode(text, 0)
    except (ValueError, RecursionError):
        # Invalid, or an object that is longer than the head.
        return line != "{"
    return end == len(line)


def _read_lines(reading: Reading, stream: IO[bytes], documents: Documents) -> Batches:
    for data in raw_lines(reading, stream, LONGEST_RECORD):
        reading.has_escapes = _has_escapes(data)
        batch: list[str] = []
        for number, line in enumerate(data.split(b"\n"), start=reading.counts["line"] + 1):
            line = line.strip().removeprefix(_MARK)
            if not line:
                continue
            try:
                records = _records(reading.text(line))
            except json.JSONDecodeError as error:
                reading.unreadable(f"invalid JSON: {error.msg} at column {error.colno}", number)
                continue
            except RecursionError:
                reading.unreadable("invalid JSON: too deep", number)
                continue
            for record in records:
                batch += _lines_of_record(reading, documents, record, number)
        yield batch


def _records(line: str) -> list[object]:
    """Return the values in a line, which usually is one."""
    try:
        return [json.loads(line)]
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
    except ValueError:
        pass  # See `_decode`.
    records, place = list[object](), 0
    while place < len(line):
        record, place = _decode(line, place)
        records.append(record)
        place = _SPACE.match(line, place).end()  # type: ignore[union-attr]
    return records


def _decode(text: str, place: int) -> tuple[object, int]:
    """Return the value that begins at a place, and where it ends.

    Raises:
        json.JSONDecodeError: it is no value. RecursionError: it is too deep.
    """
    try:
        return _DECODER.raw_decode(text, place)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _OF_LONG_NUMBERS.raw_decode(text, place)


class _Values:
    """The values in a stream, one after the other, or in lists; one of them is in memory."""

    def __init__(self, reading: Reading, stream: IO[bytes]) -> None:
        self._reading = reading
        self._blocks = line_feeds(stream)
        self._bytes = b""
        self._text = ""
        self._place = 0
        self._line, self._counted = 1, 0

    def values(self) -> Iterator[tuple[int, object]]:
        """Yield each value with the number of the line in which it begins.

        Raises:
            InputError: the JSON is invalid, or ends inside a list or a value.
        """
        in_list = after_value = after_comma = False
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place == len(self._text):
                if self._more():
                    continue
                if in_list:
                    raise self._error("the file ends inside a list", self._place)
                return
            mark = self._text[self._place]
            if in_list and mark == "]" and not after_comma:
                in_list = after_value = False
            elif in_list and after_value:
                if mark != ",":
                    raise self._error("invalid JSON: Expecting ',' or ']'", self._place)
                after_value, after_comma = False, True
            elif mark == "[" and not in_list:
                in_list = True
            else:
                yield self._line_of(self._place), self._value()
                after_value, after_comma = True, False
                continue
            self._place += 1

    def _value(self) -> object:
        while True:
            try:
                value, end = _decode(self._text, self._place)
            except json.JSONDecodeError as error:
                after = error.pos - self._place
                # It may be incomplete.
                if self._more():
                    continue
                raise self._error(f"invalid JSON: {error.msg}", self._place + after) from None
            except RecursionError:
                raise self._error("invalid JSON: too deep", self._place) from None
            # A number at the end may have more digits.
            if end == len(self._text) and self._text[end - 1] not in '}]"' and self._more():
                continue
            self._place = end
            return value

    def _more(self) -> bool:
        """Read as much again as is not used yet; return whether there is more."""
        self._line_of(self._place)
        rest = self._text[self._place :]
        if len(rest) > LONGEST_RECORD:
            what = f"invalid JSON, or a record longer than {LONGEST_RECORD:,} characters"
            if found := IN_RECORD.search(rest[:BLOCK]):
                raise InputError(
                    f"{what}, with the list {found[1]!r} of records",
                    where=f"{self._reading.where}:{self._line_of(self._place)}",
                    do=from_list(found[1]),
                )
            raise self._error(what, self._place)
        parts, size = [rest], 0
        while size <= len(rest):
            data = self._bytes + next(self._blocks, b"")
            self._reading.has_escapes |= _has_escapes(data)
            if len(data) == len(self._bytes):
                parts.append(self._reading.text(data))
                self._bytes = b""
                break
            end = _end_of_characters(data)
            parts.append(self._reading.text(data[:end]))
            self._bytes = data[end:]
            size += len(parts[-1])
        self._text, self._place, self._counted = "".join(parts), 0, 0
        return len(self._text) > len(rest)

    def _line_of(self, place: int) -> int:
        """Return the number of the line; no later call asks for an earlier place."""
        self._line += self._text.count("\n", self._counted, place)
        self._counted = place
        return self._line

    def _error(self, what: str, place: int) -> InputError:
        return InputError(
            what,
            where=f"{self._reading.where}:{self._line_of(place)}",
            do="Correct the file, or write one record per line, which can be skipped"
            + self._reading.or_as_text,
        )


def _has_escapes(data: bytes) -> bool:
    """Return whether a half of a pair of surrogates may be written in ASCII."""
    return b"\\ud" in data or b"\\uD" in data


def _end_of_characters(data: bytes) -> int:
    """Return where the last complete character ends."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            return len(data) - back
        if byte < 0x80:
            break
    return len(data)


def _lines_of_record(reading: Reading, documents: Documents, record: object, number: int) -> list[str]:
    if not isinstance(record, dict):
        what = f"{kind_of(record)} instead of an object with fields"
        fault = Fault(what, AS_OBJECTS, is_single=False) if isinstance(record, str) else Fault(what)
        _unreadable(reading, fault, number)
        return []
    source = reading.source
    if reading.detailed and not reading.columns:
        names = names_of(record)
        reading.columns, reading.examples = names, [field_of(record, name) for name in names]
        reading.column = next((name for name in source.fields if field_of(record, name) is not None), "")
    text = text_of(record, source.fields)
    if text is None and documents.takes_empty and any(has_field(record, name) for name in source.fields):
        text = ""
    if text is None or isinstance(text, dict):
        _unreadable(reading, fault_of(record, text, source.fields), number)
        return []
    if reading.has_escapes and isinstance(text, str):
        reading.count_surrogates(text)
    group = field_of(record, source.group) if source.group else None
    return documents.lines(text, group, number)


def _unreadable(reading: Reading, fault: Fault, number: int) -> None:
    if reading.has_texts:
        fault = Fault(fault.what)
    reading.unreadable(fault.what, number, fault.do, is_single=fault.is_single)
