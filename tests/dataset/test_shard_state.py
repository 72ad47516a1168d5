"""The judge of shards: the audit and the page say the same of the same damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.dataset.audit import audit
from qarib_tasks.dataset.shard_state import ShardFacts, is_dropped, judge
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.views.files import Cache, Files, Stored
from qarib_tasks.views.shards import ShardTask, shards_view, state_of
from tests.support.made_up_run import FolderBucket, MadeUpRun, make_run

NAME = "shards/shard_0001"
Damage = Callable[[Path, Path], object]


def rewrite(manifest: Path, **changes: Any) -> None:
    """Change a shard's manifest, here and in the bucket."""
    replace(Manifest.read(manifest), **changes).write(manifest)


def other_format(file: Path, published: Path) -> None:
    manifest = manifest_of(file)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))


def older_config(file: Path, published: Path) -> None:
    for path in (file, published):
        rewrite(manifest_of(path), config={"max_seq_length": 32}, made_by="qarib 0.0.1", made_at="2020-01-01")


def dropped_and(damage: Damage) -> Damage:
    def damaged(file: Path, published: Path) -> None:
        file.unlink()
        damage(file, published)

    return damaged


def nothing(file: Path, published: Path) -> None:
    pass


# Of a shard whose TFRecords are `file` here and `published` in the bucket: what was done, what is said of it
# with a bucket, and without one.
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "nothing": (nothing, "complete", "complete"),
    "no manifest": (lambda file, _: manifest_of(file).unlink(), "missing", "missing"),
    "failed": (
        lambda file, _: Manifest(kind="shard", id="x", state="failed", reason="r").write(manifest_of(file)),
        "failed",
        "failed",
    ),
    "failed without a reason": (
        lambda file, _: Manifest(kind="shard", id="x", state="failed").write(manifest_of(file)),
        "failed",
        "failed",
    ),
    "killed": (
        lambda file, _: Manifest(kind="shard", id="x", state="running").write(manifest_of(file)),
        "failed",
        "failed",
    ),
    "not JSON": (lambda file, _: manifest_of(file).write_text("{"), "corrupt", "corrupt"),
    "an empty manifest": (lambda file, _: manifest_of(file).write_text(""), "corrupt", "corrupt"),
    "of another format": (other_format, "corrupt", "corrupt"),
    "of another kind": (lambda file, _: rewrite(manifest_of(file), kind="corpus"), "corrupt", "corrupt"),
    "names other files": (
        lambda file, _: rewrite(manifest_of(file), outputs=[FileRecord("other.tfrecord", 1, "", "")]),
        "corrupt",
        "corrupt",
    ),
    "another size here": (lambda file, _: file.write_bytes(b"cut off"), "corrupt", "corrupt"),
    "dropped": (dropped_and(nothing), "complete", "missing"),
    "dropped and unpublished": (dropped_and(lambda _, published: published.unlink()), "missing", "missing"),
    "dropped and other bytes": (
        dropped_and(lambda _, published: published.write_bytes(b"x" * published.stat().st_size)),
        "corrupt",
        "missing",
    ),
    "unpublished": (lambda _, published: published.unlink(), "missing", "complete"),
    "published with another size": (lambda _, published: published.write_bytes(b"x"), "corrupt", "complete"),
    "published with other bytes": (
        lambda _, published: published.write_bytes(b"x" * published.stat().st_size),
        "corrupt",
        "complete",
    ),
    "manifest unpublished": (lambda _, published: manifest_of(published).unlink(), "missing", "complete"),
    "manifest published with other bytes": (
        lambda _, published: rewrite(manifest_of(published), made_at="2020-01-01"),
        "corrupt",
        "complete",
    ),
    "older config": (older_config, "complete", "complete"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("is_published", [True, False])
@pytest.mark.parametrize("tasks", ["of the run", "none"])
def test_the_page_and_the_audit_agree(tmp_path: Path, name: str, is_published: bool, tasks: str) -> None:
    made = make_run(tmp_path / "workspace", 3)
    made.upload(tmp_path / "bucket")
    bucket = FolderBucket(tmp_path / "bucket") if is_published else None
    damage, with_bucket, without = DAMAGES[name]
    place = made.dataset.tfrecord_name(NAME)
    damage(made.dataset.tfrecord(NAME), tmp_path / "bucket" / made.dataset.name / place)

    below = made.dataset.name
    listing = bucket and {one.name.removeprefix(below): one for one in bucket.list(below)}
    judged = [(one.name, one.state, one.reason) for one in audit(made.dataset, listing)]
    view = shards_view(
        made.record, Files(made.workspace, bucket, Cache()), made.tasks if tasks == "of the run" else []
    )
    assert [(row["name"], row["state"], row["reason"]) for row in view["shards"]] == judged
    states = {name: state for name, state, _ in judged}
    assert states == dict.fromkeys(made.names, "complete") | {NAME: with_bucket if is_published else without}
    assert all((state == "complete") == (reason == "") for _, state, reason in judged)


def view_of(made: MadeUpRun, bucket: Path, *, local: bool = False, **changes: Any) -> dict[str, str]:
    record = replace(made.record, **changes)
    files = Files(made.workspace if local else None, FolderBucket(bucket), Cache())
    return {row["name"]: row["state"] for row in shards_view(record, files, [])["shards"]}


def test_without_the_workspace_the_same_damage_of_objects_is_seen(tmp_path: Path) -> None:
    made = make_run(tmp_path / "workspace", 3)
    made.upload(tmp_path / "bucket")
    folder = tmp_path / "bucket" / made.dataset.name / "pretraining_data"
    (folder / "shard_0000.tfrecord").unlink()
    (folder / "shard_0001.tfrecord").write_bytes(b"x")
    for local in (True, False):
        assert list(view_of(made, tmp_path / "bucket", local=local).values()) == [
            "missing",
            "corrupt",
            "complete",
            "complete",
        ]


def test_shards_that_a_run_will_convert_are_waiting(tmp_path: Path) -> None:
    made = make_run(tmp_path / "workspace", 3)
    file = made.dataset.tfrecord(NAME)
    file.unlink()
    manifest_of(file).unlink()
    made.upload(tmp_path / "bucket")
    values = made.record.values
    only_trains = {**values, "first_step": "train"}
    found = [
        view_of(made, tmp_path / "bucket", local=True, state=state, values=of)[NAME]
        for state, of in (("running", values), ("running", only_trains), ("success", values))
    ]
    assert found == ["waiting", "missing", "missing"]


def test_a_listing_that_cannot_be_had_blames_no_shard(tmp_path: Path) -> None:
    """A shard whose file was dropped is taken to be in the bucket, unless its upload failed."""
    made = make_run(tmp_path / "workspace", 1)
    tasks = {step: ShardTask(step, 0, "success") for step in ("convert", "upload")}  # type: ignore[arg-type]
    facts = ShardFacts.read(manifest_of(made.dataset.tfrecord("shards/shard_0000")))
    judged = judge(made.dataset, "shards/shard_0000", facts, None, None, unanswered=True)
    assert judged.state == "complete"
    assert state_of(judged, *tasks.values(), unanswered=True) == ("complete", "")
    failed = replace(tasks["upload"], state="failed")
    assert state_of(judged, tasks["convert"], failed, unanswered=True)[0] == "failed"
    queued = replace(tasks["upload"], state="queued")
    assert state_of(judged, tasks["convert"], queued, unanswered=True)[0] == "uploading"


def test_dropped_files_are_those_that_the_bucket_has(tmp_path: Path) -> None:
    made = make_run(tmp_path, 1)
    file = made.dataset.tfrecord("shards/shard_0000")
    about = checksums(file)
    blob = Stored("x", about.bytes, about.crc32c)
    assert not is_dropped(file, blob)
    file.unlink()
    assert is_dropped(file, blob)
    assert not is_dropped(file, None)
    assert not is_dropped(file, replace(blob, crc32c="AAAAAA=="))
    manifest_of(file).write_text("{")
    assert not is_dropped(file, blob)
    manifest_of(file).unlink()
    assert not is_dropped(file, blob)
