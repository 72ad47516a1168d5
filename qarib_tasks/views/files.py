"""Read the files of runs from the workspace and the bucket, with a bounded number of cached reads."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.errors import CorruptError, InputError, QaribError, StorageError
from qarib_tasks.layout import DatasetLayout
from qarib_tasks.storage.manifest import manifest_names
from qarib_tasks.storage.regular_files import open_regular, read_regular
from qarib_tasks.views.shapes import MANIFEST, conforming
from qarib_tasks.views.versions import LARGEST, Versions, version_of

T = TypeVar("T")
# The bucket's listings and files, and failures too, are cached for this many seconds. For STALE seconds more,
# a request gets the cached value at once while a new one is read.
FRESH = 4.0
STALE = 60.0
SETTLED = 3600.0
SMALL = 1 << 20  # bytes of a file that is read again at once when it has changed
BYTES_A_SECOND = 2_000_000  # of a large file that grows
MOST_KEPT = 32  # results of files that grow
TAKEN = 600.0  # what was taken from a large file, also a fault of it
PARALLEL_READS = 8


@dataclass(frozen=True)
class Stored:
    """An object in a listing: name, size in bytes, and CRC32C in base64, as in Cloud Storage."""

    name: str
    size: int
    crc32c: str


class BucketAccess(Protocol):
    """The calls to a bucket. Each returns within seconds.

    Raises:
        StorageError: the bucket does not answer or refuses access.
    """

    @property
    def address(self) -> str:
        """`gs://bucket/prefix/`"""

    def list(self, below: str) -> list[Stored]:
        """The objects whose names start with `below`; names are relative to the prefix."""

    def read(self, name: str, last: int = 0) -> bytes | None:
        """An object's bytes, or with `last` only so many at its end; None if it does not exist."""

    def write(self, name: str, data: bytes) -> None:
        """Write an object: only what a person asks for, never a result."""


