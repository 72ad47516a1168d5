"""Files of any encoding as streams of UTF-8 bytes, for the readers."""

from __future__ import annotations

import codecs
import io
import logging
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from qarib_tasks.corpus.content.decoding import REPLACEMENT, Decoder, decoded, is_utf8, marked_encoding
from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.content.guessing import (
    better_encoding,
    likely_encoding,
    lost_letters,
    mistaken_decoding,
    wide_encoding,
)
from qarib_tasks.corpus.reading.records import HEAD, Reading
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError

log = logging.getLogger(__name__)
MARK = b"\xef\xbb\xbf"  # U+FEFF in UTF-8
# A mark that begins a line, because files with marks were joined.
_MARKS = re.compile(rb"(?<=[\r\n])(?:\xef\xbb\xbf)+")
# What may be the beginning of a mark, or end the file: an end of file of CP/M is no text.
_HELD = re.compile(rb"(?:\xef\xbb?|\x1a+)\Z")
_SAMPLE = 1 << 15  # bytes in which text that was decoded wrongly is looked for
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r"))
_CONTROL_SHARE = 0.0001  # of the first megabyte's bytes
_LETTERS = 20  # outside ASCII, which show the encoding
_WRONG_MARK = 0.01  # share of bytes that are not in the encoding of the mark
_AGAIN = "Save it again from its source, in UTF-8"
_ICONV = {"mac-roman": "macintosh", "cp720": ""}  # its names; "" for an encoding that it does not know
_BINARY_SHARE = 0.01  # from which not even `encoding_errors: replace` helps


def utf8(reading: Reading, stream: IO[bytes]) -> io.BufferedReader:
    """Return a stream of the file's text as UTF-8, without byte-order marks at the start of a line.

    Bytes of a UTF-8 file that cannot be decoded are in the stream, for `Reading.text`: the text is decoded
    only once.

    Args:
        reading: its encoding is set to the file's.

    Raises:
        InputError: the file is not text, or has more undecodable bytes than the source allows. A later read
            can raise it too.
    """
    return io.BufferedReader(_Text(reading, stream), BLOCK)


def encoding_of_cells(reading: Reading, cells: Sequence[bytes]) -> None:
    """Set the encoding of a table's binary texts.

    Args:
        cells: the first of them.

    Raises:
        InputError: they are not text.
    """
    # As they are joined, the characters of UTF-16 stay at even places.
    head = b"".join(cells)[:HEAD]
    reading.encoding, start = _encoding_of(reading, head)
    text = head[start:]
    if not is_utf8(reading.encoding):
        text = decoded(text, reading.encoding)[0].encode("utf-8", "replace")
    _check_text(reading, text, head)


