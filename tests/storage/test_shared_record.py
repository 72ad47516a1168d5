"""A record that several runs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.errors import ChangedError
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.shared_record import SharedRecord


def test_another_writer_between_reading_and_writing_is_seen(tmp_path: Path, bucket_name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/")
    record = SharedRecord(tmp_path, bucket.address, "record.json")
    seen: list[Any] = []

    def change(values: Any) -> Any:
        seen.append(dict(values))
        if len(seen) == 1:
            bucket.write_text("record.json", json.dumps({"format": 1, "other": 1}))
        return {**values, "mine": 1}

    assert record.change(change) == {"format": 1, "other": 1, "mine": 1}
    assert len(seen) == 2
    generation = bucket.get("record.json").generation
    record.change(lambda values: values)
    assert bucket.get("record.json").generation == generation
    assert json.loads((tmp_path / "record.json").read_text()) == record.read()
    with pytest.raises(ChangedError):
        bucket.write_text("record.json", "", over=1)
