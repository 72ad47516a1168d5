"""What is found of a dataset's shards, and what a backfill makes of it, through the DAG."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.dataset.audit import MOST_NAMED, ShardState, audit, broken, chosen, listed
from qarib_tasks.errors import InputError
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of


def request(workspace: Path, bucket: str = "") -> Run:
    values = {
        "preset": "demo",
        "workspace": str(workspace),
        "collect": {"sources": [{"name": "text", "path": str(SAMPLE / "muwatta.txt")}]},
        "vocab": {"vocab_size": 800},
        "split": {"shard_lines": 500},
        "convert": {"dupe_factor": 1},
        "upload": {"bucket": bucket},
    }
    return prepare(resolve(values))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a converted dataset."""
    workspace = tmp_path_factory.mktemp("made")
    run = request(workspace)
    pipeline.collect(run)
    pipeline.build_vocab(run)
    for name in pipeline.split(run):
        pipeline.convert(run, name)
    return workspace


@pytest.fixture
def run(made: Path, tmp_path: Path, bucket_name: str) -> Run:
    """The same in a workspace of its own, published."""
    shutil.copytree(made, tmp_path / "work")
    run = request(tmp_path / "work", bucket_name)
    bucket = Bucket(run.address or "")
    for name in pipeline.split(run):
        for path in pipeline.shard_files(run, name):
            bucket.upload(path, path.relative_to(run.config.workspace).as_posix())
    return run


def objects(run: Run) -> dict[str, Any]:
    return Bucket(f"{run.address}{run.dataset.name}").list()


def states(run: Run) -> dict[str, tuple[str, str]]:
    return {s.name: (s.state, s.reason) for s in broken(audit(run.dataset, objects(run)))}


def fail(run: Run, name: str, reason: str) -> None:
    tfrecord = run.dataset.tfrecord(name)
    tfrecord.unlink()
    Manifest(kind="shard", id=tfrecord.stem, state="failed", reason=reason).write(manifest_of(tfrecord))


def test_a_whole_dataset_needs_nothing_even_where_files_were_dropped(run: Run) -> None:
    assert states(run) == {}
    run.dataset.tfrecord("shards/shard_0001").unlink()
    assert states(run) == {}
    assert broken(audit(run.dataset)) == [
        ShardState("shards/shard_0001", "missing", f"{run.dataset.tfrecord('shards/shard_0001')} is gone")
    ]


def test_each_kind_of_damage_is_told_apart(run: Run) -> None:
    fail(run, "shards/shard_0000", "cannot be read")
    manifest_of(run.dataset.tfrecord("shards/shard_0001")).unlink()
    manifest_of(run.dataset.tfrecord("shards/shard_0002")).write_text("{")
    with run.dataset.tfrecord("shards/shard_0003").open("ab") as file:
        file.write(b"more")
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.delete("pretraining_data/shard_0004.tfrecord")
    bucket.write_text("pretraining_data/shard_0005.tfrecord", "other")
    bucket.write_text("pretraining_data/shard_0006.json", "other")
    found = states(run)
    assert {name[-1]: state for name, (state, _) in found.items()} == {
        **{"0": "failed", "1": "missing", "2": "corrupt", "3": "corrupt"},
        **{"4": "missing", "5": "corrupt", "6": "corrupt"},
    }
    assert found["shards/shard_0000"][1] == "cannot be read"
    assert "no pretraining_data/shard_0004.tfrecord" in found["shards/shard_0004"][1]
    with pytest.raises(InputError) as error:
        finish_dataset(run, objects(run))
    assert all(f"shards/shard_000{number}: " in str(error.value) for number in range(7))
    assert "shard_0007" not in str(error.value)
    assert f"qarib_backfill_shards for the dataset {run.dataset_id}" in str(error.value)
    assert not run.dataset.manifest.exists()


def test_what_is_chosen() -> None:
    found = [ShardState("a", "complete"), ShardState("b", "failed"), ShardState("c", "missing")]
    assert chosen(found, ["failed", "missing"]) == ["b", "c"]
    assert chosen(found, ["missing"]) == ["c"]
    assert chosen(found, ["missing"], ["a"]) == ["a"]
    with pytest.raises(InputError, match="no such shards: d"):
        chosen(found, [], ["a", "d"])


def test_a_long_list_ends_with_a_number() -> None:
    many = [ShardState(f"shards/shard_{number:04d}", "missing") for number in range(MOST_NAMED + 7)]
    lines = listed(many).splitlines()
    assert len(lines) == MOST_NAMED + 1
    assert lines[-1] == "and 7 more"


def backfill(run: Run, **conf: Any) -> Any:
    import qarib_backfill_shards

    dag = qarib_backfill_shards.qarib_backfill_shards()
    conf = {"dataset": run.dataset_id, "workspace": run.config.workspace, **conf}
    return dag.test(run_conf=conf)


