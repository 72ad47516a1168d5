"""What to do about what the system refuses: a full disk, a folder that may not be written, too many files."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from qarib_tasks.errors import StorageError
from qarib_tasks.storage.files import FULL, NOT_WRITTEN, final_path, shown

# Of a folder that may not be written.
FORBIDDEN = (errno.EACCES, errno.EPERM)
_TO_DO = {
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`), or use another file system",
    errno.EROFS: "Choose a folder that you can write to",
    errno.EACCES: "Change the permissions, or choose another path",
    errno.EPERM: "Change the permissions, or choose another path",
    errno.ENOENT: "Correct the path",
    errno.EISDIR: "Give the path of a file",
    errno.ENOTDIR: "Correct the path: a part of it is a file, not a folder",
    errno.EEXIST: "Choose another path",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`)",
    errno.EIO: "Check the disk",
}


def remedy(number: int | None, path: object = None, again: str = "run the command again") -> str | None:
    """Return what to do about a system's error; None for one that is not known.

    Args:
        number: of the error, as in `errno`.
        path: of the file that it is about, if that is known.
        again: what follows on a full disk.
    """
    if number in FULL:
        return f"{_free(number, path)}, then {again}"
    return _TO_DO.get(number or 0)


def _free(number: int | None, path: object) -> str:
    """Return which disk has to get free space."""
    what = "Free space in your quota" if number == errno.EDQUOT else "Free disk space"
    if not isinstance(path, str | bytes | os.PathLike):
        return what
    place = given = Path(os.fsdecode(path)).absolute()
    try:
        while not place.is_dir():
            place = place.parent
        about, disk = os.statvfs(place), place
        while not disk.is_mount():
            disk = disk.parent
    except OSError:
        return what
    text = f"{what} on the disk of {shown(str(disk))} ({room(about)})"
    if given == Path(tempfile.gettempdir()):  # see `files.scratch_folder`
        return f"{text}, or set TMPDIR to a folder on another disk"
    return text


def room(about: os.statvfs_result) -> str:
    """Return what a disk has room for."""
    if about.f_files and not about.f_ffree:
        return "it can have no more files: remove some"
    free, total = (blocks * about.f_frsize / 1e6 for blocks in (about.f_bavail, about.f_blocks))
    if total < 1000:
        return f"{free:,.1f} of {total:,.1f} MB are free"
    return f"{free / 1000:,.1f} of {total / 1000:,.1f} GB are free"


def number_in(message: str) -> int | None:
    """Return the number of the system's error that a library reports in its message, if any."""
    return next((number for number in NOT_WRITTEN if os.strerror(number) in message), None)


def told(error: OSError) -> StorageError | None:
    """Return the error for people, for one of a disk or folder that cannot be written; None for another."""
    if error.errno not in (*NOT_WRITTEN, *FORBIDDEN):
        return None
    where = None if isinstance(error.filename, int | None) else final_path(shown(os.fsdecode(error.filename)))
    do = remedy(error.errno, where, "start the work again")
    return StorageError(error.strerror or str(error), where=where, do=do)
