"""Atomic file writes and checksums.

Every file that a step makes is written under a hidden temporary name in the same folder, flushed to disk, and
renamed: by `atomic_path`, or with a step's other outputs by `storage.ownership.Staged`. A process that is
killed leaves at most such hidden files, which readers ignore and the next writer of the same file removes.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from qarib_tasks.errors import InputError

CHUNK = 4 << 20
DAY = 86_400
FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITTEN = (*FULL, errno.EFBIG, errno.EROFS)
LONGEST_NAME = 255  # bytes
_SCRATCH = ".scratch-"
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.qarib-(?P<host>.+)-(?P<pid>\d+)\.tmp", re.DOTALL)


@contextlib.contextmanager
def atomic_path(path: Path, *, leftovers: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` if the block ends without an error.

    Two processes can write the same file at the same time: each has its own temporary name, and the complete
    file of the last to finish remains.

    Args:
        leftovers: see `temporary_of`.
    """
    temporary = temporary_of(path, leftovers=leftovers)
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        name_output(error, {temporary: path})
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_of(path: Path, *, leftovers: bool = True) -> Path:
    """The name under which this process writes `path`. The folder is made.

    Args:
        leftovers: remove those of killed writers. That lists the folder: False if it was done for many files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if leftovers:
        remove_leftovers(path)
    return hidden_name(path)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder with the temporary name of `path`, and remove it."""
    folder = temporary_of(path)
    folder.mkdir()
    try:
        with names_output(path.parent):
            yield folder
    finally:
        remove(folder)


def hidden_name(path: Path) -> Path:
    """The name under which this process writes `path`."""
    return path.with_name(f".{_short(path.name)}{_end_of_temporary()}")


def _end_of_temporary() -> str:
    return f".qarib-{platform.node()}-{os.getpid()}.tmp"


def _short(name: str) -> str:
    """A name, or a hash of it if its temporary name could be too long for the file system."""
    longest = LONGEST_NAME - len(f"..qarib-{platform.node()}-{2**22}.tmp".encode())
    data = os.fsencode(name)
    return name if len(data) <= longest else hashlib.sha256(data).hexdigest()


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a complete temporary file to disk, and rename it to `path`."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def scratch_folder(folder: Path | None = None, prefix: str = "qarib-") -> Iterator[Path]:
    """Yield a temporary folder, which is removed at the end. The error of a full disk names where it is.

    Args:
        folder: where to make it; by default, in TMPDIR, from which those of killed processes are removed.
    """
    end = ""
    if folder is None:
        folder, prefix, end = Path(tempfile.gettempdir()), _SCRATCH, _end_of_temporary()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_SCRATCH) and is_dead(entry):
                    remove(Path(entry.path))
    with tempfile.TemporaryDirectory(end, prefix, folder) as name, names_output(Path(name).parent):
        yield Path(name)


@contextlib.contextmanager
def names_output(path: Path) -> Iterator[None]:
    """Let the error of a full disk in the block name `path`, unless it names a file."""
    try:
        yield
    except OSError as error:
        name_output(error, {path: path})
        raise


def name_output(error: OSError, outputs: Mapping[Path, Path]) -> None:
    """Let an error name the output: its temporary name means nothing to the user, and a full disk has none.

    Args:
        outputs: the outputs by their temporary paths.
    """
    names = {str(temporary): str(path) for temporary, path in outputs.items()}
    if error.filename is not None:
        error.filename = names.get(str(error.filename), error.filename)
        error.filename2 = None
    elif error.errno in NOT_WRITTEN and names:
        error.filename = next(iter(names.values()))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is a temporary file of ours."""
    return _TEMPORARY.fullmatch(name) is not None


def final_path(path: str) -> str:
    """Return the path of what is written under a temporary path, which means nothing to the user."""
    parts = path.split(os.sep)
    return os.sep.join(found["name"] if (found := _TEMPORARY.fullmatch(part)) else part for part in parts)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`."""
    short = _short(path.name)
    with os.scandir(path.parent) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and match["name"] == short and is_dead(entry):
                remove(Path(entry.path))


def remove_all_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers of any file in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_dead(entry):
                remove(Path(entry.path))


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_dead(entry: os.DirEntry[str]) -> bool:
    """Whether the writer of a temporary file of ours was killed.

    A writer on this machine is dead if its process no longer exists. The processes of another machine that
    shares the volume are not visible, so its file must be a day old.
    """
    match = _TEMPORARY.fullmatch(entry.name)
    if match is None:
        return False
    if match["host"] == platform.node():
        return not Path(f"/proc/{match['pid']}").exists()
    with contextlib.suppress(FileNotFoundError):
        return time.time() - entry.stat().st_mtime > DAY
    return False


def require_file(path: Path) -> None:
    """Check that a path is that of a file.

    Raises:
        InputError: it is not.
    """
    if path.is_dir():
        raise InputError("is a folder, not a file", where=path, do="Give the path of a file")
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "no such file"
        raise InputError(what, where=path, do="Correct the path")


def shown(path: str) -> str:
    r"""Return a path for a message; bytes that are not UTF-8 are shown as `\xc7`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_name(path: str) -> None:
    """Check that a path can be written to manifests.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "the name of the file is not UTF-8", where=shown(path), do="Rename the file"
        ) from None


def write_text(path: Path, text: str, *, leftovers: bool = True) -> None:
    """Write a small UTF-8 file atomically. `leftovers`: see `temporary_of`."""
    with atomic_path(path, leftovers=leftovers) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_private(path: Path, text: str) -> None:
    """Write a small UTF-8 file atomically that only its owner can read, from its first byte."""
    with atomic_path(path) as temporary:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())


def open_to_readers(path: Path) -> None:
    """Give a file that a library has made private the mode of other new files of this process."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    """This process's umask. To ask for it by setting it would change the files of other threads."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^Umask:\s*([0-7]+)$", status.read_text(), re.MULTILINE)):
        return int(found[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


@dataclass(frozen=True)
class Checksums:
    """Size in bytes, SHA-256 (hex), and CRC32C (base64 of the big-endian value, as in Cloud Storage)."""

    bytes: int
    sha256: str
    crc32c: str


class RunningChecksums:
    """The size and checksums of a stream of bytes."""

    def __init__(self) -> None:
        self._bytes, self._sha256, self._crc32c = 0, hashlib.sha256(), google_crc32c.Checksum()

    def update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._crc32c.update(bytes(piece))
        self._bytes += len(piece)

    def result(self) -> Checksums:
        return Checksums(self._bytes, self._sha256.hexdigest(), _base64(self._crc32c))


def checksums_of(data: bytes) -> Checksums:
    """The size and checksums of bytes in memory."""
    running = RunningChecksums()
    running.update(data)
    return running.result()


def checksums(path: Path) -> Checksums:
    """Read a file once and return its size and checksums."""
    running = RunningChecksums()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            running.update(chunk)
    return running.result()


def crc32c_of(path: Path) -> str:
    """The CRC32C of a file in the format of `Checksums`; several times faster than the SHA-256."""
    crc = google_crc32c.Checksum()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc.update(chunk)
    return _base64(crc)


def _base64(crc: google_crc32c.Checksum) -> str:
    return base64.b64encode(crc.digest()).decode()
