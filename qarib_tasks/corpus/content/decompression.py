"""Compressed files as streams of limited size."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from typing import IO, Any, cast

from qarib_tasks.config.reading import ReadingLimits
from qarib_tasks.errors import InputError

BLOCK = 1 << 19  # bytes read at once
FREE_EXPANSION = 16 << 20  # bytes that any file may unpack to
_WINDOW_LOG = 31
_INNER_WINDOW_LOG = 27  # that of zstd itself, for what is packed in another file
_MOST_MEMORY = 1 << 30  # bytes that unpacking xz can take
_PACKED = 1 << 13  # bytes of a compressed file that are read at once; a preview estimates from how many were


def unpacked(raw: IO[bytes], packed: str, *, is_inner: bool = False) -> IO[bytes]:
    """Return a stream of the contents of a file compressed as gz, bz2, xz (or lzma), or zst.

    Args:
        is_inner: the file is in another one: such a file gets less memory.
    """
    if packed == "gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
    if packed in ("bz2", "xz"):
        kind = bz2.BZ2Decompressor if packed == "bz2" else _xz
        return io.BufferedReader(_Parts(raw, kind))
    if packed == "zst":
        from backports import zstd

        # As large as `zstd --long=31` makes it; memory is taken as far as the file fills it.
        options: dict[int, int] = {
            zstd.DecompressionParameter.window_log_max: _INNER_WINDOW_LOG if is_inner else _WINDOW_LOG
        }
        return cast(IO[bytes], zstd.ZstdFile(raw, options=options))
    return raw


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_MOST_MEMORY)


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


def damage_errors() -> tuple[type[Exception], ...]:
    """Return the libraries' errors about damaged files."""
    import tarfile
    import zipfile
    import zlib

    zstd = sys.modules.get("backports.zstd")  # if any zst file was read
    return (
        # pyarrow's errors are ValueErrors and OSErrors too; an unknown or encrypted zip raises the last two.
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        tarfile.TarError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
        *([zstd.ZstdError] if zstd else []),
    )


class Allowance:
    """What a file may unpack to, with all that is packed in it. It is counted while the file is read.

    Args:
        packed_bytes: the size of the file.
        where: the file.
        limits: the settings of the source.
    """

    def __init__(self, packed_bytes: int, where: str, limits: ReadingLimits) -> None:
        most = max(FREE_EXPANSION, limits.most_expansion * packed_bytes)
        self._is_ceiling = most > limits.most_bytes
        self._left = min(most, limits.most_bytes)
        self._members, self._rows = limits.most_members, limits.most_rows
        self._packed_bytes = packed_bytes
        self._where = where
        self._limits = limits

    def take(self, count: int) -> None:
        """Count bytes.

        Raises:
            InputError: the file has unpacked to more bytes than it may.
        """
        self.require(count)
        self._left -= count

    def require(self, count: int) -> None:
        """Require that the file may unpack to as many more bytes.

        Raises:
            InputError: it may not.
        """
        if count <= self._left:
            return
        if self._is_ceiling:
            raise self._more(f"unpacks to more than {self._limits.most_bytes:,} bytes", "most_bytes")
        what = f"unpacks to more than {self._limits.most_expansion} times its {self._packed_bytes:,} bytes"
        raise self._more(what, "most_expansion")

    def add_member(self) -> None:
        """Count a file in an archive.

        Raises:
            InputError: there are more than allowed.
        """
        self._members -= 1
        if self._members < 0:
            raise self._more(f"has more than {self._limits.most_members:,} members", "most_members")

    def add_rows(self, count: int) -> None:
        """Count rows of a table, each as a byte at least: many empty rows fit into few bytes.

        Raises:
            InputError: there are more than allowed.
        """
        self._rows -= count
        if self._rows < 0:
            raise self._more(f"has more than {self._limits.most_rows:,} rows", "most_rows")
        self.take(count)

    def _more(self, what: str, setting: str) -> InputError:
        do = f"If this is expected, raise `{setting}`, or unpack the file yourself"
        return InputError(what, where=self._where, do=do)


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
