"""Checksums of files that are read again only if they have changed."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from qarib_tasks.dataset import known_checksums
from qarib_tasks.dataset.known_checksums import KnownChecksums
from qarib_tasks.storage.files import crc32c_of

EARLIER = 1_700_000_000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written long ago. Only its time of modification can be set, not that of its change."""
    monkeypatch.setattr(known_checksums, "UNSETTLED_NANOSECONDS", -1)
    path = tmp_path / "file"
    path.write_bytes(b"some bytes")
    os.utime(path, (EARLIER, EARLIER))
    return path


def asked(store: Path, file: Path) -> tuple[str, int]:
    """The checksum, and the number of bytes that were read for it."""
    known = KnownChecksums(store)
    found = known.crc32c("a", file)
    known.save()
    return found, known.read_bytes


def test_a_file_is_read_once(tmp_path: Path, file: Path) -> None:
    store = tmp_path / "of" / "files.json"
    assert asked(store, file) == (crc32c_of(file), 10)
    assert asked(store, file) == (crc32c_of(file), 0)


def test_a_changed_file_is_read_again_even_with_its_former_size_and_time(tmp_path: Path, file: Path) -> None:
    store = tmp_path / "files.json"
    asked(store, file)
    with file.open("r+b") as changed:
        changed.write(b"S")
    os.utime(file, (EARLIER, EARLIER))
    assert asked(store, file) == (crc32c_of(file), 10)
    # Another file in its place.
    other = tmp_path / "other"
    other.write_bytes(b"More bytes")
    os.utime(other, (EARLIER, EARLIER))
    other.replace(file)
    assert asked(store, file) == (crc32c_of(file), 10)


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """Within the resolution of its time, it can change again."""
    file = tmp_path / "file"
    file.write_bytes(b"some bytes")
    assert [asked(tmp_path / "files.json", file)[1] for _ in range(2)] == [10, 10]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": [10, 1]}', "[" * 100_000])
def test_a_damaged_store_is_no_store(tmp_path: Path, file: Path, text: str) -> None:
    store = tmp_path / "files.json"
    store.write_text(text)
    assert asked(store, file) == (crc32c_of(file), 10)
    assert list(json.loads(store.read_text())) == ["a"]


def test_what_cannot_be_read_or_stored(tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert asked(tmp_path / "files.json", tmp_path) == ("", 0)
    assert "cannot be read: " in caplog.text
    in_the_way = tmp_path / "in the way"
    in_the_way.touch()
    assert asked(in_the_way / "files.json", file) == (crc32c_of(file), 10)
    assert "Cannot store the checksums" in caplog.text


def test_the_progress_is_logged_and_kept(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(known_checksums, "REPORT_SECONDS", 0.0)
    known = KnownChecksums(tmp_path / "files.json")
    known.report(0, 1200)
    assert caplog.text == ""
    known.crc32c("a", file)
    known.report(1, 1200)
    assert "Compared 1 of 1,200 shards with their manifests, 0.0 GB read" in caplog.text
    # A plan that is killed here leaves it to the next one.
    assert asked(tmp_path / "files.json", file)[1] == 0
