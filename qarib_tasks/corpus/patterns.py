"""Finds what a path or a pattern names, on this machine or in a bucket.

A part of a path that exists under its own name is no pattern: `data[1].txt` is the file of that name, and in
`texts [ar]/*.txt` only the last part is a pattern. `**` stands for folders at any depth. As in a shell, a
pattern matches hidden names only if it begins with a dot.
"""

from __future__ import annotations

import fnmatch
import itertools
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from glob import has_magic
from pathlib import Path
from typing import Any, Protocol

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.remote.objects import FOLDER, Entry, list_objects
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError
from qarib_tasks.storage.files import shown
from qarib_tasks.storage.side_files import is_side_file

log = logging.getLogger(__name__)
MOST_NAMED = 50  # files of a folder, in the log
_FEWER = "Name a smaller folder, or raise"

KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Tree(Protocol):
    """The names of a file system."""

    def exists(self, path: str) -> bool:
        """Return whether the path exists, also as a link that leads nowhere."""

    def names(self, folder: str, pattern: str = "*") -> Iterable[str]:
        """Return the names in a folder that match; none if it is not a folder."""

    def below(self, folder: str, *, files: bool) -> Iterable[str]:
        """Return the paths of the folders (and files) at any depth in a folder that are not hidden."""


def matching(pattern: str, tree: Tree) -> list[str]:
    """Return the paths that a pattern matches, each once. Only their last part may not exist."""
    parts = pattern.split("/")
    found: list[str | None] = [None]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        steps = (path for folder in found for path in _step(folder, part, tree, last))
        found = list(dict.fromkeys(steps))
    return [path for path in found if path]


def _step(folder: str | None, part: str, tree: Tree, last: bool) -> Iterable[str | None]:
    start = "" if folder is None else f"{folder}/"
    if not has_magic(part) or tree.exists(start + part):
        return [start + part]
    if part == "**":
        return [*([] if last else [folder]), *tree.below(start, files=last)]
    names = tree.names(start, part)
    return [start + name for name in names if part.startswith(".") or not name.startswith(".")]


def pattern_root(pattern: str) -> str:
    """Return the folder that a pattern begins with, up to its first part with `*`, `?` or `[`."""
    plain = []
    for part in pattern.split("/"):
        if has_magic(part):
            break
        plain.append(part)
    return "/".join(plain) or ("/" if pattern.startswith("/") else ".")


def check_pattern(pattern: str, allowed: AllowedSources, source: str) -> None:
    """Check a pattern before any folder is read: all that it can match must be allowed.

    Args:
        source: the source's name, for messages.

    Raises:
        ConfigError: it is not.
    """
    plain = pattern_root(pattern)
    climbs = ".." in pattern.removeprefix(plain).split("/")
    if climbs or not (allowed.allows(pattern) or allowed.allows(plain)):
        allowed.refuse(pattern, source)


class Walk:
    """Counts the names that are listed for a source, and how long that takes.

    Args:
        source: has the limits.
    """

    def __init__(self, source: SourceConfig) -> None:
        self._source = source
        self._left = source.most_listed
        self._until = time.monotonic() + source.listing_seconds

    def count(self, names: int) -> None:
        """Count names.

        Raises:
            InputError: there are more than allowed, or it takes too long.
        """
        self._left -= names
        if self._left < 0:
            what = f"has more than {self._source.most_listed:,} files and folders to list"
            raise InputError(what, where=shown(self._source.path), do=f"{_FEWER} `most_listed`")
        if time.monotonic() > self._until:
            what = f"listing its files takes more than {self._source.listing_seconds:g} s"
            raise InputError(what, where=shown(self._source.path), do=f"{_FEWER} `listing_seconds`")


class LocalTree:
    """The files of this machine.

    Args:
        allowed: where names may be looked up: whether a file exists is private, too. None for anywhere.
        source: the source's name, for messages.
        walk: counts the names.
    """

    def __init__(self, allowed: AllowedSources | None, source: str, walk: Walk) -> None:
        self._allowed = allowed
        self._source = source
        self._counted = walk

    def _check(self, folder: str) -> None:
        if self._allowed:
            self._allowed.check(folder, self._source)

    def exists(self, path: str) -> bool:
        if self._allowed and not self._allowed.allows(path):
            self._check(os.path.dirname(path) or ".")
        return os.path.lexists(path)

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """Return the sorted names that match.

        Raises:
            InputError: the folder cannot be read.
        """
        folder = folder or "."
        self._check(folder)
        try:
            found = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._counted.count(1)
                    found.append(entry.name)
            return sorted(fnmatch.filter(found, pattern))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise InputError(f"cannot list the folder: {error.strerror}", where=shown(folder)) from None

    def below(self, folder: str, *, files: bool) -> Iterator[str]:
        for path, is_folder in self.walk(folder):
            if files or is_folder:
                yield path

    def walk(self, folder: str, hidden: list[str] | None = None) -> Iterator[tuple[str, bool]]:
        """Yield what is in a folder at any depth, sorted; symbolic links are followed, each folder once.

        Args:
            hidden: receives the paths whose names begin with a dot, which are left out.

        Yields:
            each path, and whether it is a folder.
        """
        seen = {_inode(folder or ".")}
        # Not recursive: folders can be deeper than functions.
        open_folders = [(folder, iter(self.names(folder)))]
        while open_folders:
            folder, names = open_folders[-1]
            if (name := next(names, None)) is None:
                open_folders.pop()
                continue
            path = name if not folder else os.path.join(folder, name)
            if name.startswith("."):
                if hidden is not None:
                    hidden.append(path)
            elif os.path.isdir(path):
                yield path, True
                if (same := _inode(path)) not in seen:
                    seen.add(same)
                    open_folders.append((path, iter(self.names(path))))
            else:
                yield path, False


