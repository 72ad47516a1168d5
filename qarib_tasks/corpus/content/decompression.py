"""Compressed files as streams of limited size."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from typing import IO, Any, cast

from qarib_tasks.errors import InputError

BLOCK = 1 << 19  # bytes read at once
MOST_EXPANSION = 200  # times its size that a file may unpack to; text compresses 3 to 30 times
FREE_EXPANSION = 16 << 20  # bytes that any file may unpack to
_WINDOW_LOG = 31
_PACKED = 1 << 13  # bytes of a compressed file that are read at once; a preview estimates from how many were


def unpacked(raw: IO[bytes], packed: str) -> IO[bytes]:
    """Return a stream of the contents of a file compressed as gz, bz2, xz (or lzma), or zst."""
    if packed == "gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
    if packed in ("bz2", "xz"):
        kind = bz2.BZ2Decompressor if packed == "bz2" else lzma.LZMADecompressor
        return io.BufferedReader(_Parts(raw, kind))
    if packed == "zst":
        from backports import zstd

        # As large as `zstd --long=31` makes it; memory is taken as far as the file fills it.
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return cast(IO[bytes], zstd.ZstdFile(raw, options=options))
    return raw


class _Parts(io.RawIOBase):
    """The contents of compressed parts, one after the other, with zeros after them or not.

    The classes of the standard library leave out everything after the first part that is none, and take no
    zeros.

    Raises:
        EOFError: the last part is cut short. OSError: other data follows.
    """

    def __init__(self, raw: IO[bytes], kind: Callable[[], Any]) -> None:
        self._raw = raw
        self._kind = kind
        self._part = kind()
        self._is_first = True
        self._data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._part.eof or self._begin():
            if not self._data and self._part.needs_input:
                self._data = self._raw.read(_PACKED)
                if not self._data:
                    raise EOFError("the compressed data is cut short")
            try:
                data = self._part.decompress(self._data, len(buffer))
            except (OSError, lzma.LZMAError):
                if self._is_first:
                    raise
                raise OSError("other data follows the compressed data") from None
            self._data = b""
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _begin(self) -> bool:
        """Begin the next part, if there is one."""
        data = self._part.unused_data.lstrip(b"\0")
        while not data and (block := self._raw.read(_PACKED)):
            data = block.lstrip(b"\0")
        if data:
            self._part, self._data, self._is_first = self._kind(), data, False
        return bool(data)


def zstd_errors() -> tuple[type[Exception], ...]:
    """Return the errors of damaged zst files, if any was read."""
    module = sys.modules.get("backports.zstd")
    return (module.ZstdError,) if module else ()


class Allowance:
    """How many bytes a file may unpack to, with all that is packed in it.

    Args:
        packed_bytes: the size of the file.
        where: the file.
    """

    def __init__(self, packed_bytes: int, where: str) -> None:
        self._left = max(FREE_EXPANSION, MOST_EXPANSION * packed_bytes)
        self._packed_bytes = packed_bytes
        self._where = where

    def take(self, count: int) -> None:
        """Raise InputError if the file has unpacked to more bytes than it may."""
        self._left -= count
        if self._left < 0:
            raise InputError(
                f"unpacks to more than {MOST_EXPANSION} times its {self._packed_bytes:,} bytes",
                where=self._where,
                do="If this is expected, unpack the file yourself",
            )


class _Limited(io.RawIOBase):
    """A stream that fails when its contents are implausibly large."""

    def __init__(self, stream: IO[bytes], allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._allowance.take(len(data))
        return len(data)


def limited(stream: IO[bytes], allowance: Allowance) -> io.BufferedReader:
    """Return the stream, which raises InputError when it exceeds what the file may unpack to."""
    return io.BufferedReader(_Limited(stream, allowance), BLOCK)
