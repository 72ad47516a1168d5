"""The beginning of a file as a stream that is read for a limited time, and as far as it is needed."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qarib_tasks.corpus.allowed import AllowedSources, limits_of
from qarib_tasks.corpus.remote.filesystem import filesystem, remote_errors
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.storage.bucket import default_client
from qarib_tasks.storage.regular_files import open_regular

_BUFFER = 1 << 16
_RANGE = 1 << 20  # bytes that are requested at once


class EnoughError(Exception):
    """The time or the number of bytes for a preview is used up."""


class Beginning(io.RawIOBase):
    """A file that is not read after a deadline.

    Attributes:
        passed: the number of bytes that were read.
    """

    def __init__(
        self, file: SourceFile, stream: Any, deadline: float, in_any_order: bool, most_remote: int
    ) -> None:
        self.passed = 0
        self._most_remote = most_remote
        self._file = file
        self._stream = stream
        self._deadline = deadline
        self._in_any_order = in_any_order

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._in_any_order

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(place, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        is_remote = self._file.path is None
        if time.monotonic() > self._deadline:
            raise EnoughError("the time is used up")
        if is_remote and self.passed > self._most_remote:
            raise EnoughError(f"{self._most_remote >> 20} MiB are downloaded")
        with _errors(self._file):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.passed += len(data)
        return len(data)


def _opened(file: SourceFile, allowed: AllowedSources | None) -> tuple[Any, bool]:
    """Open a file where it is; return it, and whether it can be read in any order."""
    if file.path is not None:
        return io.FileIO(open_regular(file.path)), True
    with _errors(file):
        if file.address.startswith("gs://"):
            from google.cloud.storage import Blob

            # As it is stored: Cloud Storage would unpack an object with Content-Encoding.
            blob = Blob.from_uri(file.address, default_client())
            return blob.open("rb", chunk_size=_RANGE, raw_download=True), True
        system = filesystem(file.address, allowed)
        if file.bytes > _RANGE:
            stream = system.open(file.address, block_size=_RANGE, cache_type="readahead", size=file.bytes)
            with suppress(ValueError):  # The server does not send parts of a file.
                stream.seek(file.bytes - 1)
                stream.read(1)
                stream.seek(0)
                return stream, True
        return system.open(file.address, block_size=0), False


@contextmanager
def _errors(file: SourceFile) -> Iterator[None]:
    if file.path is not None:
        yield
        return
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    with remote_errors(file.address):
        try:
            yield
        except (GoogleAPIError, GoogleAuthError, ValueError) as error:
            raise OSError(str(error)) from None


@contextmanager
def beginning(
    file: SourceFile, deadline: float, allowed: AllowedSources | None
) -> Iterator[tuple[io.BufferedReader, Beginning]]:
    """Open a file; yield a stream for its readers, and the raw one.

    Reading it raises EnoughError after the deadline, and if much of a remote file was read.

    Args:
        deadline: of `time.monotonic`.

    Raises:
        StorageError: a remote file cannot be read; reading can raise it too.
    """
    stream, in_any_order = _opened(file, allowed)
    with stream:
        raw = Beginning(file, stream, deadline, in_any_order, limits_of(allowed).preview_download)
        yield io.BufferedReader(raw, _BUFFER), raw