def _inode(folder: str) -> tuple[int, int]:
    try:
        about = os.stat(folder)
    except OSError:  # It was removed, or may not be read: the listing says so.
        return 0, 0
    return about.st_dev, about.st_ino


class BucketTree:
    """The objects of buckets, by `bucket/name`. Only what is asked for is kept of a listing.

    Args:
        system: a gcsfs file system.
        walk: counts the names.
    """

    def __init__(self, system: Any, walk: Walk) -> None:
        self._system = system
        self._counted = walk
        self._found: dict[str, Entry] = {}

    def entry(self, path: str) -> Entry:
        """Return an object or a folder.

        Raises:
            FileNotFoundError: it does not exist.
        """
        return self._found.get(path) or Entry.of(self._system.info(path))

    def exists(self, path: str) -> bool:
        try:
            self.entry(path)
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        try:
            found = [self._keep(*one) for one in self._entries(folder, pattern, delimiter="/")]
        except FileNotFoundError:
            return []
        return sorted({path.rpartition("/")[2] for path in found})

    def below(self, folder: str, *, files: bool, hidden: bool = False) -> list[str]:
        """See `Tree`. With `hidden`, names that begin with a dot are returned too."""
        found: set[str] = set()
        for path, entry in self._entries(folder):
            parts = path.removeprefix(folder).split("/")
            listed = parts if hidden else list(itertools.takewhile(lambda part: part[:1] != ".", parts))
            parents = itertools.accumulate(listed[: len(parts) - 1], "{}/{}".format)
            found.update(self._keep(folder + parent, FOLDER) for parent in parents)
            if len(listed) == len(parts) and (files or entry.is_folder):
                found.add(self._keep(path, entry))
        return sorted(found)

    def _entries(self, folder: str, pattern: str = "*", delimiter: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield what is in a folder, page by page. A folder can be an object whose name ends with /."""
        bucket, _, prefix = folder.partition("/")
        matches = re.compile(fnmatch.translate(pattern)).match
        for name, entry in list_objects(bucket, prefix, delimiter):
            self._counted.count(1)
            path = name.rstrip("/")
            if len(path) > len(prefix) and matches(path.rpartition("/")[2]):
                yield f"{bucket}/{path}", entry

    def _keep(self, path: str, entry: Entry) -> str:
        if not entry.is_folder or path not in self._found:  # An object and a folder can have one name.
            self._found[path] = entry
        return path


def kind_of(mode: int) -> str:
    """Return what a path that is neither a file nor a folder is, in words."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), "not a file")


def log_folder(folder: str, paths: Sequence[str], hidden: Sequence[str]) -> None:
    """Name the files of a folder in the log, and those that are left out.

    Raises:
        InputError: there are no files.
    """
    if hidden:
        log.info("%s: left out %d with hidden names: %s", folder, len(hidden), some_of(hidden))
    if not paths:
        raise InputError("the folder has no files", where=shown(folder), do="Correct the path")
    log.info("%s: a folder with %s: %s", folder, counted(len(paths), "file"), some_of(paths))


def some_of(paths: Sequence[str]) -> str:
    """Return the first paths for a message, and how many others there are."""
    more = f" and {len(paths) - MOST_NAMED:,} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(map(shown, paths[:MOST_NAMED])) + more


def without_side_files(pattern: str, paths: Sequence[str]) -> list[str]:
    """Return the local paths that a pattern or folder names, except what commands wrote beside outputs."""
    beside = {path for path in paths if is_side_file(Path(path))}
    if beside:
        shown_paths = some_of(sorted(beside))
        files = counted(len(beside), "file")
        log.info("%s: left out %s that commands wrote: %s", pattern, files, shown_paths)
    return [path for path in paths if path not in beside]


def once(paths: Iterable[str]) -> Iterator[str]:
    """Yield each file once, however many names it has."""
    first: dict[str, str] = {}
    for path in paths:
        same = identity_of(path)
        if same in first:
            log.info("%s: the same file as %s, read once", shown(path), shown(first[same]))
        else:
            first[same] = path
            yield path


def identity_of(path: str) -> str:
    """The same for all names of one file on this machine: links, also hard ones."""
    with suppress(OSError):
        about = os.stat(path)
        if about.st_nlink > 1:
            return f"{about.st_dev}:{about.st_ino}"
    return os.path.realpath(path)
