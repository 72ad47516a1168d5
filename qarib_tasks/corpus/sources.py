"""Lists the files that sources name, and fetches remote ones.

The user who fills in a form names the sources, and the worker reads them with its own permissions. A
deployment therefore limits with `AllowedSources` which folders, buckets and hosts sources may name. The
command line has no such limit, because users read their own files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.allowed import AllowedSources, is_remote, limited, require_no_secret
from qarib_tasks.corpus.patterns import (
    BucketTree,
    LocalTree,
    Walk,
    check_pattern,
    identity_of,
    kind_of,
    log_folder,
    matching,
    once,
    pattern_root,
    some_of,
    without_side_files,
)
from qarib_tasks.corpus.remote.filesystem import download_stored, filesystem, remote_errors
from qarib_tasks.corpus.remote.objects import Entry
from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError, CorruptError, InputError, StorageError
from qarib_tasks.storage.checked_file import CheckedFile
from qarib_tasks.storage.files import Checksums, atomic_path, check_name, checksums, shown
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.ownership import Earlier

log = logging.getLogger(__name__)
LONGEST_NAME = 60  # characters of a name in the cache, at its end
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        address: path or URL.
        bytes: the size; 0 if the web server does not report it.
        version: of a remote file: checksum, generation, ETag, or date, which change with the content.
        label: its name in messages, if the user does not know the address.
        modified: of a local file: when it was changed last, in nanoseconds; 0 if that is not known.
        checksums: of a local file when the run was prepared; None if they are not known.
    """

    address: str
    bytes: int
    version: str = ""
    label: str = ""
    modified: int = 0
    checksums: Checksums | None = None

    @property
    def path(self) -> Path | None:
        return None if is_remote(self.address) else Path(self.address)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.where).name or "file"

    @property
    def where(self) -> str:
        """The whole path or address, for messages; of a web server's, without the query."""
        if self.address.startswith("gs://") or not is_remote(self.address):
            return self.label or self.address
        return urlsplit(self.address)._replace(query="", fragment="").geturl()

    @property
    def identity(self) -> str:
        """The same for all names of one file."""
        return self.address if is_remote(self.address) else identity_of(self.address)


def list_files(source: SourceConfig, allowed: AllowedSources | None = None) -> list[SourceFile]:
    """Return the files that a source names, sorted by address, each once.

    A path that exists is that file or folder. A folder stands for its files at any depth, without those whose
    names begin with a dot. Any other path is a pattern.

    Raises:
        ConfigError: the source may not be read. InputError: it names no file, or one that cannot be read.
        StorageError: the bucket or the web server does not answer as it should.
    """
    require_no_secret(source.path)
    source = limited(source, allowed)
    if is_remote(source.path):
        if allowed:
            allowed.check(source.path, source.name)
        with remote_errors(source.path):
            files = _list_remote(source, allowed)
    else:
        files = _list_local(source, allowed)
    if source.sha256 and len(files) > 1:
        raise ConfigError(
            f"sha256 is set, but the path names {len(files)} files",
            where=source.path,
            do="Set the path to one file, or remove sha256",
        )
    return files


def _list_local(source: SourceConfig, allowed: AllowedSources | None) -> list[SourceFile]:
    if source.path == STANDARD_INPUT:
        raise ConfigError(
            "standard input cannot be read here",
            where=source.path,
            do="Set a path; of a file with the name -, it is ./-",
        )
    pattern = os.path.expanduser(source.path)
    if allowed and pattern != source.path and not allowed.allows(pattern_root(pattern)):
        allowed.check(source.path, source.name)  # Does not show where the worker's home is.
    elif allowed:
        check_pattern(pattern, allowed, source.name)
    tree = LocalTree(allowed, source.name, Walk(source))
    found, unread = [], []
    paths = matching(pattern, tree)
    plain = not has_magic(pattern) or paths == [pattern]
    if plain and has_magic(pattern):
        log.info("%s: read as this path, not as a pattern", pattern)
    for path in paths:
        if allowed:
            allowed.check(path, source.name)
        try:
            os.lstat(path)
        except PermissionError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=shown(path)) from None
        except (OSError, ValueError):
            continue
        if not os.path.isdir(path):
            found.append(path)
        elif plain or path.endswith("/"):
            found += _files_below(path, tree)
        elif "**" not in pattern:
            unread.append(path)
    if unread:
        folders = counted(len(unread), "folder")
        log.warning("%s: also matches %s, not read: %s", pattern, folders, some_of(unread))
    found = found if pattern in found else without_side_files(pattern, found)
    if not found:
        raise InputError("no such file", where=shown(source.path), do="Correct the path")
    files = []
    for path in once(sorted(dict.fromkeys(found))):
        if allowed:
            allowed.check(path, source.name)
        files.append(_local_file(path))
    return files


