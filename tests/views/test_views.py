"""What the page makes of manifests, listings and tasks."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.errors import StorageError
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.files import Cache, Files, Stored
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, summary
from qarib_tasks.views.shards import ShardTask, shard_detail, shards_view
from qarib_tasks.views.training import training_view
from tests.support.made_up_run import FolderBucket, MadeUpRun, make_run, write_training


@pytest.fixture
def run(tmp_path: Path) -> MadeUpRun:
    made = make_run(tmp_path / "workspace", 12)
    made.upload(tmp_path / "bucket")
    return made


@pytest.fixture
def bucket(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "bucket")


class SilentBucket(FolderBucket):
    """A bucket that does not answer."""

    def list(self, below: str) -> list[Stored]:
        super().list(below)
        raise StorageError("the bucket does not answer", where=self.address, do="Look at the network")

    def read(self, name: str) -> bytes | None:
        super().read(name)
        raise StorageError("the bucket does not answer", where=self.address, do="Look at the network")


def files(run: MadeUpRun, bucket: FolderBucket | None, *, local: bool = True) -> Files:
    return Files(run.workspace if local else None, bucket, Cache())


def states(view: dict[str, object]) -> dict[str, str]:
    shards = view["shards"]
    assert isinstance(shards, list)
    return {
        shard["name"].rpartition("_")[2] if "heldout" not in shard["name"] else "heldout": shard["state"]
        for shard in shards
    }


def test_every_state_of_a_shard(run: MadeUpRun, bucket: FolderBucket) -> None:
    dataset, tasks = run.dataset, {(task.step, task.map_index): task for task in run.tasks}
    place = bucket.folder / dataset.name

    def task(step: str, index: int, state: str | None, label: bool = True) -> None:
        tasks[step, index] = replace(tasks[step, index], state=state, **({} if label else {"label": None}))

    def unmade(name: str) -> None:
        dataset.tfrecord(name).unlink()
        dataset.tfrecord(name).with_suffix(".json").unlink()
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
        dataset.tfrecord("shards/shard_0007").with_suffix(".json")
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
        "0000": "done", "0001": "converting", "0002": "uploading", "0003": "uploading", "0004": "missing",
        "0005": "corrupt", "0006": "corrupt", "0007": "failed", "0008": "failed", "0009": "waiting",
        "0010": "waiting", "0011": "done", "heldout": "done",
    }  # fmt: skip
    reasons = {shard["name"]: shard["reason"] for shard in view["shards"]}
    assert reasons["shards/shard_0004"] == "the bucket has no pretraining_data/shard_0004.tfrecord"
    assert reasons["shards/shard_0007"] == "not UTF-8"
    assert view["totals"]["states"]["done"] == 3
    assert view["trouble"] is None
    assert {shard["map_index"] for shard in view["shards"]} == set(range(13))


def test_an_upload_that_the_listing_does_not_know_yet(run: MadeUpRun, bucket: FolderBucket) -> None:
    (bucket.folder / run.dataset.name / "pretraining_data/shard_0004.tfrecord").unlink()
    for ago, state in ((1, "done"), (600, "missing")):
        tasks = [
            replace(task, ended=time.time() - ago) if (task.step, task.map_index) == ("upload", 4) else task
            for task in run.tasks
        ]
        assert states(shards_view(run.record, files(run, bucket), tasks))["0004"] == state


def test_a_killed_conversion(run: MadeUpRun, bucket: FolderBucket) -> None:
    """Its manifest still says that it is running."""
    path = run.dataset.tfrecord("shards/shard_0000").with_suffix(".json")
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
        "failed": ("failed", "its conversion was killed (on host a)"),
        "up_for_retry": ("waiting", "was interrupted, will be tried again"),
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
        "done",
        "done",
    )
    assert len(found) == 13
    # One listing, and the dataset's manifest: however many shards there are.
    assert bucket.asked == [f"list {run.dataset.name}", f"read {run.dataset.name}manifest.json"]
    detail = shard_detail(run.record, own, "heldout/shards/shard_0000")
    assert detail["statistics"]["examples"] == 1157
    assert shard_detail(run.record, own, "../../../etc/passwd") == {}


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
    assert set(states(view).values()) == {"done"}  # as far as the workspace tells
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


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    record = RunRecord(dag_id="qarib_pretrain", run_id="new", state="running")
    own = Files(None, None, Cache())
    assert summary(record, own, 0.0)["training"] is None
    assert shards_view(record, own, [])["shards"] == []
    assert corpus_view(record, own)["corpus"] is None
    assert training_view(record, own, 0.0)["progress"] is None
    assert model_view(record, own, [])["model_id"] is None
    named = replace(
        record, values={"dataset_id": "demo-1", "model_id": "demo-2", "config": {"workspace": str(tmp_path)}}
    )
    own = Files(tmp_path, None, Cache())
    assert shards_view(named, own, [])["shards"] == []
    assert training_view(named, own, 0.0)["history"] == {"step": []}
    assert model_view(named, own, [])["evaluation"] is None


def test_shards_that_have_only_a_number_yet(tmp_path: Path) -> None:
    record = make_run(tmp_path, 2).record
    tasks = [ShardTask("convert", index, None) for index in range(3)]
    tasks[0] = replace(tasks[0], state="running", label="shard_0000")
    view = shards_view(record, Files(None, None, Cache()), tasks)
    assert [(shard["name"], shard["state"]) for shard in view["shards"]] == [
        ("shards/shard_0000", "converting"), ("#1", "waiting"), ("#2", "waiting"),
    ]  # fmt: skip


def test_broken_files_are_no_figures(run: MadeUpRun, bucket: FolderBucket) -> None:
    for name in ("data.json", "vocab.json", "manifest.json", "pretraining_data/shard_0000.json"):
        (run.dataset.root / name).write_text("{ not JSON")
    assert corpus_view(run.record, files(run, bucket))["corpus"] is None
    assert states(shards_view(run.record, files(run, bucket), run.tasks))["0000"] == "done"


def test_corpus_and_vocabulary(run: MadeUpRun, bucket: FolderBucket) -> None:
    view = corpus_view(run.record, files(run, bucket))
    corpus, vocabulary = view["corpus"], view["vocabulary"]
    assert corpus["line_words"] == [["1", 2], ["4-5", 7], ["1024+", 1]]
    assert corpus["changed"] == [["elongation", 3]]
    assert corpus["samples"] == {"tweets": [["قال  قال", "قال قال"]]}
    assert vocabulary["fit"]["wordpieces_a_word"] == pytest.approx(12 / 9)
    assert vocabulary["fit"]["unknown_share"] == pytest.approx((0.001 + 0.002) * 4 / 13)
    # Without the workspace a few shards' manifests stand for all.
    fit = corpus_view(run.record, files(run, bucket, local=False))["vocabulary"]["fit"]
    assert fit["shards"] == 3
    assert sum(name.startswith("read") for name in bucket.asked) == 5


def test_training_here_and_elsewhere(run: MadeUpRun, bucket: FolderBucket) -> None:
    model = run.record.model
    assert model is not None
    write_training(bucket.folder / model.name, steps=10, at="2026-01-01T00:00:10+00:00")
    view = training_view(run.record, files(run, bucket), 0.0)
    assert view["progress"]["place"] == "bucket"
    assert view["history"]["step"] == list(range(1, 11))
    assert [one["step"] for one in view["evaluations"]] == [0, 10]
    assert view["checkpoints"] == [10]
    (gap,) = view["fill_mask"]
    assert (gap["words"][0]["word"], gap["first"][0]["word"], gap["first_step"]) == ("الله", "في", 0)
    # The training goes on, and its history follows with the next checkpoint.
    path = bucket.folder / model.name / "progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 14, "loss": 3.5}))
    assert training_view(run.record, files(run, bucket), 0.0)["history"]["step"][-1] == 14
    # What is newer here goes before.
    write_training(run.workspace / model.name, steps=20, at="2026-01-01T00:00:20+00:00", state="finished")
    view = training_view(run.record, files(run, bucket), 0.0)
    assert (view["progress"]["place"], view["history"]["step"][-1], view["progress"]["state"]) == (
        "workspace",
        20,
        "finished",
    )


def test_a_long_history_is_thinned(run: MadeUpRun, bucket: FolderBucket) -> None:
    model = run.record.model
    assert model is not None
    write_training(run.workspace / model.name, steps=5000, at="2026-01-01T00:00:10+00:00")
    steps = training_view(run.record, files(run, bucket), 0.0)["history"]["step"]
    assert (len(steps) <= 801, steps[0], steps[-1]) == (True, 1, 5000)


def test_the_tpu(run: MadeUpRun, bucket: FolderBucket) -> None:
    tpu = {
        "machine": "cloud_tpu",
        "accelerator_type": "v5litepod-8",
        "zones": ["us-central1-a", "us-west4-b"],
        "chip_hour_price": 0.5,
    }
    config = {**run.record.config, "tpu": tpu}
    record = replace(run.record, run_id="run", values={**run.record.values, "config": config})
    assert record.model is not None
    folder = bucket.folder / record.model.name / "tpu" / "run"
    folder.mkdir(parents=True)
    memory = {
        "phase": "running",
        "zone": 1,
        "granted": 1000.0,
        "spent": 1800.0,
        "preemptions": 1,
        "attempt": 2,
    }
    (folder / "memory.json").write_text(json.dumps(memory))
    facts = training_view(record, files(run, bucket), now=2800.0)["tpu"]
    assert (facts["state"], facts["zone"], facts["age_seconds"]) == ("running", "us-west4-b", 1800.0)
    assert facts["price"] == 8 * 0.5
    assert facts["cost"] == pytest.approx(4.0)  # half an hour before, half an hour now
    assert summary(record, files(run, bucket), 2800.0)["tpu"]["cost"] == pytest.approx(4.0)


def test_the_former_model(run: MadeUpRun, bucket: FolderBucket) -> None:
    other = replace(run.record, run_id="before", values={**run.record.values, "model_id": "demo-00000000cc"})
    assert run.record.model is not None
    assert other.model is not None
    write_training(bucket.folder / run.record.model.name, steps=20, at="")
    write_training(bucket.folder / other.model.name, steps=10, at="")
    view = model_view(run.record, files(run, bucket), [run.record, other])
    assert (view["evaluation"]["masked_lm_loss"], view["former"]["evaluation"]["masked_lm_loss"]) == (
        6.0,
        7.0,
    )
    assert view["former"]["same_heldout"] is True
    # The record of promoted models goes before.
    judged = [
        {"model_id": "demo-1", "state": "promoted", "heldout": "h", "evaluation": {"masked_lm_loss": 6.5}},
        {"model_id": "demo-00000000bb", "state": "promoted", "heldout": "h", "reason": "not worse"},
    ]
    for promoted in ("demo-1", "demo-00000000bb"):
        record = {"presets": {"demo": {"promoted": promoted, "judged": judged}}}
        (bucket.folder / "models/promoted.json").write_text(json.dumps(record))
        view = model_view(run.record, files(run, bucket), [other])
        assert view["former"]["model_id"] == "demo-1"
        assert view["is_promoted"] is (promoted == "demo-00000000bb")
    assert view["judgement"] == "not worse"
    # One that came after it was not before it.
    judged.append({"model_id": "demo-2", "state": "promoted", "heldout": "h"})
    record = {"presets": {"demo": {"promoted": "demo-2", "judged": judged}}}
    (bucket.folder / "models/promoted.json").write_text(json.dumps(record))
    assert model_view(run.record, files(run, bucket), [])["former"]["model_id"] == "demo-1"


def test_a_manifest_is_read_anew_when_it_changes(run: MadeUpRun, bucket: FolderBucket) -> None:
    own = files(run, None)
    assert states(shards_view(run.record, own, run.tasks))["0000"] == "done"
    path = run.dataset.tfrecord("shards/shard_0000").with_suffix(".json")
    Manifest(kind="shard", id="shard_0000", state="failed", reason="later").write(path)
    assert states(shards_view(run.record, own, run.tasks))["0000"] == "failed"
    shutil.rmtree(run.workspace)
    assert states(shards_view(run.record, files(run, bucket), run.tasks))["0000"] == "done"