def test_a_backfill_repairs_what_can_be_repaired_and_touches_nothing_else(
    run: Run, airflow_database: None, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    raw = run.dataset.shard("shards/shard_0000")
    text = raw.read_bytes()
    raw.unlink()
    fail(run, "shards/shard_0000", "cannot be read")
    fail(run, "shards/shard_0001", "was killed")
    bucket.delete("pretraining_data/shard_0002.tfrecord")
    bucket.write_text("pretraining_data/shard_0003.tfrecord", "other")
    damaged = {f"pretraining_data/shard_000{number}" for number in range(4)}
    before = {n: b.generation for n, b in objects(run).items() if n.rpartition(".")[0] not in damaged}
    assert len(before) > 2

    first = backfill(run)
    assert first.state == "failed"
    assert {name for name in states(run)} == {"shards/shard_0000"}
    assert "4 of them not whole" in caplog.text
    now = {name: blob.generation for name, blob in objects(run).items()}
    assert {name: now[name] for name in before} == before

    raw.write_bytes(text)
    second = backfill(run, choice=["failed"])
    assert second.state == "success"
    assert states(run) == {}
    now = {name: blob.generation for name, blob in objects(run).items()}
    assert {name: now[name] for name in before} == before
    assert now["manifest.json"]
    assert Manifest.read(run.dataset.manifest).statistics["examples"] > 0


def test_a_shard_whose_file_was_dropped_is_not_converted_again(run: Run, airflow_database: None) -> None:
    """As with keep_local off: the bucket has it, and only another fault of it makes it be made again."""
    dropped, damaged = (run.dataset.tfrecord(f"shards/shard_000{number}") for number in (0, 1))
    dropped.unlink()
    damaged.unlink()
    Bucket(f"{run.address}{run.dataset.name}").delete("pretraining_data/shard_0001.tfrecord")
    before = objects(run)["pretraining_data/shard_0000.tfrecord"].generation
    assert backfill(run, shards=["shards/shard_0000", "shards/shard_0001"]).state == "success"
    assert (dropped.exists(), damaged.exists()) == (False, True)
    assert objects(run)["pretraining_data/shard_0000.tfrecord"].generation == before
    assert states(run) == {}


def test_a_dataset_that_is_not_there_is_refused_with_those_that_are(run: Run) -> None:
    with pytest.raises(InputError, match=f"Choose one of: {run.dataset_id}"):
        run_of_dataset(Path(run.config.workspace), "demo-0123456789")
    again = run_of_dataset(Path(run.config.workspace), run.dataset_id)
    assert (again.config, again.dataset_id) == (run.config, run.dataset_id)


def test_a_training_may_do_without_some_shards(run: Run) -> None:
    """The manifest names them, the trainer leaves them out, and the held-out part is always whole."""
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.write_text("pretraining_data/shard_0003.tfrecord", "other")
    fail(run, "shards/shard_0001", "cannot be read")
    few, enough = (tolerating(run, share) for share in (0.1, 0.2))
    with pytest.raises(InputError, match="2 of 10 shards are not whole"):
        finish_dataset(few, objects(run))
    manifest = finish_dataset(enough, objects(run))
    assert manifest.statistics["missing_shards"] == ["shards/shard_0001", "shards/shard_0003"]
    assert manifest.statistics["shards"] == 7
    assert not {"pretraining_data/shard_0001.tfrecord", "pretraining_data/shard_0003.tfrecord"} & {
        record.name for record in manifest.outputs
    }
    assert training_job(enough).left_out == ("shard_0001.tfrecord", "shard_0003.tfrecord")

    bucket.delete("heldout/pretraining_data/shard_0000.tfrecord")
    with pytest.raises(InputError, match="3 of 10 shards are not whole"):
        finish_dataset(tolerating(run, 0.9), objects(run))

    assert pipeline.convert(run, "shards/shard_0001").state == "complete"
    for name in (
        *pipeline.shard_files(run, "shards/shard_0001"),
        *pipeline.shard_files(run, "shards/shard_0003"),
    ):
        bucket.upload(name, name.relative_to(run.dataset.root).as_posix())
    held_out = run.dataset.tfrecord("heldout/shards/shard_0000")
    bucket.upload(held_out, "heldout/pretraining_data/shard_0000.tfrecord")
    assert finish_dataset(run, objects(run)).statistics["missing_shards"] == []
    assert training_job(run).left_out == ()


def tolerating(run: Run, share: float) -> Run:
    upload = replace(run.config.upload, tolerated_missing_share=share)
    return replace(run, config=replace(run.config, upload=upload))


def test_a_killed_conversion_is_told_of(run: Run) -> None:
    """By the manifest that the conversion leaves before it begins."""
    tfrecord = run.dataset.tfrecord("shards/shard_0001")
    manifest_of(tfrecord).unlink()
    process = os.fork()
    if not process:

        def strike(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and ".tfrecord." in str(arguments[0]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(strike)
        pipeline.convert(run, "shards/shard_0001")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    state, reason = states(run)["shards/shard_0001"]
    assert state == "failed"
    assert reason.startswith("its conversion was killed (began 20")
    assert f"process {process})" in reason
    pipeline.convert(run, "shards/shard_0001")
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.upload(manifest_of(tfrecord), "pretraining_data/shard_0001.json")
    assert states(run) == {}


def test_a_shard_that_cannot_be_read_says_so(run: Run) -> None:
    run.dataset.shard("shards/shard_0001").unlink()
    with pytest.raises(InputError, match="no such file"):
        pipeline.convert(run, "shards/shard_0001")
    assert states(run)["shards/shard_0001"][0] == "failed"


def test_beginning_with_the_shards(run: Run) -> None:
    """Sources, text and vocabulary are not looked at; only shards that are not whole are done."""
    from qarib_airflow.publishing.published import not_whole

    Bucket(f"{run.address}{run.dataset.name}").delete("pretraining_data/shard_0002.tfrecord")
    again = prepare_training(run.config, run.dataset_id, first_step="convert")
    assert (again.dataset_id, pipeline.sources(again)) == (run.dataset_id, [])
    pipeline.collect(again)
    pipeline.build_vocab(again)
    assert pipeline.split(again) == pipeline.split(run)
    assert not_whole(again, "google_cloud_default") == ["shards/shard_0002"]
    manifest_of(run.dataset.vocab).unlink()
    with pytest.raises(InputError, match=r"vocab\.txt: is not made yet"):
        prepare_training(run.config, run.dataset_id, first_step="convert")
