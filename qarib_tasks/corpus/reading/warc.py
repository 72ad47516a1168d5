"""WARC files of text (WET), as Common Crawl publishes them: a document per page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from qarib_tasks.corpus.reading.records import LONGEST_RECORD, Batches, Reading
from qarib_tasks.errors import InputError

_LONGEST_HEADER = 1 << 16  # bytes of a line
_MOST_HEADERS = 1000  # lines of a record
_PLAIN = ("conversion", "resource")


def read_warc(reading: Reading, stream: IO[bytes]) -> Batches:
    """Yield the lines of the records that hold text; the headers and other records are no text.

    Raises:
        InputError: a record is damaged, or the file holds web pages instead of their text.
    """
    document = reading.source.document
    for headers in _headers(reading, stream):
        try:
            size = int(headers["content-length"])
        except (KeyError, ValueError):
            raise _damaged(reading, "the record has no length") from None
        if size < 0:  # A stream would read all that is left.
            raise _damaged(reading, "the record has no length")
        kind, media = headers.get("warc-type", ""), headers.get("content-type", "").lower()
        if kind in ("response", "revisit"):
            raise InputError(
                "the WARC file holds web pages, not their text",
                where=reading.where,
                do="Use the WET files of the crawl, or extract the text",
            )
        is_text = kind in _PLAIN and media.startswith("text/plain")
        if not is_text or size > LONGEST_RECORD:
            if is_text:
                reading.unreadable(
                    f"the text is longer than {LONGEST_RECORD:,} bytes", reading.counts["line"]
                )
            _skip(reading, stream, size)
            continue
        data = stream.read(size)
        if len(data) < size:
            raise _damaged(reading, "the record is cut short")
        reading.counts["line"] += data.count(b"\n")
        reading.passed += size
        text = reading.text(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        reading.counts["lines_read"] += len(lines)
        if document == "line":
            lines = [item for line in lines for item in (line, "")]
        yield lines if document == "file" else [*lines, ""]
    reading.ended = True
    reading.undecodable(0, b"")


def _headers(reading: Reading, stream: IO[bytes]) -> Iterator[dict[str, str]]:
    """Yield the headers of each record; the stream is then at its content, which the caller reads."""
    while line := _line(reading, stream):
        if not line.strip():
            continue
        if not line.startswith(b"WARC/"):
            raise _damaged(reading, "no record begins here")
        headers: dict[str, str] = {}
        number = 0
        while (line := _line(reading, stream)).strip():
            number += 1
            if number > _MOST_HEADERS:
                raise _damaged(reading, f"the record has more than {_MOST_HEADERS:,} headers")
            name, _, value = line.decode("utf-8", "replace").partition(":")
            headers[name.strip().lower()] = value.strip()
        yield headers


def _line(reading: Reading, stream: IO[bytes]) -> bytes:
    line = stream.readline(_LONGEST_HEADER)
    reading.counts["line"] += line.endswith(b"\n")
    reading.passed += len(line)
    return line


def _skip(reading: Reading, stream: IO[bytes], size: int) -> None:
    while size:
        data = stream.read(min(size, LONGEST_RECORD))
        if not data:
            raise _damaged(reading, "the record is cut short")
        size -= len(data)
        reading.passed += len(data)
        reading.counts["line"] += data.count(b"\n")


def _damaged(reading: Reading, what: str) -> InputError:
    return InputError(
        what, where=f"{reading.where}:{reading.counts['line'] + 1}", do="Download the file again"
    )
