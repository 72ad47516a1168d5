"""Lines that end with a character of Unicode that is neither a line feed nor a carriage return."""

from __future__ import annotations

import io
import re
from typing import Any

from qarib_tasks.corpus.content.decompression import BLOCK

# Vertical tab, form feed, next line (U+0085), line separator (U+2028), paragraph separator (U+2029).
_OTHER = re.compile(rb"[\v\f]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_INCOMPLETE = re.compile(rb"(?:\xc2|\xe2\x80?)\Z")


def ends_otherwise(head: bytes) -> bool:
    """Return whether the lines of a text end in this way. Among line feeds, such a character is a space.

    Args:
        head: the start of the text, in UTF-8.
    """
    return b"\n" not in head and b"\r" not in head and _OTHER.search(head) is not None


def line_feeds_for(text: bytes) -> bytes:
    """Replace each such character by a line feed."""
    return _OTHER.sub(b"\n", text)


def with_line_feeds(stream: io.BufferedReader) -> io.BufferedReader:
    """Return the stream with a line feed instead of each such character."""
    return io.BufferedReader(_LineFeeds(stream), BLOCK)


class _LineFeeds(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            block = self._stream.read(len(buffer) - len(self._held))
            data = self._held + block
            cut = _INCOMPLETE.search(data, max(len(data) - 2, 0)) if block else None
            self._held = data[cut.start() :] if cut else b""
            data = line_feeds_for(data[: cut.start()] if cut else data)
            buffer[: len(data)] = data
            if data or not block:
                return len(data)
