"""The files of runs, read from the workspace and the bucket: a bounded number of reads, kept for seconds."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qarib_tasks.errors import StorageError

# A listing or file of the bucket is asked for again after so many seconds; a failure as well. Whoever comes
# within STALE seconds more need not wait for the answer.
FRESH = 4.0
STALE = 60.0
SETTLED = 3600.0
AT_ONCE = 8
# Of one object or file that is read for a view.
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Stored:
    """An object as a listing tells of it. `crc32c` as Cloud Storage gives it, in base64."""

    name: str
    size: int
    crc32c: str


class BucketReader(Protocol):
    """The calls to a bucket; each ends within seconds.

    Raises:
        StorageError: the bucket does not answer, or refuses.
    """

    @property
    def address(self) -> str:
        """`gs://bucket/prefix/`"""

    def list(self, below: str) -> list[Stored]:
        """The objects whose names, counted from the prefix, begin so; `Stored.name` is counted alike."""

    def read(self, name: str) -> bytes | None:
        """An object's bytes, None where there is none."""


class Cache:
    """Values by key for some seconds, computed once by whoever comes first. A failure is kept as well.

    Nobody waits for a value that is only somewhat too old: it is given once more, and made anew meanwhile.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._values: dict[Any, tuple[float, Any]] = {}

    def get(self, key: Any, make: Callable[[], Any], seconds: float = FRESH, stale: float = 0.0) -> Any:
        """The value, made up to `seconds` ago; up to `stale` seconds more if a new one is being made."""
        until, value = self._values.get(key, (-math.inf, None))
        if (late := time.monotonic() - until) >= 0:
            if late >= stale or isinstance(value, StorageError):
                value = self._made(key, make, seconds)
            else:
                threading.Thread(target=self._made, args=(key, make, seconds), daemon=True).start()
        if isinstance(value, StorageError):
            raise value
        return value

    def _made(self, key: Any, make: Callable[[], Any], seconds: float) -> Any:
        with self._lock:
            own = self._locks.setdefault(key, threading.Lock())
        with own:
            until, value = self._values.get(key, (-math.inf, None))
            if time.monotonic() >= until:
                try:
                    value = make()
                except StorageError as error:
                    value, seconds = error, FRESH
                self._keep(key, value, seconds)
        return value

    def age(self, seconds: float) -> None:
        """Make everything older, as if so much time had passed."""
        with self._lock:
            self._values = {key: (until - seconds, value) for key, (until, value) in self._values.items()}

    def _keep(self, key: Any, value: Any, seconds: float) -> None:
        with self._lock:
            now = time.monotonic()
            if len(self._values) >= self._most:
                self._values = {k: kept for k, kept in self._values.items() if kept[0] > now}
                while len(self._values) >= self._most:
                    self._values.pop(next(iter(self._values)))
                self._locks = {k: lock for k, lock in self._locks.items() if k in self._values or k == key}
            self._values[key] = now + seconds, value


@dataclass
class Files:
    """The files of one run, by their names below the workspace and below the bucket's prefix.

    A bucket that does not answer is asked once, not for every file: what the workspace has is shown without
    it, and `trouble` says what is missing.

    Attributes:
        workspace: None where it is not on this machine.
        bucket: None for a run that publishes nowhere.
    """

    workspace: Path | None
    bucket: BucketReader | None
    cache: Cache
    trouble: StorageError | None = field(default=None, init=False)

    def _ask(self, key: tuple[Any, ...], make: Callable[[BucketReader], Any], seconds: float) -> Any:
        bucket = self.bucket
        if bucket is None or self.trouble:
            return None
        reachable = ("reachable", bucket.address)
        try:
            self.cache.get(reachable, lambda: True)
        except StorageError as error:
            self.trouble = error
            return None
        try:
            return self.cache.get((bucket.address, *key), lambda: make(bucket), seconds, STALE)
        except StorageError as error:
            # A bucket out of reach is so for every file, for a while.
            self.trouble = error
            self.cache._keep(reachable, error, FRESH)
            return None

    def objects(self, below: str) -> Mapping[str, Stored] | None:
        """The bucket's objects below a folder by name from there on; None where the bucket says nothing."""
        found: Mapping[str, Stored] | None = self._ask(
            ("list", below),
            lambda bucket: {one.name.removeprefix(below): one for one in bucket.list(below)},
            FRESH,
        )
        return found

    def published(self, name: str, seconds: float = FRESH) -> bytes | None:
        """What the bucket has under the name."""
        data: bytes | None = self._ask(("read", name), lambda bucket: bucket.read(name), seconds)
        return data

    def local(self, name: str) -> bytes | None:
        """What the workspace has under the name."""
        if self.workspace is None:
            return None
        path = self.workspace / name
        try:
            return path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
        except OSError:
            return None

    def read(self, name: str, seconds: float = FRESH) -> bytes | None:
        """The workspace's file, or else the bucket's object."""
        found = self.local(name)
        return self.published(name, seconds) if found is None else found

    def json(self, name: str, seconds: float = FRESH) -> dict[str, Any]:
        """A JSON object, empty where there is none or it is none."""
        return as_object(self.read(name, seconds))

    def many(self, names: list[str], seconds: float = SETTLED) -> list[dict[str, Any]]:
        """JSON objects that do not change any more, several at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda name: self.json(name, seconds), names))


def as_object(data: bytes | None) -> dict[str, Any]:
    """A JSON object; empty for anything else, so that a page never fails by a broken file."""
    try:
        value = json.loads(data) if data else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
