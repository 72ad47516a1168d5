"""Atomic file writes and checksums.

Every file that a step makes goes through `atomic_path`: it is written under a hidden temporary name in the
same folder, flushed to disk, and renamed. A process that is killed leaves at most such a hidden file, which
readers ignore and the next writer of the same file removes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

CHUNK = 4 << 20
DAY = 86_400


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` if the block ends without an error.

    Two processes can write the same file at the same time: each has its own temporary name, and the complete
    file of the last to finish remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`.

    A writer on this machine is dead if its process no longer exists. The processes of another machine that
    shares the volume are not visible, so its file must be a day old.
    """
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if leftover.name.startswith(f".{path.name}.{platform.node()}."):
            dead = not Path(f"/proc/{pid}").exists()
        else:
            dead = time.time() - leftover.stat().st_mtime > DAY
        if dead:
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class Checksums:
    """Size in bytes, SHA-256 (hex), and CRC32C (base64 of the big-endian value, as in Cloud Storage)."""

    bytes: int
    sha256: str
    crc32c: str


class RunningChecksums:
    """The size and checksums of a stream of bytes."""

    def __init__(self) -> None:
        self._bytes, self._sha256, self._crc32c = 0, hashlib.sha256(), google_crc32c.Checksum()

    def update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._crc32c.update(bytes(piece))
        self._bytes += len(piece)

    def result(self) -> Checksums:
        return Checksums(self._bytes, self._sha256.hexdigest(), _base64(self._crc32c))


def checksums_of(data: bytes) -> Checksums:
    """The size and checksums of bytes in memory."""
    running = RunningChecksums()
    running.update(data)
    return running.result()


def checksums(path: Path) -> Checksums:
    """Read a file once and return its size and checksums."""
    running = RunningChecksums()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            running.update(chunk)
    return running.result()


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file in the format of `Checksums`; several times faster than the SHA-256."""
    crc = google_crc32c.Checksum()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc.update(chunk)
    return _base64(crc)


def _base64(crc: google_crc32c.Checksum) -> str:
    return base64.b64encode(crc.digest()).decode()
