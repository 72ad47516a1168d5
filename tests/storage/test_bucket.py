"""Objects of a bucket, by their addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.errors import ChangedError, StorageError
from qarib_tasks.storage.bucket import Bucket, object_fault, split_address
from qarib_tasks.storage.files import checksums_of


def test_addresses() -> None:
    assert split_address("gs://bucket/a/b") == ("bucket", "a/b")
    assert split_address("gs://bucket") == ("bucket", "")
    with pytest.raises(StorageError, match="not a gs:// address"):
        split_address("/local/path")


def test_a_small_object_is_written_over_the_generation_that_was_read_only(bucket_name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/prefix/")
    assert bucket.read_version("memory.json") == (None, 0)
    first = bucket.write_text("memory.json", "one", over=0)
    assert bucket.read_version("memory.json") == ("one", first)
    second = bucket.write_text("memory.json", "two", over=first)
    for stale in (0, first):
        with pytest.raises(ChangedError, match=r"memory\.json: was modified concurrently"):
            bucket.write_text("memory.json", "three", over=stale)
    assert bucket.read_version("memory.json") == ("two", second)
    bucket.write_text("memory.json", "four")
    assert bucket.read_text("memory.json") == "four"


def test_an_upload_is_verified_whoever_sends_it(bucket_name: str, tmp_path: Path) -> None:
    bucket = Bucket(f"gs://{bucket_name}/prefix/")
    path = tmp_path / "file"
    path.write_bytes(b"its bytes")
    assert bucket.upload(path, "file")
    assert not bucket.upload(path, "file", lambda: pytest.fail("the same bytes were sent again"))
    path.write_bytes(b"new bytes")
    for others in ("other bytes", "new bytez"):
        with pytest.raises(StorageError, match="prefix/file: the uploaded object fails its checksum"):
            bucket.upload(path, "file", lambda others=others: bucket.write_text("file", others))
    assert bucket.upload(path, "file", lambda: bucket.write_text("file", "new bytes"))


def test_the_faults_of_an_object(bucket_name: str, tmp_path: Path) -> None:
    bucket = Bucket(f"gs://{bucket_name}/prefix/")
    bucket.write_text("file", "bytes")
    expected = checksums_of(b"bytes")
    assert object_fault(bucket.list(), "file", expected) == ""
    assert object_fault(bucket.list(), "other", expected) == "the bucket has no other"
    for others in (b"more bytes", b"bytez"):
        fault = object_fault(bucket.list(), "file", checksums_of(others))
        assert fault == "the bucket's file does not match its manifest"
