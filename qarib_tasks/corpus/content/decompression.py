"""Compressed files as streams of limited size."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import IO, Any, cast

from qarib_tasks.errors import InputError

BLOCK = 1 << 19  # bytes read at once
MOST_EXPANSION = 200  # times its size that a file may unpack to; text compresses 3 to 30 times
FREE_EXPANSION = 16 << 20  # bytes that any file may unpack to


def unpacked(raw: IO[bytes], packed: str) -> IO[bytes]:
    """Return a stream of the contents of a file compressed as gz, bz2, xz, or zst."""
    if packed == "gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
    if packed == "bz2":
        return bz2.BZ2File(raw)
    if packed == "xz":
        return lzma.LZMAFile(raw)
    if packed == "zst":
        import pyarrow

        stream: IO[bytes] = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")
        return stream
    return raw


class _Limited(io.RawIOBase):
    """A stream that fails when its contents are implausibly large."""

    def __init__(self, stream: IO[bytes], packed_bytes: int, name: str) -> None:
        self._stream = stream
        self._left = max(FREE_EXPANSION, MOST_EXPANSION * packed_bytes)
        self._packed_bytes = packed_bytes
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"unpacks to more than {MOST_EXPANSION} times its {self._packed_bytes:,} bytes",
                where=self._name,
                do="If this is expected, unpack the file yourself",
            )
        return len(data)


def limited(stream: IO[bytes], packed_bytes: int, name: str) -> IO[bytes]:
    """Return the stream, which raises InputError when it exceeds the limit for its compressed size."""
    return io.BufferedReader(_Limited(stream, packed_bytes, name), BLOCK)