class Cache:
    """Values by key, each computed once by the first request and kept for seconds. Failures are kept too.

    A value that is slightly too old is returned at once and recomputed in the background.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._values: dict[Any, tuple[float, Any]] = {}
        self.versions = Versions()

    def get(self, key: Any, make: Callable[[], Any], seconds: float = FRESH, stale: float = 0.0) -> Any:
        """The value, at most `seconds` old, or up to `stale` seconds older while a new one is computed."""
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

    def last(self, key: Any) -> Any:
        """The value as it was computed last, of any age; None if there is none."""
        return self._values.get(key, (0.0, None))[1]

    def keep(self, key: Any, value: T, seconds: float) -> T:
        self._keep(key, value, seconds)
        return value

    def forget(self, one: Callable[[Any], bool], most: int) -> None:
        """Forget the oldest values whose keys are like this, so that at most so many stay."""
        with self._lock:
            keys = [key for key in self._values if one(key)]
            for key in keys[: max(0, len(keys) - most)]:
                del self._values[key]

    def age(self, seconds: float) -> None:
        """Make every value older by this many seconds."""
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
    """The files of one run, by their names relative to the workspace and to the bucket's prefix.

    A bucket that does not answer is asked once, not for every file: the page then shows the workspace,
    and `trouble` holds the error. Others write these files, and one must not take the page from everybody:
    what cannot be used is left out, as are values of a wrong type, and `fault` holds the first such error.

    Attributes:
        workspace: None if it is not on this machine.
        bucket: None for a run that does not publish.
        most: bytes of the largest file that is read.
    """

    workspace: Path | None
    bucket: BucketAccess | None
    cache: Cache
    most: int = Limits().page_file_bytes
    trouble: StorageError | None = field(default=None, init=False)
    fault: QaribError | None = field(default=None, init=False)

    def _ask(self, key: tuple[Any, ...], make: Callable[[BucketAccess], Any], seconds: float) -> Any:
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
            # A bucket that does not answer for one file is not asked for others for a while.
            self.trouble = error
            self.cache._keep(reachable, error, FRESH)
            return None

    def objects(self, below: str) -> Mapping[str, Stored] | None:
        """The bucket's objects below a folder, by relative name; None without a bucket or an answer."""
        found: Mapping[str, Stored] | None = self._ask(
            ("list", below),
            lambda bucket: {one.name.removeprefix(below): one for one in bucket.list(below)},
            FRESH,
        )
        return found

    def published(self, name: str, seconds: float = FRESH) -> bytes | None:
        """The bucket's object with this name, or None."""
        data: bytes | None = self._ask(("read", name), lambda bucket: bucket.read(name), seconds)
        return data

    def end_of_published(self, name: str, last: int) -> bytes | None:
        """The last bytes of the bucket's object with this name, or None."""
        data: bytes | None = self._ask(("end", name, last), lambda bucket: bucket.read(name, last), FRESH)
        return data

    def local(self, name: str) -> bytes | None:
        """The workspace's file with this name, or None."""
        if self.workspace is None:
            return None
        try:
            return read_regular(self.workspace / name, self.most, within=self.workspace)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except QaribError as error:
            self.mark(error)
        except (OSError, ValueError) as error:
            what = f"the file cannot be read ({getattr(error, 'strerror', None) or error})"
            self.mark(InputError(what, where=self.workspace / name, do="Check the file"))
        return None

    def mark(self, error: QaribError) -> None:
        """Keep the first fault of a file, for the page."""
        self.fault = self.fault or error

    def read(self, name: str, seconds: float = FRESH) -> bytes | None:
        """The workspace's file or, without one, the bucket's object."""
        found = self.local(name)
        return self.published(name, seconds) if found is None else found

    def json(self, name: str, shape: Any, seconds: float = FRESH) -> dict[str, Any]:
        """The JSON object in a file; empty if the file does not exist or is not a JSON object."""
        found = self.here(name, shape)
        return self.object(self.published(name, seconds), name, shape) if found is None else found

    def here(self, name: str, shape: Any) -> dict[str, Any] | None:
        """The JSON object in the workspace's file, as `json`; None if the file does not exist.

        A small file is read once for each version of it, so the object must not be changed.
        """
        found = self._known(name, shape)
        if found is None:
            version, data = self.version(name), self.local(name)
            found = None if data is None else conforming(data, shape) if data else ({}, True)
            if version and found:
                self.cache.versions.keep((version, id(shape)), found)
        return None if found is None else self._checked(found, name)

    def _known(self, name: str, shape: Any) -> tuple[dict[str, Any], bool] | None:
        """What `here` has kept of this version of the file."""
        version = self.version(name)
        return self.cache.versions.get((version, id(shape))) if version else None

    def version(self, name: str, most: int = LARGEST) -> Hashable | None:
        """What changes whenever the workspace's file does, see `version_of`."""
        return None if self.workspace is None else version_of(os.path.join(self.workspace, name), most)

    def object(self, data: bytes | None, name: str, shape: Any) -> dict[str, Any]:
        """The JSON object in a file's bytes, without values of a wrong type; empty for anything else.

        Args:
            name: of the file.
            shape: see `shapes`.
        """
        return self._checked(conforming(data, shape), name) if data else {}

    def _checked(self, found: tuple[dict[str, Any], bool], name: str) -> dict[str, Any]:
        values, complete = found
        if not complete:
            what = "the file is damaged, or has values of a wrong type, which are left out"
            self.mark(CorruptError(what, where=self.where(name), do="Check what wrote it"))
        return values

    def manifest(self, dataset: DatasetLayout, path: Path, seconds: float = FRESH) -> dict[str, Any]:
        """The manifest of a file of a dataset, as `json`, under its name or that of an earlier version."""
        names = manifest_names(dataset.name_of(path))
        for name in names:
            if (found := self.here(name, MANIFEST)) is not None:
                return found
        objects = self.objects(dataset.name) or {}
        for name in names:
            if name.removeprefix(dataset.name) in objects:
                return self.object(self.published(name, seconds), name, MANIFEST)
        return {}

    def taken(self, name: str, key: Hashable, take: Callable[[Iterable[bytes]], T]) -> T | None:
        """What `take` makes of the lines of a large file, which is not kept itself.

        Args:
            key: what the result depends on, besides the file.

        Returns:
            the result; None if the file does not exist or the bucket does not answer.

        Raises:
            QaribError: `take` raised it, or the file is too large for a view.
        """
        path = None if self.workspace is None else self.workspace / name

        def made(lines: Iterable[bytes], size: int, where: object) -> Any:
            try:
                if size > self.most:
                    raise InputError(
                        f"the file is too large for this page (over {self.most >> 20} MiB)", where=where
                    )
                return take(lines)
            except QaribError as error:  # Kept like a result: a damaged file is not read for each request.
                return error.with_traceback(None)

        def local(path: Path, size: int) -> Any:
            try:
                with os.fdopen(open_regular(path, self.workspace), "rb") as file:
                    data = file.read(self.most + 1)
                return made(BytesIO(data), max(size, len(data)), path)
            except QaribError as error:
                return error
            except OSError as error:
                return InputError(f"the file cannot be read ({error.strerror})", where=path)

        def published(bucket: BucketAccess) -> Any:
            data = bucket.read(name)
            return None if data is None else made(BytesIO(data), len(data), bucket.address + name)

        if path is not None and path.is_file():
            about = path.stat()
            of = ("taken", str(path), about.st_size, about.st_mtime_ns, key)
            value = self.cache.get(of, lambda: local(path, about.st_size), TAKEN)
        else:
            value = self._ask(("taken", name, key), published, TAKEN)
        if isinstance(value, QaribError):
            raise value.with_traceback(None)
        found: T | None = value
        return found

    def kept(self, name: str, take: Callable[[bytes], T], *, here: bool) -> T | None:
        """What `take` makes of a file that grows, made again when it has changed.

        A large file that has changed is not read for each request: the last result is given for a time that
        its size allows.

        Args:
            here: the workspace's file; otherwise the bucket's object.

        Returns:
            the result; None if the file does not exist, is too large, or the bucket does not answer.
        """
        place = str(self.workspace) if here else self.bucket.address if self.bucket else ""
        about = self._about(name) if here else self._stored(name)
        if about is None:
            return None
        size, version = about
        if size > self.most:
            what = f"the file is too large for this page (over {self.most >> 20} MiB)"
            self.mark(InputError(what, where=self.where(name)))
            return None

        def made(data: bytes | None) -> tuple[Any, T | None]:
            return version, None if data is None else take(data)

        seconds = max(FRESH, size / BYTES_A_SECOND)
        found: Any = self.cache.last((place, "kept", name))
        if not isinstance(found, tuple) or found[0] != version:
            if not here:
                found = self._ask(("kept", name), lambda bucket: made(bucket.read(name)), seconds)
            elif size <= SMALL:
                found = self.cache.keep((place, "kept", name), made(self.local(name)), seconds)
            else:
                found = self.cache.get((place, "kept", name), lambda: made(self.local(name)), seconds, STALE)
            self.cache.forget(lambda key: isinstance(key, tuple) and key[1:2] == ("kept",), MOST_KEPT)
        value: T | None = found[1] if found else None
        return value

    def _about(self, name: str) -> tuple[int, Hashable] | None:
        """The size of a file of the workspace, and what changes with it; None if there is none."""
        try:
            about = (self.workspace / name).stat() if self.workspace is not None else None
        except (OSError, ValueError):
            about = None
        return (about.st_size, (about.st_size, about.st_mtime_ns, about.st_ino)) if about else None

    def _stored(self, name: str) -> tuple[int, Hashable] | None:
        """The same of an object of the bucket."""
        folder, _, own = name.rpartition("/")
        stored = (self.objects(f"{folder}/") or {}).get(own)
        return (stored.size, (stored.size, stored.crc32c)) if stored else None

    def where(self, name: str) -> str:
        """The path of the workspace's file or, without one, the address of the bucket's object."""
        path = None if self.workspace is None else self.workspace / name
        if self.bucket is not None and (path is None or not path.exists()):
            return self.bucket.address + name
        return str(path or name)

    def many(self, names: list[str], shape: Any, seconds: float = SETTLED) -> list[dict[str, Any]]:
        """The JSON objects in files that no longer change, read in parallel."""
        if all(self._known(name, shape) for name in names):
            return [self.json(name, shape, seconds) for name in names]
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            return list(pool.map(lambda name: self.json(name, shape, seconds), names))


def names_in(folder: Path, most: int) -> list[str]:
    """The names in a folder, which can have any number; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, most)]
    except (OSError, ValueError):
        return []
