"""What a full disk and other refusals of the system tell people."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from qarib_tasks.storage.system_errors import number_in, remedy, room, told


def test_a_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="No space left") as refused:
        Path("/dev/full").write_text("text")
    assert refused.value.errno == errno.ENOSPC
    do = remedy(refused.value.errno, "/dev/full")
    assert do is not None
    assert do.startswith("Free disk space on the disk of /dev (")
    assert do.endswith("B are free), then run the command again")
    error = told(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/.full.qarib-host-1.tmp"))
    assert str(error).startswith("/dev/full: No space left on device. Free disk space on the disk of /dev (")


def test_a_full_disk_without_a_path() -> None:
    assert remedy(errno.ENOSPC) == "Free disk space, then run the command again"
    assert remedy(errno.EDQUOT, again="go on") == "Free space in your quota, then go on"
    error = told(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert str(error) == "No space left on device. Free disk space, then start the work again"


def test_another_folder_for_temporary_files_is_named() -> None:
    folder = tempfile.gettempdir()
    assert ", or set TMPDIR to a folder on another disk, then " in str(remedy(errno.ENOSPC, folder))
    assert "TMPDIR" not in str(remedy(errno.ENOSPC, Path(folder) / "mine" / "file"))


def test_what_a_disk_has_room_for() -> None:
    #         block sizes | blocks: all, free, for us | files: all, free, for us | flag, longest name
    about = os.statvfs_result((4096, 4096, 500_000, 300_000, 250_000, 100, 7, 7, 0, 255))
    assert room(about) == "1.0 of 2.0 GB are free"
    about = os.statvfs_result((4096, 4096, 500_000, 300_000, 250_000, 100, 0, 0, 0, 255))
    assert room(about) == "it can have no more files: remove some"
    without = os.statvfs_result((4096, 4096, 500_000, 0, 0, 0, 0, 0, 0, 255))  # It does not count files.
    assert room(without) == "0.0 of 2.0 GB are free"


def test_other_errors() -> None:
    refused = told(PermissionError(errno.EACCES, "Permission denied", "/w/data.txt"))
    assert str(refused) == "/w/data.txt: Permission denied. Change the permissions, or choose another path"
    assert told(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) is None
    assert told(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")) is None
    assert remedy(errno.ECONNREFUSED) is None
    assert number_in(f"{{node SaveV2}} x.tmp; {os.strerror(errno.ENOSPC)} [Op:SaveV2]") == errno.ENOSPC
    assert number_in("something else") is None
