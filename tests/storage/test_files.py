"""Files are written whole or not at all."""

from __future__ import annotations

import base64
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from qarib_tasks.storage.files import (
    atomic_path,
    checksums,
    checksums_of,
    crc32c_of,
    is_temporary,
    open_to_readers,
    write_private,
    write_text,
)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_killed_writer_leaves_no_file_and_the_next_one_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import os, signal, pathlib; from qarib_tasks.storage.files import atomic_path\n"
        f"with atomic_path(pathlib.Path({str(path)!r})) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write_text(path, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_in_tmpdir_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys; from qarib_tasks.storage.files import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'large').write_text('x')\n"
        "    os.kill(os.getpid(), int(sys.argv[1]))\n"
    )
    stranger = tmp_path / ".scratch-mine"
    stranger.mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, 0):
        subprocess.run([sys.executable, "-c", code, str(int(number))], env=environment)
        left = [path for path in tmp_path.iterdir() if path != stranger]
        assert len(left) == (number != 0)
    assert stranger.is_dir()


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    living = tmp_path / f".file.qarib-{platform.node()}-{os.getppid()}.tmp"
    elsewhere = tmp_path / ".file.qarib-another-machine-1.tmp"
    for temporary in (living, elsewhere):
        temporary.write_text("being written")
    write_text(path, "whole")
    assert living.exists()
    assert elsewhere.exists()
    os.utime(elsewhere, (0, 0))
    write_text(path, "whole")
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    "name",
    [".file.backup.123.tmp", f".file.{platform.node()}.999999999.tmp", ".file.tmp", ".file.qarib-1.tmp"],
)
def test_a_file_that_only_looks_temporary_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody's")
    os.utime(tmp_path / name, (0, 0))
    write_text(tmp_path / "file", "whole")
    assert (tmp_path / name).read_text() == "somebody's"
    assert not is_temporary(name)
    assert is_temporary(f".file.qarib-{platform.node()}-1.tmp")


def test_checksums_are_what_cloud_storage_gives(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello world")
    result = checksums(tmp_path / "file")
    assert result.bytes == 11
    assert result.sha256 == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert base64.b64decode(result.crc32c) == google_crc32c.value(b"hello world").to_bytes(4, "big")
    assert result == checksums_of(b"hello world")
    assert result.crc32c == crc32c_of(tmp_path / "file")


@pytest.mark.parametrize("name", ["x" * 255, "س" * 127, "x" * 230])
def test_names_up_to_the_longest_of_the_file_system(tmp_path: Path, name: str) -> None:
    code = (
        "import os, signal, pathlib, sys; from qarib_tasks.storage.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False).returncode == -9
    [left] = os.listdir(tmp_path)
    assert is_temporary(left)
    write_text(tmp_path / name, "complete")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes(tmp_path: Path, umask: int) -> None:
    """A private file is private from its first byte; a file that a library made private is like others."""
    before = os.umask(umask)
    try:
        write_private(tmp_path / "private", "secret")
        (tmp_path / "other").touch()
        (tmp_path / "library").touch(0o600)
        open_to_readers(tmp_path / "library")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "other": 0o666 & ~umask, "library": 0o666 & ~umask}


def test_a_private_file_is_never_open(tmp_path: Path) -> None:
    """Not while it is written: what is in it when each file operation returns."""
    code = (
        "import os, sys, pathlib; from qarib_tasks.storage.files import write_private\n"
        "os.umask(0)\n"
        "def seen(event, arguments):\n"
        "    for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "        assert path.stat().st_mode & 0o077 == 0, (event, path)\n"
        "sys.addaudithook(lambda event, a: seen(event, a) if event in ('open', 'os.rename') else None)\n"
        "write_private(pathlib.Path(sys.argv[1]) / 'a', 'secret')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()
