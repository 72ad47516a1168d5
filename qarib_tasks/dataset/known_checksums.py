"""Checksums of files that are read again only if they have changed."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from qarib_tasks.errors import QaribError, StorageError
from qarib_tasks.layout import CHECKSUMS, DatasetLayout
from qarib_tasks.storage.files import crc32c_of, write_text
from qarib_tasks.storage.records.read import LARGEST
from qarib_tasks.storage.regular_files import read_regular

log = logging.getLogger(__name__)
# A file that was written so shortly before it is read can change again without another time.
UNSETTLED_NANOSECONDS = 2_000_000_000
REPORT_SECONDS = 10.0


class KnownChecksums:
    """The CRC32C of files, and in `path` those of the last time, with each file's size, times, and inode.

    The file at `path` can be deleted at any time: all files are then read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_bytes = 0
        self._reported = time.monotonic()
        self._known = _read(path)
        self._found: dict[str, list[int | str]] = {}

    @classmethod
    def of(cls, dataset: DatasetLayout) -> KnownChecksums:
        return cls(dataset.workspace / CHECKSUMS / f"{dataset.dataset_id}.json")

    def crc32c(self, name: str, file: Path) -> str:
        """The CRC32C of a file, as in `Checksums`; empty if the file cannot be read.

        Args:
            name: of the file in the stored list.
        """
        try:
            about = file.stat()
            marks: list[int | str] = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
            known = self._known.get(name)
            if known and known[:-1] == marks:
                self._found[name] = known
                return str(known[-1])
            found = crc32c_of(file)
        except OSError as error:
            log.warning("%s cannot be read: %s", file, error)
            return ""
        self.read_bytes += about.st_size
        if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > UNSETTLED_NANOSECONDS:
            self._found[name] = [*marks, found]
        return found

    def report(self, done: int, total: int) -> None:
        """Log the progress, and store what is known, every 10 seconds in which files are read."""
        if self.read_bytes and time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            log.info(
                "Compared %s of %s shards with their manifests, %.1f GB read",
                f"{done:,}",
                f"{total:,}",
                self.read_bytes / 1e9,
            )
            self._store({**self._known, **self._found})

    def save(self) -> None:
        """Store what is known of the files that were asked for. Without it, the next time takes longer."""
        if self._found != self._known:
            self._store(self._found)

    def _store(self, values: dict[str, list[int | str]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(values, indent=0) + "\n")
        except (OSError, StorageError) as error:
            log.warning("Cannot store the checksums, so all files are read again the next time: %s", error)


def _read(path: Path) -> dict[str, list[int | str]]:
    """Return what is stored; nothing for a file that does not exist or is damaged."""
    try:
        values = json.loads(read_regular(path, LARGEST))
    except (OSError, ValueError, RecursionError, QaribError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: marks for name, marks in values.items() if isinstance(marks, list) and len(marks) == 5}
