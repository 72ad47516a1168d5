"""Keeps what was made of the versions of files, so that a file is read once for each of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable
from typing import Any

MOST_VERSIONS = 1000
LARGEST = 32 << 10  # bytes of a file of which something is kept; JSON takes some ten times as much
SETTLED_NS = 2_000_000_000  # A file that changed less than this long ago can change in the same tick again.


def version_of(path: str, most: int = LARGEST) -> Hashable | None:
    """What changes whenever a file does; None for no file, a larger one, or one that has just changed."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    if about.st_size > most or time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) < SETTLED_NS:
        return None
    return path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


class Versions:
    """Values by version; those that were kept first are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """The value; None if there is none."""
        return self._values.get(key)

    def keep(self, key: Hashable, value: Any) -> None:
        with self._lock:
            while len(self._values) >= MOST_VERSIONS:
                del self._values[next(iter(self._values))]
            self._values[key] = value