def _files_below(folder: str, tree: LocalTree) -> list[str]:
    """Return the files in a folder at any depth, and name them in the log."""
    hidden: list[str] = []
    paths = [path for path, is_folder in tree.walk(folder, hidden) if not is_folder]
    log_folder(folder, paths, hidden)
    return paths


def _local_file(path: str) -> SourceFile:
    """Return a file, which must be a readable file with a name that can be written to a manifest.

    Raises:
        InputError: it is not.
    """
    check_name(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        what = "a symbolic link that leads nowhere" if os.path.islink(path) else "no such file"
        raise InputError(what, where=path, do="Correct the path, or remove the link") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{kind_of(status.st_mode)}, not a file", where=path, do="Save its contents to a file"
        )
    if not os.access(path, os.R_OK, effective_ids=True):
        raise InputError(
            "no permission to read the file",
            where=path,
            do="Change the file's permissions, or run this as a user who may read it",
        )
    return SourceFile(path, status.st_size, modified=status.st_mtime_ns)


def _list_remote(source: SourceConfig, allowed: AllowedSources | None) -> list[SourceFile]:
    address = source.path
    system = filesystem(address, allowed)
    if not address.startswith("gs://"):
        info = system.info(address)
        return [SourceFile(address, info.get("size") or 0, _version(info))]
    found = list(_objects(system, source))
    if not found:
        raise InputError("no such file", where=address, do="Correct the address")
    return [
        SourceFile(f"gs://{name}", entry.bytes, entry.version)
        for name, entry in sorted(found, key=lambda pair: pair[0])
    ]


def _version(info: Mapping[str, Any]) -> str:
    """Return what a web server says of a file that changes with its content."""
    return next((info[key] for key in ("ETag", "Content-MD5", "Last-Modified") if info.get(key)), "")


def _objects(system: Any, source: SourceConfig) -> Iterator[tuple[str, Entry]]:
    """Yield the objects that a source in a bucket names."""
    path = source.path.removeprefix("gs://")
    tree = BucketTree(system, Walk(source))
    paths = matching(path, tree)
    plain = paths == [path]
    for name in paths:
        try:
            entry = tree.entry(name)
        except FileNotFoundError:
            if not plain:
                continue
            raise
        if not entry.is_folder:
            yield name, entry
        elif plain or name.endswith("/"):
            yield from _objects_below(tree, name.rstrip("/"))


def _objects_below(tree: BucketTree, folder: str) -> Iterator[tuple[str, Entry]]:
    names = tree.below(f"{folder}/", files=True, hidden=True)
    hidden = [name for name in names if "/." in name.removeprefix(folder)]
    found = {name: tree.entry(name) for name in names if "/." not in name.removeprefix(folder)}
    files = {name: entry for name, entry in found.items() if not entry.is_folder}
    log_folder(f"gs://{folder}", list(files), hidden)
    yield from files.items()


class Input:
    """A file of a source on this machine, to be read.

    Args:
        checksums: those that it must have; None for any.
        name: its name in a manifest.

    Attributes:
        path: of the file, or of its copy in the cache.
        where: its name in messages.
    """

    def __init__(self, listed: SourceFile, path: Path, checksums: Checksums | None, name: str) -> None:
        self.path = path
        self.where = listed.where
        self._listed = listed
        self._name = name
        self._expected = checksums
        self._found: Checksums | None = None

    def record(self) -> FileRecord:
        """Return its checksums: those that it must have or, if there are none, those that it has now."""
        known = self._expected or self._found
        if known is None:
            with CheckedFile(self.path, self.where) as file:
                return self.read(file)
        return FileRecord(self._name, **asdict(known))

    def read(self, file: CheckedFile) -> FileRecord:
        """Return the checksums of what was read of the file; the rest is read for them.

        Raises:
            InputError: the file is not the one that was listed, or changed while it was read.
        """
        found, listed = file.finish(), self._listed
        if self._expected and found != self._expected:
            raise InputError(
                "the file changed after the run was prepared"
                f" (its SHA-256 is {found.sha256}, expected {self._expected.sha256})",
                where=self.where,
                do="Start a new run, which reads the file as it is now",
            )
        is_listed = (found.bytes, file.modified) == (listed.bytes, listed.modified)
        if not self._expected and listed.modified and not is_listed:
            raise InputError(
                "the file changed after it was listed",
                where=self.where,
                do="Try again when no program writes to the file",
            )
        self._found = found
        return FileRecord(self._name, **asdict(found))


