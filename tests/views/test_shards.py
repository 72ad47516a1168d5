"""The states of shards, as the page shows them."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.dataset.audit import raw_shards, split_manifests
from qarib_tasks.dataset.shard_state import ShardState
from qarib_tasks.layout import DatasetLayout
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.views import shards, versions
from qarib_tasks.views.files import Cache, Files
from qarib_tasks.views.shards import (
    MEANINGS,
    NOT_REACHED,
    SEE_LOG,
    STATES,
    ShardTask,
    pace,
    shard_detail,
    shards_view,
    state_of,
    totals,
)
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, make_run, states


def test_every_state_of_a_shard(run: MadeUpRun, bucket: FolderBucket) -> None:
    dataset, tasks = run.dataset, {(task.step, task.map_index): task for task in run.tasks}
    place = bucket.folder / dataset.name

    def task(step: str, index: int, state: str | None, label: bool = True) -> None:
        tasks[step, index] = replace(tasks[step, index], state=state, **({} if label else {"label": None}))

    def unmade(name: str) -> None:
        dataset.tfrecord(name).unlink()
        manifest_of(dataset.tfrecord(name)).unlink()
        (place / dataset.tfrecord_name(name)).unlink()

    task("convert", 1, "running")
    task("upload", 2, "running")
    # Converted, and its upload has not begun.
    task("upload", 3, "scheduled")
    (place / "pretraining_data/shard_0003.tfrecord").unlink()
    # Gone from the bucket; other bytes there; another size here.
    (place / "pretraining_data/shard_0004.tfrecord").unlink()
    (place / "pretraining_data/shard_0005.tfrecord").write_bytes(b"x" * len(b"records of shards/shard_0005"))
    dataset.tfrecord("shards/shard_0006").write_bytes(b"cut off")
    # The conversion failed and said why; it was killed; it is to be tried again; it has not begun.
    Manifest(kind="shard", id="shard_0007", state="failed", reason="not UTF-8").write(
        manifest_of(dataset.tfrecord("shards/shard_0007"))
    )
    unmade("shards/shard_0008")
    task("convert", 8, "failed")
    task("upload", 8, "upstream_failed")
    unmade("shards/shard_0009")
    task("convert", 9, "up_for_retry")
    task("upload", 9, None)
    unmade("shards/shard_0010")
    task("convert", 10, None, label=False)
    task("upload", 10, None, label=False)
    # Its task failed, and it was repaired afterwards by others.
    task("convert", 11, "failed")
    task("upload", 11, "upstream_failed")
    view = shards_view(run.record, files(run, bucket), list(tasks.values()))
    assert states(view) == {
        "0000": "complete", "0001": "converting", "0002": "uploading", "0003": "uploading", "0004": "missing",
        "0005": "corrupt", "0006": "corrupt", "0007": "failed", "0008": "missing", "0009": "waiting",
        "0010": "waiting", "0011": "complete", "heldout": "complete",
    }  # fmt: skip
    reasons = {shard["name"]: shard["reason"] for shard in view["shards"]}
    assert reasons["shards/shard_0004"] == "the bucket has no pretraining_data/shard_0004.tfrecord"
    assert reasons["shards/shard_0007"] == "not UTF-8"
    assert reasons["shards/shard_0008"] == "is not converted; a task failed: see its log"
    assert view["totals"]["states"]["complete"] == 3
    assert view["trouble"] is None
    assert {shard["map_index"] for shard in view["shards"]} == set(range(13))


def test_an_upload_that_the_listing_does_not_know_yet(run: MadeUpRun, bucket: FolderBucket) -> None:
    (bucket.folder / run.dataset.name / "pretraining_data/shard_0004.tfrecord").unlink()
    for ago, state in ((1, "complete"), (600, "missing")):
        tasks = [
            replace(task, ended=time.time() - ago) if (task.step, task.map_index) == ("upload", 4) else task
            for task in run.tasks
        ]
        assert states(shards_view(run.record, files(run, bucket), tasks))["0004"] == state


def test_the_list_of_shards_is_read_once_for_each_version(
    run: MadeUpRun, bucket: FolderBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "SETTLED_NS", 0)
    read: list[Path] = []

    def counted(dataset: DatasetLayout, *limits: Any) -> dict[str, FileRecord]:
        read.append(dataset.root)
        return raw_shards(dataset, *limits)

    monkeypatch.setattr(shards, "raw_shards", counted)
    shown = files(run, bucket)
    views = [shards_view(run.record, shown, run.tasks) for _ in range(3)]
    assert views[0] == views[1] == views[2]
    assert len(read) == 1
    path = split_manifests(run.dataset)[0]
    split = Manifest.read(path)
    replace(split, outputs=split.outputs[:3]).write(path)
    names = [shard["name"] for shard in shards_view(run.record, shown, run.tasks)["shards"]]
    assert names == [*(f"shards/shard_000{number}" for number in range(3)), "heldout/shards/shard_0000"]
    assert len(read) == 2


def test_a_killed_conversion(run: MadeUpRun, bucket: FolderBucket) -> None:
    """Its manifest still says that it is running."""
    path = manifest_of(run.dataset.tfrecord("shards/shard_0000"))
    path.write_text(
        json.dumps({"kind": "shard", "id": "shard_0000", "state": "running", "reason": "on host a"})
    )
    found = {}
    for state in ("running", "failed", "up_for_retry"):
        tasks = [ShardTask("convert", 0, state, 1, label="shard_0000")]
        shard = shards_view(run.record, files(run, bucket), tasks)["shards"][0]
        found[state] = shard["state"], shard["reason"]
    tasks = [ShardTask("convert", 0, "failed", 3, label="shard_0000")]
    repair = ShardTask("upload", 0, "running", label="shard_0000")
    shard = shards_view(run.record, files(run, bucket), tasks, [repair])["shards"][0]
    assert (shard["state"], shard["reason"]) == ("uploading", "by a backfill")
    assert found == {
        "running": ("converting", ""),
        "failed": ("failed", "its conversion did not finish (on host a)"),
        "up_for_retry": ("waiting", "its conversion did not finish (on host a), will be retried"),
    }


def test_without_the_workspace_the_bucket_tells(run: MadeUpRun, bucket: FolderBucket) -> None:
    place = bucket.folder / run.dataset.name / "pretraining_data"
    (place / "shard_0002.tfrecord").unlink()
    (place / "shard_0003.tfrecord").write_bytes(b"other")
    own = files(run, bucket, local=False)
    view = shards_view(run.record, own, run.tasks)
    found = states(view)
    assert (found["0002"], found["0003"], found["0004"], found["heldout"]) == (
        "missing",
        "corrupt",
        "complete",
        "complete",
    )
    assert len(found) == 13
    # One listing, and the dataset's manifest: however many shards there are.
    assert bucket.asked == [f"list {run.dataset.name}", f"read {run.dataset.name}manifest.json"]
    detail = shard_detail(run.record, own, "heldout/shards/shard_0000")
    assert detail["statistics"]["examples"] == 1157
    assert shard_detail(run.record, own, "../../../etc/passwd") == {}


def test_shards_that_have_only_a_number_yet(tmp_path: Path) -> None:
    record = make_run(tmp_path, 2).record
    tasks = [ShardTask("convert", index, None) for index in range(3)]
    tasks[0] = replace(tasks[0], state="running", label="shard_0000")
    view = shards_view(record, Files(None, None, Cache()), tasks)
    assert [(shard["name"], shard["state"]) for shard in view["shards"]] == [
        ("shards/shard_0000", "converting"), ("#1", "waiting"), ("#2", "waiting"),
    ]  # fmt: skip


def test_the_page_has_a_sign_and_a_meaning_for_each_state() -> None:
    static = Path(__file__).resolve().parents[2] / "plugins/qarib_airflow/page/static"
    script, style = ((static / name).read_text() for name in ("js/views/shards.js", "views.css"))
    (body,) = re.findall(r"const SIGNS = \{(.*?)\};", script, re.DOTALL)
    assert set(re.findall(r"(\w+): \"", body)) == set(STATES) == set(MEANINGS)
    assert set(re.findall(r"\.cell\.(\w+) \{", style)) >= set(STATES)


def test_the_hours_between_a_run_and_its_repair_are_not_work() -> None:
    def shard(number: int, start: float) -> list[ShardTask]:
        convert = ShardTask("convert", number, "success", 1, start, start + 4)
        return [convert, ShardTask("upload", number, "success", 1, start + 4, start + 5)]

    tasks = [task for number in range(6) for task in shard(number, 1000.0 + 5 * (number // 2))]
    quick = pace([], tasks, "success")["shards_per_second"]
    assert quick == pytest.approx(6 / 15)
    cleared = pace([], [*tasks, *shard(6, 90_000.0)], "success")["shards_per_second"]
    assert cleared == pytest.approx(7 / 20)


def test_a_sum_of_figures_that_are_not_known_is_not_zero() -> None:
    rows = [{"name": f"shards/shard_000{n}", "state": "complete"} for n in range(2)]
    known = totals(rows)
    assert [known[key] for key in ("shards", "examples", "examples_of", "bytes")] == [2, None, 0, None]
    found = totals([*rows, {**rows[0], "examples": 0, "bytes": 5}])
    assert [found[key] for key in ("examples", "examples_of", "bytes", "bytes_of")] == [0, 1, 5, 1]


def test_a_shard_that_was_not_reached_has_not_failed() -> None:
    """After a failure of `vocab`, there is no log of its tasks to see."""
    convert = ShardTask("convert", 0, "upstream_failed")
    upload = ShardTask("upload", 0, "upstream_failed")
    assert state_of(None, convert, upload) == ("missing", NOT_REACHED)
    for state, reason in (("complete", ""), ("corrupt", "the file differs")):
        judged = ShardState("shards/shard_0000", state, reason)  # type: ignore[arg-type]
        assert state_of(judged, convert, upload) == (state, reason)
    failed = ShardTask("convert", 0, "failed")
    assert state_of(None, failed, upload) == ("failed", SEE_LOG)
