"""How often the page reads, and what it does when the bucket does not answer.

Covers qarib_tasks/views/versions.py.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.errors import StorageError
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.views import versions
from qarib_tasks.views.files import Cache, Files, Stored
from qarib_tasks.views.shapes import number
from qarib_tasks.views.shards import shards_view
from qarib_tasks.views.training import training_view
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, make_run, states


class SilentBucket(FolderBucket):
    """A bucket that does not answer."""

    def list(self, below: str) -> list[Stored]:
        super().list(below)
        raise StorageError("the bucket does not answer", where=self.address, do="Look at the network")

    def read(self, name: str) -> bytes | None:
        super().read(name)
        raise StorageError("the bucket does not answer", where=self.address, do="Look at the network")


def test_reads_do_not_grow_with_the_shards(tmp_path: Path) -> None:
    asked = []
    for shards in (3, 300):
        made = make_run(tmp_path / str(shards), shards)
        made.upload(tmp_path / f"bucket-{shards}")
        bucket = FolderBucket(tmp_path / f"bucket-{shards}")
        own = files(made, bucket)
        for _ in range(3):
            assert states(shards_view(made.record, own, made.tasks)).keys()
        asked.append(bucket.asked)
    assert asked[0] == asked[1] == [f"list {made.dataset.name}"]


def test_a_bucket_that_does_not_answer_is_asked_once(run: MadeUpRun, tmp_path: Path) -> None:
    bucket = SilentBucket(tmp_path / "bucket")
    own = files(run, bucket)
    view = shards_view(run.record, own, run.tasks)
    assert set(states(view).values()) == {"complete"}  # as far as the workspace tells
    assert view["trouble"] == {
        "what": "the bucket does not answer",
        "where": "gs://qarib/",
        "do": "Look at the network",
    }
    for _ in range(2):
        again = Files(None, bucket, own.cache)
        assert training_view(run.record, again, 0.0)["trouble"] == view["trouble"]
    assert len(bucket.asked) == 1


def test_a_bucket_that_is_back_is_seen_by_a_page_that_asks_often(run: MadeUpRun, tmp_path: Path) -> None:
    cache = Cache()
    silent, answering = SilentBucket(tmp_path / "bucket"), FolderBucket(tmp_path / "bucket")
    troubles = []
    for bucket in (silent, silent, answering, answering, answering):
        own = Files(run.workspace, bucket, cache)
        troubles.append(shards_view(run.record, own, run.tasks)["trouble"])
        cache.age(3.0)
    assert troubles[0]
    assert not troubles[-1]


def test_a_manifest_is_read_anew_when_it_changes(run: MadeUpRun, bucket: FolderBucket) -> None:
    own = files(run, None)
    assert states(shards_view(run.record, own, run.tasks))["0000"] == "complete"
    path = manifest_of(run.dataset.tfrecord("shards/shard_0000"))
    Manifest(kind="shard", id="shard_0000", state="failed", reason="later").write(path)
    assert states(shards_view(run.record, own, run.tasks))["0000"] == "failed"
    shutil.rmtree(run.workspace)
    assert states(shards_view(run.record, files(run, bucket), run.tasks))["0000"] == "complete"


def test_a_small_file_is_read_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    own = Files.local

    def local(files: Files, name: str) -> bytes | None:
        read.append(name)
        return own(files, name)

    monkeypatch.setattr(Files, "local", local)
    path, cache, shape = tmp_path / "evaluation-1.json", Cache(), {"step": number}
    before = time.time() - 60

    def seen() -> list[dict[str, Any]]:
        return Files(tmp_path, None, cache).many([path.name], shape)

    path.write_text('{"step": 1}')
    assert seen() == seen() == [{"step": 1}]
    assert len(read) == 2  # It has just changed, and could change again in the same tick.
    monkeypatch.setattr(versions, "SETTLED_NS", 0)
    assert seen() == seen() == [{"step": 1}]
    assert len(read) == 3
    path.write_text('{"step": 2}')
    os.utime(path, (before, before))
    assert seen() == seen() == [{"step": 2}]
    assert len(read) == 4
    path.write_text('{"step": "two"}')  # Each answer says what is wrong, also one from what was kept.
    for _ in range(2):
        files = Files(tmp_path, None, cache)
        assert files.json(path.name, shape) == {}
        assert files.fault is not None
    assert len(read) == 5
    path.write_text(json.dumps({"step": 3, "more": "x" * versions.LARGEST}))
    assert seen() == seen()
    assert len(read) == 7  # Large files are not kept.
    path.unlink()
    (tmp_path / "other").write_text('{"step": 4}')
    path.symlink_to(tmp_path.parent)
    assert seen() == [{}]


def test_the_versions_that_are_kept_have_a_limit() -> None:
    kept = versions.Versions()
    for each in range(versions.MOST_VERSIONS + 5):
        kept.keep(each, str(each))
    assert kept.get(4) is None
    assert kept.get(5) == "5"
