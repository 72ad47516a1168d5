"""The bucket as the page reads it."""

from __future__ import annotations

import gzip

import pytest
from qarib_airflow.defaults import CONNECTION
from qarib_airflow.page.bucket import ConnectionBucket

from qarib_tasks.errors import StorageError
from qarib_tasks.storage.bucket import Bucket


def test_names_are_below_the_prefix_and_what_is_missing_is_none(bucket_name: str) -> None:
    address = f"gs://{bucket_name}/team/"
    stored = Bucket(address)
    stored.write_text("models/a/progress.json", "{}")
    stored.write_text("models/b/progress.json", "[1]")
    Bucket(f"gs://{bucket_name}/").write_text("models/other.json", "")
    bucket = ConnectionBucket(address, CONNECTION)
    found = {one.name: one for one in bucket.list("models/")}
    assert {name: one.size for name, one in found.items()} == {
        "models/a/progress.json": 2,
        "models/b/progress.json": 3,
    }
    assert found["models/a/progress.json"].crc32c == stored.get("models/a/progress.json").crc32c
    assert bucket.read("models/b/progress.json") == b"[1]"
    assert bucket.read("models/c/progress.json") is None


def test_a_huge_object_is_not_read_whole(bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QARIB_LIMITS", f"page_file_bytes: {1 << 20}")
    address = f"gs://{bucket_name}/"
    Bucket(address).write_text("huge.json", " " * 2_000_000)
    assert len(ConnectionBucket(address, CONNECTION).read("huge.json") or b"") == (1 << 20) + 1


def test_an_object_is_read_as_it_is_stored(bucket_name: str) -> None:
    """A client that unpacks it would make gigabytes of some kilobytes."""
    address, packed = f"gs://{bucket_name}/", gzip.compress(bytes(10_000_000))
    blob = Bucket(address)._bucket.blob("packed.json")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    assert ConnectionBucket(address, CONNECTION).read("packed.json") == packed


def test_no_such_bucket_is_an_error_that_names_it(bucket_name: str) -> None:
    address = f"gs://{bucket_name}-nowhere/"
    with pytest.raises(StorageError) as raised:
        ConnectionBucket(address, CONNECTION).list("")
    assert raised.value.where == address
