"""Opens files that others can write: only regular ones, with a limit on what is read.

A name can be that of a pipe, which never answers, or of a device, which has no end; and it can become one
between a check and its use. So everything is checked on the opened file, and sizes by reading.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from qarib_tasks.config.loading import SETTINGS_BYTES
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import shown

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def open_regular(path: Path, within: Path | None = None) -> int:
    """Open a regular file for reading, and return its descriptor.

    Args:
        within: the file must be in this folder, also if links lead to it.

    Raises:
        FileNotFoundError, PermissionError, OSError: it cannot be opened.
        InputError: it is not a regular file, or not in the folder.
    """
    # A device can act when it is opened.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _not_regular(path)
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_regular(path)
        # The name of what was opened: a link on the way can change at any time.
        if within is not None and not _is_below(_name_of(descriptor), within):
            raise InputError("leads out of the folder", where=shown(str(path)), do="Remove the link")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _name_of(descriptor: int) -> str:
    get_path = getattr(fcntl, "F_GETPATH", None)  # macOS has no /proc.
    if get_path is not None:
        return os.fsdecode(fcntl.fcntl(descriptor, get_path, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _is_below(real: str, folder: Path) -> bool:
    # A name that begins with the folder's is below it: there is no link in the name of what was opened.
    if real.startswith(os.path.join(folder, "")):
        return True
    return real.startswith(os.path.join(os.path.realpath(folder), ""))


def read_regular(path: Path, most: int, within: Path | None = None) -> bytes:
    """Read a small regular file.

    Args:
        most: bytes that it may have.
        within: see `open_regular`.

    Raises:
        OSError, InputError: see `open_regular`. CorruptError: it has more bytes.
    """
    with os.fdopen(open_regular(path, within), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise CorruptError(f"larger than {most:,} bytes", where=shown(str(path)), do="Check what wrote it")
    return data


def read_settings_text(path: Path) -> str:
    """The text of a file of settings, as `Path.read_text`, with a mark for each byte that is not UTF-8.

    Raises:
        OSError, InputError: see `open_regular`. CorruptError: it is too large.
    """
    text = read_regular(path, SETTINGS_BYTES).decode("utf-8", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_regular(path: Path) -> InputError:
    return InputError("is not a regular file", where=shown(str(path)), do="Correct the path")
