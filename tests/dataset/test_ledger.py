"""The ledger of what was read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.dataset.ledger import ConsumedFile, consumed, files_of, not_taken_by, record, write_plan
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.shared_record import SharedRecord


def entry(name: str, dataset: str = "", **values: Any) -> ConsumedFile:
    return ConsumedFile(**{"source": "s", "address": name, "bytes": 5, "dataset": dataset, **values})


def test_contents_are_known_wherever_they_lie() -> None:
    local = entry("/data/a.txt", "one", sha256="aa", crc32c="AAAAAA==")
    far = entry("gs://b/c.txt", "one", version="BBBBBB==", crc32c="BBBBBB==", sha256="bb")
    web = entry("https://h/d", "two", version='"tag"', sha256="dd", crc32c="DDDDDD==")
    ledger = [local, far, web]

    def new(*files: ConsumedFile) -> list[str]:
        return [file.address for file in not_taken_by({"one", "two"}, ledger, files)]

    assert new(entry("/other", sha256="aa", crc32c="AAAAAA==")) == []
    assert new(entry("/copy-of-the-object", sha256="bb", crc32c="BBBBBB==")) == []
    assert new(ConsumedFile.of("s", SourceFile("gs://b/copy", 5, "AAAAAA=="))) == []
    assert new(ConsumedFile.of("s", SourceFile("gs://b/c.txt", 6, "AAAAAA=="))) == ["gs://b/c.txt"]
    assert new(ConsumedFile.of("s", SourceFile("https://h/d", 5, '"tag"'))) == []
    assert new(ConsumedFile.of("s", SourceFile("https://h/d", 5, '"other"'))) == ["https://h/d"]
    assert new(entry("/new", sha256="ee"), entry("/again", sha256="ee")) == ["/new"]
    assert not_taken_by({"one"}, ledger, [web]) == [web]


def test_a_dataset_s_entries_are_replaced_and_nothing_is_written_twice(tmp_path: Path) -> None:
    ledger = SharedRecord(tmp_path, None, "sources.json")
    assert files_of(ledger.read()) == []
    record(ledger, "one", [entry("a", "one"), entry("b", "one")])
    record(ledger, "two", [entry("a", "two")])
    record(ledger, "one", [entry("c", "one")])
    assert [(f.dataset, f.address) for f in files_of(ledger.read())] == [("one", "c"), ("two", "a")]
    before = (tmp_path / "sources.json").stat()
    record(ledger, "one", [entry("c", "one")])
    after = (tmp_path / "sources.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tmp_path / "sources.json").write_text("{}")
    with pytest.raises(CorruptError, match="format"):
        ledger.read()


@pytest.mark.parametrize("where", ["bucket", "workspace"])
def test_runs_at_once_lose_no_entry(where: str, tmp_path: Path, bucket_name: str) -> None:
    address = f"gs://{bucket_name}/prefix/" if where == "bucket" else None

    def take(number: int) -> None:
        # Each in a workspace of its own where the bucket is what they share.
        workspace = tmp_path / str(number) if address else tmp_path
        record(SharedRecord(workspace, address, "sources.json"), f"d{number}", [entry("a", f"d{number}")])

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = SharedRecord(tmp_path / "7" if address else tmp_path, address, "sources.json")
    assert {file.dataset for file in files_of(ledger.read())} == {f"d{number}" for number in range(8)}


def test_a_list_that_is_not_that_of_the_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "sources.json"
    write_plan(path, [entry("a"), entry("b")])
    read = [FileRecord(f"s/{name}", 7, "aa", "AAAAAA==") for name in "ab"]
    assert consumed(path, read, "one") == [
        entry(name, "one", bytes=7, sha256="aa", crc32c="AAAAAA==") for name in "ab"
    ]
    for others in (read[:1], [*read, read[0]], [read[0], FileRecord("t/b", 7, "aa", "AAAAAA==")], []):
        with pytest.raises(CorruptError, match=r"sources\.json: lists 2 files, but not .*again") as error:
            consumed(path, others, "one")
        assert error.value.do