def fetch(
    file: SourceFile,
    cache: Path,
    *,
    sha256: str = "",
    allowed: AllowedSources | None = None,
    name: str = "",
) -> Input:
    """Return a file on this machine: a remote one is downloaded into `cache` once, and checked at each call.

    Args:
        sha256: the checksum that the file must have.
        name: of the file in a manifest; its own by default.

    Raises:
        StorageError: the file cannot be downloaded now. CorruptError: its SHA-256 is not `sha256`.
    """
    path, known = file.path, file.checksums
    if path is None:
        key = hashlib.sha256(f"{file.address}\n{file.version}\n{file.bytes}".encode()).hexdigest()[:16]
        path = cache / f"{key}-{file.name[-LONGEST_NAME:]}"
        known = (_cached(path) or _download(file, path, allowed)).checksums
    elif sha256:
        known = checksums(path)
    if known and sha256 and known.sha256 != sha256:
        raise CorruptError(
            f"the SHA-256 is {known.sha256}, expected {sha256}",
            where=file.where,
            do="Check the file, then correct sha256",
        )
    return Input(file, path, known, name or file.name)


def fetched_manifest(path: Path) -> Path | None:
    """The manifest of a fetched file; None if the file is not one, or was changed since."""
    manifest = _manifest_path(path)
    try:
        record = Manifest.read(manifest).output(path.name)
    except (InputError, CorruptError, OSError):
        return None
    return manifest if not path.exists() or path.stat().st_size == record.bytes else None


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _cached(path: Path) -> FileRecord | None:
    try:
        manifest = Manifest.read(_manifest_path(path))
    except (InputError, CorruptError):
        return None
    if manifest.faults(path.parent):
        return None
    os.utime(path)  # `clean_up` removes files that have not been read for a long time.
    return manifest.outputs[0]


def _download(file: SourceFile, path: Path, allowed: AllowedSources | None) -> FileRecord:
    if os.path.lexists(path) and not Earlier.read(_manifest_path(path)).owns(path):
        raise InputError("exists and was not fetched by qarib", where=path, do="Move this file")
    require_no_secret(file.address)  # An earlier version can have planned it.
    log.info("fetching %s", file.address)
    with atomic_path(path) as temporary, remote_errors(file.address):
        system = filesystem(file.address, allowed)
        if file.address.startswith("gs://") and system.info(file.address).get("contentEncoding"):
            # gcsfs would unpack it, and the checksum is of what is stored.
            download_stored(file.address, temporary)
        else:
            system.get_file(file.address, str(temporary))
        if (
            file.version
            and not file.address.startswith("gs://")
            and _version(system.info(file.address)) != file.version
        ):
            raise InputError(
                "the file changed after it was listed", where=file.where, do="Start again, with the new file"
            )
        found = checksums(temporary)
        if file.bytes and found.bytes != file.bytes:
            raise StorageError(
                f"downloaded {found.bytes:,} bytes, expected {file.bytes:,}",
                where=file.address,
                do="Try again",
            )
        is_crc32c = file.address.startswith("gs://") and len(file.version) == 8
        if is_crc32c and file.version.endswith("==") and found.crc32c != file.version:
            raise StorageError("checksum mismatch after download", where=file.address, do="Try again")
        record = FileRecord(path.name, **asdict(found))
        # Before the file is put in place: it is ours also if the process is killed here.
        config = {"address": file.address, "version": file.version}
        Manifest(kind="corpus", id=path.name, config=config, outputs=[record]).write(_manifest_path(path))
    return record
