"""A file is read once: its checksums are those of the bytes that a reader got, in any order."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from qarib_tasks.errors import InputError
from qarib_tasks.storage.checked_file import CheckedFile, watched
from qarib_tasks.storage.files import checksums

SIZE = 1_000_000  # bytes, several blocks and a part of one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def change(path: Path, place: int, data: bytes) -> None:
    """Change bytes, but not the time, as a program does that the time does not show."""
    about = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_reading_in_any_order_gives_the_bytes_and_the_checksums(path: Path) -> None:
    data, chance = path.read_bytes(), random.Random(2)
    with CheckedFile(path) as file:
        stream = file.stream(10_000)
        for _ in range(50):
            place, count = chance.randrange(SIZE + 10), chance.randrange(300_000)
            stream.seek(place)
            assert stream.read(count) == data[place : place + count]
        assert stream.seek(-22, os.SEEK_END) == SIZE - 22
        stream.close()
        assert file.finish() == checksums(path)


@pytest.mark.parametrize("size", [0, 1, 1 << 17, (1 << 17) + 1])
def test_the_rest_is_read_for_the_checksums(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(bytes(size))
    with CheckedFile(tmp_path / "a") as file:
        file.stream(100).read(1)
        assert file.finish() == checksums(tmp_path / "a")


@pytest.mark.parametrize("first", [0, SIZE - 10])
def test_a_block_that_changed_since_it_was_read_is_an_error(path: Path, first: int) -> None:
    with CheckedFile(path, "the file") as file:
        stream = file.stream(1000)
        stream.seek(first)
        stream.read(10)
        change(path, first + 5, b"other")
        with pytest.raises(InputError, match="the file: the file changed while it was read"):  # noqa: PT012
            stream.seek(500_000)
            stream.read(10)
            stream.seek(first)
            stream.read(10)
            file.finish()


@pytest.mark.parametrize("how", ["append", "truncate", "touch"])
def test_a_file_that_changed_at_the_end_is_an_error(path: Path, how: str) -> None:
    with CheckedFile(path) as file:
        file.stream(1000).read(SIZE // 2)
        file.require_unchanged()
        if how == "append":
            change(path, SIZE, b"more")
        elif how == "truncate":
            os.truncate(path, SIZE // 3)
        else:
            os.utime(path, ns=(0, 0))
        with pytest.raises(InputError, match="changed while it was read"):
            file.finish()
        with pytest.raises(InputError, match="changed while it was read"):
            file.require_unchanged()


def test_a_write_whose_time_is_set_back_is_an_error(path: Path) -> None:
    before = path.stat()
    with CheckedFile(path) as file:
        file.stream(1000).read(SIZE // 2)
        change(path, 5, b"other")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(InputError, match="changed while it was read"):
            file.finish()


def test_another_name_or_other_rights_are_no_change(path: Path) -> None:
    expected = checksums(path)
    with CheckedFile(path) as file:
        file.stream(1000).read(SIZE // 2)
        path.chmod(0o600)
        os.link(path, path.with_name("link"))
        path.rename(path.with_name("renamed"))
        assert file.finish() == expected


def test_a_file_that_is_watched(path: Path) -> None:
    require_unchanged = watched(path, path.with_name("other"))
    require_unchanged()
    path.with_name("other").touch()
    with pytest.raises(InputError, match=r"other: the file changed"):
        require_unchanged()
