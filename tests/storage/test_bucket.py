"""Objects of a bucket, by their addresses."""

from __future__ import annotations

import pytest

from qarib_tasks.errors import ChangedError, StorageError
from qarib_tasks.storage.bucket import Bucket, split_address


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
        with pytest.raises(ChangedError, match=r"memory\.json: has been written by somebody else"):
            bucket.write_text("memory.json", "three", over=stale)
    assert bucket.read_version("memory.json") == ("two", second)
    bucket.write_text("memory.json", "four")
    assert bucket.read_text("memory.json") == "four"
