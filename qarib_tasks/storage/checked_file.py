"""Reads a file once, also out of order, so that its checksums are those of the bytes that were used."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import google_crc32c

from qarib_tasks.errors import InputError
from qarib_tasks.storage.files import Checksums, RunningChecksums
from qarib_tasks.storage.regular_files import open_regular

_BLOCK = 1 << 17  # bytes
_AGAIN = "Try again when no program writes to the file"


class CheckedFile(io.RawIOBase):
    """A regular file as a stream.

    Each block is remembered by its CRC32C. A block that is read again, by a reader that goes back, must be
    the same; one that is read ahead must be the same in its turn. `finish` reads what was not read.

    Args:
        path: of the file.
        where: the file, for messages.

    Attributes:
        name: the path.
        size, modified: its number of bytes and its time, in nanoseconds, when it was opened.

    Raises:
        OSError: the file cannot be opened.
        InputError: it is not a regular file. Reading can raise it too: the file changed.
    """

    def __init__(self, path: Path, where: object = None) -> None:
        self._descriptor = -1
        self._descriptor = open_regular(path)
        self.name = str(path)
        self._where = path if where is None else where
        about = os.fstat(self._descriptor)
        self.size, self.modified = about.st_size, about.st_mtime_ns
        self._written = about.st_ctime_ns
        self._place = 0
        self._number, self._block = -1, b""
        self._checksums = RunningChecksums()
        self._known = array("I")  # the CRC32C of each block that the checksums include
        self._ahead: dict[int, int] = {}  # that of blocks after these

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if start + place < 0:
            raise OSError("the place is in front of the file")
        self._place = start + place
        return self._place

    def readinto(self, buffer: Any) -> int:
        view, count = memoryview(buffer).cast("B"), 0
        while count < len(view):
            number, start = divmod(self._place, _BLOCK)
            if number != self._number:
                self._number, self._block = number, self._read(number)
            part = self._block[start : start + len(view) - count]
            if not part:
                break
            view[count : count + len(part)] = part
            count += len(part)
            self._place += len(part)
        return count

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def stream(self, buffer: int) -> io.BufferedReader:
        """Return the file as a buffered stream; closing that leaves the file open.

        Args:
            buffer: bytes that are read at once.
        """
        return cast(io.BufferedReader, io.BufferedReader(_View(self), buffer))

    def finish(self) -> Checksums:
        """Read the rest of the file; return its size and checksums.

        Raises:
            InputError: the file changed while it was read.
        """
        while self._read(len(self._known)):
            pass
        found = self._checksums.result()
        if self._ahead:
            raise self._changed()
        self.require_unchanged()
        if found.bytes != self.size:
            raise self._changed()
        return found

    def require_unchanged(self) -> None:
        """Require that the file is as it was when it was opened, by its size and time.

        The time can be set back after a write. Only a link, a new name, or new rights are no change.

        Raises:
            InputError: it is not.
        """
        about = os.fstat(self._descriptor)
        if (self.size, self.modified) != (about.st_size, about.st_mtime_ns):
            raise self._changed()
        if about.st_ctime_ns != self._written:
            self._written = about.st_ctime_ns
            for number in range(len(self._known)):
                self._read(number)

    def _read(self, number: int) -> bytes:
        """Return a block of the file; less at the end of the file."""
        block, place = b"", number * _BLOCK
        while len(block) < _BLOCK and (
            data := os.pread(self._descriptor, _BLOCK - len(block), place + len(block))
        ):
            block = block + data if block else data
        if not block and number >= len(self._known):
            return b""
        value = google_crc32c.value(block)
        is_known = number < len(self._known)
        if value != (self._known[number] if is_known else self._ahead.setdefault(number, value)):
            raise self._changed()
        if number == len(self._known):
            del self._ahead[number]
            self._known.append(value)
            self._checksums.update(block)
        return block

    def _changed(self) -> InputError:
        return InputError("the file changed while it was read", where=self._where, do=_AGAIN)


class _View(io.RawIOBase):
    def __init__(self, file: CheckedFile) -> None:
        self._file = file
        self.name = file.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)


def watched(*paths: Path) -> Callable[[], None]:
    """Return a function that requires files to be as they are now, by their sizes and times.

    It raises InputError for one that is not.
    """
    before = list(map(_state, paths))

    def require_unchanged() -> None:
        for path, state in zip(paths, before, strict=True):
            if _state(path) != state:
                raise InputError("the file changed while it was read", where=path, do=_AGAIN)

    return require_unchanged


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
