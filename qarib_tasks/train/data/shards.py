"""The shards of a folder or a bucket, and the records in them.

TensorFlow's own gs:// client cannot use an emulator, so shards of a bucket are staged to a local folder, one
ahead of the reader. When the folder grows too large, shards that were read are deleted from it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qarib_tasks.config.conversion import ConvertConfig, Format
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.layout import TFRECORD
from qarib_tasks.storage.bucket import Bucket, split_address
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_names, manifest_of
from qarib_tasks.storage.recognition import NOT_OURS

CACHE_BYTES = 20 << 30  # most bytes of staged shards that were read and are kept


def open_address(address: str, cache: Path) -> Path:
    """Return the local path of a file, local or gs://; a file of a bucket is staged below `cache`.

    Raises:
        InputError: the file does not exist.
    """
    if not address.startswith("gs://"):
        if not Path(address).is_file():
            raise InputError("no such file", where=address)
        return Path(address)
    folder, _, name = address.rpartition("/")
    return _stage(Bucket(folder + "/"), name, cache)


def _stage(bucket: Bucket, name: str, cache: Path, blob: Any = None) -> Path:
    """Download and verify an object, unless it is cached; its path contains its checksum.

    Raises:
        InputError: there is no such object, or a file of another origin has the cached one's name.
    """
    blob = blob or bucket.get(name)
    if blob is None:
        raise InputError("no such object", where=bucket.address + name)
    below = "/".join(split_address(bucket.address))
    tag = blob.crc32c.encode().hex()
    path: Path = cache / below / tag / name
    if not os.path.lexists(path):
        bucket.download(name, path)
    elif not path.is_file() or path.stat().st_size != blob.size:  # Ours is complete, or not there.
        raise InputError(NOT_OURS, where=path, do="Move this file")
    return path


class Shards:
    """The `*.tfrecord` files of a folder and of the folders that it extends.

    Args:
        address: the folder, local or gs://.
        left_out: files to skip. They keep their place in `names` even if they do not exist, so that a
            position stays valid when they are repaired later.
        earlier: addresses of the folders that this folder extends; they are read too.

    Raises:
        InputError: a folder has no shards, or two folders have a shard of the same name.
    """

    def __init__(
        self, address: str, cache: Path, left_out: Collection[str] = (), earlier: Sequence[str] = ()
    ) -> None:
        self.address = address
        self.cache = cache
        self.left_out = frozenset(left_out)
        self._places: dict[str, Path | tuple[Bucket, Any]] = {}
        self._firsts: list[tuple[str, str]] = []  # of each folder, the last of which is `address`
        self._lock = threading.Lock()
        self._read: list[Path] = []
        self._ahead: threading.Thread | None = None
        for folder in (*earlier, address):
            here = _list(folder)
            if not here.keys() - self.left_out:
                raise InputError("no *.tfrecord file found", where=folder, do="Convert the shards first")
            if twice := sorted(here.keys() & self._places.keys()):
                raise InputError(
                    f"{twice[0]} exists here and in a folder that this one extends", where=folder
                )
            self._places |= here
            self._firsts.append((folder, min(here)))
        self.names = sorted(self._places.keys() | self.left_out)

    def path(self, name: str) -> Path:
        """Return the shard's local path; a shard of a bucket is staged first."""
        place = self._places[name]
        if isinstance(place, Path):
            return place
        bucket, blob = place
        with self._lock:
            return _stage(bucket, name, self.cache, blob)

    def check_vocabulary(self, vocabulary: FileRecord) -> None:
        """Check that the folder's first shard was converted with this vocabulary, as its manifest says.

        Raises:
            ConfigError: it was converted with another one, so that its ids are those of other wordpieces.
        """
        name = self._firsts[-1][1]
        manifest = _manifest(self._places[name], name)
        if manifest is None or manifest.kind != "shard" or len(manifest.inputs) < 2:
            return
        if manifest.inputs[1].sha256 != vocabulary.sha256:
            raise ConfigError(
                "was converted with a different vocabulary",
                where=f"{self.address.rstrip('/')}/{name}",
                do="Set vocab_file to the vocabulary that the shards were converted with",
            )

    def check_format(self, expected: Format) -> None:
        """Check that each folder's first shard was converted in this format, as its manifest says.

        Raises:
            ConfigError: it was converted in another one, in which it would be read wrongly.
        """
        for folder, name in self._firsts:
            manifest = _manifest(self._places[name], name)
            if manifest is None or manifest.kind != "shard":
                continue
            found = manifest.config.get("format", ConvertConfig.format)
            if found != expected:
                raise ConfigError(
                    f"was converted in the format {found}, but {expected} is read here",
                    where=f"{folder.rstrip('/')}/{name}",
                    do="Use data of one format, and set data_format of the training to it. Held-out data are "
                    "in pairs",
                )

    def expect(self, names: Sequence[str]) -> None:
        """Start to stage the shards to be read next. A failure is raised when they are read."""
        names = [name for name in names if name not in self.left_out and self._is_remote(name)]
        if not names or (self._ahead and self._ahead.is_alive()):
            return

        def stage() -> None:
            try:
                for name in names:
                    self.path(name)
            except Exception:
                return

        self._ahead = threading.Thread(target=stage, name="staging", daemon=True)
        self._ahead.start()

    def release(self, name: str) -> None:
        """Mark a shard as read; when space is needed, the least recently read ones are deleted."""
        if not self._is_remote(name):
            return
        path = self.path(name)
        self._read = [other for other in self._read if other != path] + [path]
        while sum(self._size(p) for p in self._read) > CACHE_BYTES:
            self._read.pop(0).unlink(missing_ok=True)

    def _is_remote(self, name: str) -> bool:
        return not isinstance(self._places[name], Path)

    @staticmethod
    def _size(path: Path) -> int:
        return path.stat().st_size if path.exists() else 0


def _manifest(place: Path | tuple[Bucket, Any], name: str) -> Manifest | None:
    """Return the manifest beside a shard; None if there is none that can be read."""
    with suppress(InputError, CorruptError):
        if isinstance(place, Path):
            return Manifest.read(manifest_of(place))
        for other in manifest_names(name):
            if text := place[0].read_text(other):
                return Manifest.parse(text.encode(), other)
    return None


def _list(folder: str) -> dict[str, Path | tuple[Bucket, Any]]:
    """Return the shards of a folder by name, as paths or as a bucket's objects."""
    if not folder.startswith("gs://"):
        return {path.name: path for path in Path(folder).glob(f"*{TFRECORD}")}
    bucket = Bucket(folder.rstrip("/") + "/")
    return {n: (bucket, b) for n, b in bucket.list().items() if n.endswith(TFRECORD) and "/" not in n}
