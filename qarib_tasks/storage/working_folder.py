"""Folders of our own for what a step makes on the way: recognized by a file in them."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import remove, remove_all_leftovers, remove_leftovers, temporary_of, write_text
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.ownership import OTHER_OUTPUT

log = logging.getLogger(__name__)
MARKER = ".qarib"
HIDDEN = f"{MARKER}-"  # begins the names of hidden files and folders in a working folder
_MARK = "qarib made this folder, and removes what it made in it.\n"


def is_our_folder(folder: Path) -> bool:
    """Whether `make_folder` made this folder."""
    try:
        return (folder / MARKER).read_bytes() == _MARK.encode()
    except OSError:
        return False


def make_folder(folder: Path) -> None:
    """Make a working folder that shows that it is ours, unless it exists.

    Raises:
        InputError: a folder or file that we did not make has this name.
    """
    if not os.path.lexists(folder):
        new = temporary_of(folder)
        new.mkdir(exist_ok=True)
        write_text(new / MARKER, _MARK)
        try:
            new.rename(folder)  # Fails if another process was faster.
        except OSError:
            remove(new)
    if is_our_folder(folder):
        return
    raise InputError("exists and was not made by qarib", where=folder, do=OTHER_OUTPUT)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder; another one waits, and logs it.

    The lock ends with the process. It is one of this machine: on a file system without such locks, no
    process waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with _locked(place, f"{folder}: another process works in this folder: waiting until it ends", folder):
        yield


@contextmanager
def _locked(place: int, waiting: str, path: Path) -> Iterator[None]:
    """Lock an open file or folder, and close it."""
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s", waiting)
            fcntl.flock(place, fcntl.LOCK_EX)
        except OSError as error:
            log.info("%s: cannot be locked (%s)", path, error.strerror)
        yield
    finally:
        os.close(place)


@contextmanager
def only_one_with(file: Path, *, make: bool = False) -> Iterator[None]:
    """Let one process at a time work with a file; another one waits, and logs it.

    The lock ends with the process. It holds for all machines that share the file if their file system has
    locks between machines, as NFS does: it is opened for writing, but not changed.

    Args:
        make: make the file if it does not exist; otherwise, no process waits for a missing one.
    """
    if make:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        place = os.open(file, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
    except OSError as error:
        log.info("%s: cannot be locked (%s)", file, error.strerror)
        yield
        return
    with _locked(place, f"{file}: another process works with this file: waiting until it ends", file):
        yield


@contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Make a working folder, see `make_folder`; after an error, remove it if nothing is in it."""
    make_folder(folder)
    remove_all_leftovers(folder)
    try:
        yield folder
    except BaseException:
        if [path.name for path in folder.iterdir()] == [MARKER]:
            remove_folder(folder)
        raise


def remove_folder(folder: Path) -> None:
    """Remove what we made in a working folder and, if nothing else is in it, the folder.

    What we made: files that a manifest in the folder lists, the manifests, and what begins with `HIDDEN`.
    """
    if not is_our_folder(folder):
        if folder.parent.is_dir():
            remove_leftovers(folder)  # of a removal that was killed
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(HIDDEN):
            remove(path)
        elif path.is_file() and path.suffix == ".json":
            try:
                manifest = Manifest.read(path)
            except (InputError, CorruptError):
                continue
            for record in manifest.outputs:
                if "/" not in record.name:
                    (folder / record.name).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    remove_all_leftovers(folder)
    left = [path.name for path in folder.iterdir() if path.name != MARKER]
    if left:
        log.warning("%s: stays, because it holds %s", folder, ", ".join(sorted(left)[:10]))
        return
    # Under a temporary name, because a process killed between the two leaves a folder without its marker.
    emptied = folder.rename(temporary_of(folder))
    (emptied / MARKER).unlink()
    emptied.rmdir()