class _Text(io.RawIOBase):
    def __init__(self, reading: Reading, stream: IO[bytes]) -> None:
        self._reading = reading
        self._stream = stream
        head = _read_head(stream)
        reading.passed, reading.ended = len(head), len(head) < HEAD
        reading.encoding, start = _encoding_of(reading, head)
        blocks = self._as_it_is if is_utf8(reading.encoding) else self._decoded
        self._blocks = self._without_marks(blocks(head[start:]))
        self._rest = memoryview(b"")
        first = next(self._blocks, b"")
        _check_text(reading, first[:HEAD], head)
        self._rest = memoryview(first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._reading.given += count
        return count

    def _read(self) -> bytes:
        block = self._stream.read(BLOCK) if not self._reading.ended else b""
        self._reading.passed += len(block)
        self._reading.ended = not block
        return block

    def _as_it_is(self, block: bytes) -> Iterator[bytes]:
        while block:
            yield block
            block = self._read()
        self._reading.undecodable(0, b"")

    def _decoded(self, block: bytes) -> Iterator[bytes]:
        decoder = Decoder(self._reading.encoding)
        while True:
            text, undecodable = decoder.decode(block, final=not block)
            if undecodable:
                self._reading.undecodable(undecodable, block)
            yield text.encode("utf-8", "replace")
            if not block:
                break
            block = self._read()
        self._reading.undecodable(0, b"")

    def _without_marks(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        held, at_start = b"", True
        for block in blocks:
            data = held + block
            found = _HELD.search(data, max(len(data) - 2, 0)) if data[-1:] in b"\xef\xbb\x1a" else None
            held = b""
            if found:
                data, held = data[: found.start()], data[found.start() :]
            if b"\xef" in data and MARK in data:
                while at_start and data.startswith(MARK):
                    data = data[len(MARK) :]
                data = _MARKS.sub(b"", data)
            if data:
                at_start = data[-1] in b"\r\n"
                yield data
        if held.strip(b"\x1a"):
            yield held


def _read_head(stream: IO[bytes]) -> bytes:
    blocks, size = [], 0
    while size < HEAD and (block := stream.read(HEAD - size)):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _encoding_of(reading: Reading, head: bytes) -> tuple[str, int]:
    """Return the encoding of a file that begins with `head`, and the length of its byte-order mark."""
    named = reading.source.encoding
    marked, length = marked_encoding(head)
    if marked:
        if named != "auto" and decoded(head[length:], marked)[1] > _WRONG_MARK * len(head):
            reading.warn(f"read as {named}, although its byte-order mark is that of {marked.upper()}")
            return named, length
        if named != "auto" or marked != "utf-8":
            log.info("%s: %s by its byte-order mark", reading.where, marked.upper())
        return marked, length
    if named == "auto" or is_utf8(named):
        return "utf-8", 0
    if (wide := codecs.lookup(named).name) in ("utf-16", "utf-32"):
        # Which of the two orders of bytes it is, only a mark says, or the text.
        if (likely := likely_encoding(head)).startswith(wide):
            log.info("%s: %s by its content", reading.where, likely.upper())
            return likely, 0
        raise InputError(
            f"no byte-order mark of {named}" + (f"; the encoding is probably {likely}" if likely else ""),
            where=reading.where,
            do=f"Set `encoding: {likely or f'{wide}-le'}`",
        )
    # Text in another encoding is never valid UTF-8, except for a few letters between ASCII.
    _, undecodable = Decoder("utf-8").decode(head)
    letters = len(head) - len(head.translate(None, bytes(range(128, 256))))
    if letters >= _LETTERS and not undecodable:
        reading.warn(f"read as UTF-8, which it is, instead of {named}")
        return "utf-8", 0
    if (letters >= _LETTERS or "utf" in wide) and (likely := better_encoding(head, named)):
        reading.warn(f"read as {named}, but its encoding is probably {likely}")
    return named, 0


def _check_text(reading: Reading, head: bytes, raw: bytes) -> None:
    """Refuse a file with control characters, and warn of one that was damaged before.

    Args:
        head: the start of the text, as UTF-8.
        raw: the start of the file.
    """
    no_text = _CONTROLS.replace(reading.source.delimiter.encode(), b"")  # Hive separates columns by U+0001.
    controls = len(head) - len(head.translate(None, no_text))
    strict = reading.source.encoding_errors == "strict"
    if controls > (_CONTROL_SHARE if strict else _BINARY_SHARE) * len(head):
        if (likely := wide_encoding(raw)) and likely != reading.encoding:
            raise InputError(
                f"not {reading.encoding.upper()}; the encoding is probably {likely}",
                where=reading.where,
                do=f"Set `encoding: {likely}`",
            )
        raise InputError(
            f"not text (looks like binary data: {counted(controls, 'control character')} in the first "
            f"{len(head):,} bytes)",
            where=reading.where,
            do="Convert the file to text, or remove these characters",
        )
    if not reading.warnings:
        _warn_of_damage(reading, head)


def _warn_of_damage(reading: Reading, head: bytes) -> None:
    """Warn of text that was decoded or encoded wrongly before."""
    text = decoded(head[:_SAMPLE])[0]
    if mistake := mistaken_decoding(text.split("\n")[:200]):
        used, right = mistake
        then = "" if right == "utf-8" else f", and set `encoding: {right}`"
        name = _ICONV.get(used, used)
        how = f"To repair it: iconv -f UTF-8 -t {name} FILE > REPAIRED{then}" if name else _AGAIN
        reading.warn(
            f"the text was damaged earlier: {right.upper()} was read as {used.upper()} and saved again. {how}"
        )
    elif lost_letters(text):
        reading.warn(f"the text was damaged earlier: many words are question marks. {_AGAIN}")
    # What was replaced now is counted elsewhere.
    lost = 0 if reading.replaced else head.count(REPLACEMENT.encode())
    if lost > reading.source.undecodable_share * len(head):
        reading.warn(
            f"the text was damaged earlier: {counted(lost, 'character')} in its first {len(head):,} bytes "
            f"could not be decoded (U+FFFD). {_AGAIN}"
        )
