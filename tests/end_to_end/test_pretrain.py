"""The whole DAG in a real Airflow (LocalExecutor) against emulators of Google Cloud, with a tiny model."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import demo
import pytest
from local_stack import REPOSITORY, LocalStack, marked

from qarib_tasks import pipeline
from qarib_tasks.config.evaluation import SOURCE
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.machines.backend import Work, run_to_end
from qarib_tasks.machines.local import LocalProcessBackend
from qarib_tasks.runs.prepare import prepare
from tests.support.airflow_runs import (
    LOCAL,
    SKIPPED,
    TINY,
    checksums_of,
    examples,
    finish,
    objects,
    require_objects_as_in_manifests,
    require_success,
)
from tests.support.users.exposure import command_lines_with, public_ports

# Of two sources, so that the corpus gives a task.
NAMES = ("muwatta", "tweets")
TWO = TINY | {"sources": [{"name": name, "path": str(SAMPLE / f"{name}.txt")} for name in NAMES]}


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    home, environment = tmp_path_factory.mktemp("stack"), {"QARIB_RETRY_SECONDS": "1"}
    with LocalStack(home, environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def require_private(stack: LocalStack) -> None:
    """Another user of this machine reaches no port, and finds no secret."""
    processes = marked(stack.marker)
    assert len(processes) > 5
    assert public_ports(processes) == []
    token = stack.emulator.rpartition("/")[2]
    tpu_token = stack.environment["CLOUD_TPU_EMULATOR_HOST"].partition("@")[0]
    assert command_lines_with(processes, (token, tpu_token, stack.password)) == []
    assert stack.home.stat().st_mode & 0o077 == 0
    # Not even its owner finds it there.
    logs = [path.read_text(errors="replace") for path in stack.logs.glob("*.log")]
    assert not [text for text in logs if stack.password in text]


def test_the_whole_way_twice_and_without_airflow(stack: LocalStack, tmp_path: Path) -> None:
    run_id, tasks = finish(stack, TWO)
    require_success(stack, tasks)
    run = demo.read_run(stack, run_id)
    shards = {t["rendered_map_index"] for t in tasks if t["task_id"] == "shard.upload"}
    assert shards == {t["rendered_map_index"] for t in tasks if t["task_id"] == "shard.convert"}
    assert shards == {*(f"shard_000{number}" for number in range(4)), "heldout/shard_0000"}
    require_objects_as_in_manifests(run)
    evaluations = sorted(run.model.bert_evals.glob("evaluation-*.json"))
    results = {result["step"]: result for result in (json.loads(path.read_text()) for path in evaluations)}
    assert results[30]["masked_lm_loss"] < results[0]["masked_lm_loss"]
    for step in (0, 30):
        (task,) = results[step]["tasks"]
        assert (task["name"], task["labels"]) == (SOURCE, list(NAMES))
    assert run.model.name_of(run.model.task(SOURCE)) in objects(run)
    collect = stack.task_log(next(t for t in tasks if t["task_id"] == "collect"))
    assert "no task emoji@corpus: it needs 3 labels" in collect
    train = stack.task_log(next(t for t in tasks if t["task_id"] == "train"))
    assert "(v5litepod-8) in us-central1-a trains" in train
    assert "the training succeeded" in train
    links = stack.api("GET", f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/train/links")["extra_links"]
    assert links == {"Cloud TPUs": None, "TensorBoard logs": None}  # Google's console knows no emulator.
    preflight = stack.task_log(next(t for t in tasks if t["task_id"] == "preflight"))
    assert "vocab_size = 800   <- from the form" in preflight
    assert "max_seq_length = 64\n" in preflight

    require_private(stack)

    # The same again: the same names, and not an object is written.
    before = {name: blob.generation for name, blob in objects(run).items()}
    again_id, again = finish(stack, TWO)
    require_success(stack, again)
    assert demo.read_run(stack, again_id) == run
    assert {name: blob.generation for name, blob in objects(run).items()} == before
    start = datetime.fromisoformat(stack.run(demo.DAG, again_id)["start_date"])
    rows = demo.made_rows(run.dataset, run.model, [blob.updated for blob in objects(run).values()], start)
    assert rows["Made in this run"] == "nothing"
    for task in again:
        if task["task_id"] == "shard.upload":
            assert "0 files uploaded, 2 already" in stack.task_log(task)

    # A wrong setting: the run fails at once, in words, without a retry.
    failed_id, failed = finish(stack, TWO | {"max_seq_length": 600})
    assert stack.run(demo.DAG, failed_id)["state"] == "failed"
    assert {t["task_id"]: t["try_number"] for t in failed if t["state"] == "failed"} == {"preflight": 1}
    fault = "max_seq_length 600 is above model.max_position_embeddings 128"
    assert fault in demo.failure(stack, failed)
    # The reason is where people and programs look for it.
    preflight_of_it = f"dags/{demo.DAG}/dagRuns/{failed_id}/taskInstances/preflight"
    kept = stack.api("GET", f"{preflight_of_it}/xcomEntries/qarib_reason?deserialize=true")["value"]
    assert fault in str(kept)
    note = stack.run(demo.DAG, failed_id)["note"]
    assert note.startswith("× preflight failed: ")
    assert fault in note
    assert f"/dags/{demo.DAG}/runs/" in note
    assert stack.run(demo.DAG, run_id)["note"] is None

    # Without Airflow, in another place: the same vocabulary, shards and examples.
    upload = replace(run.config.upload, prefix="elsewhere/")
    other = prepare(replace(run.config, workspace=str(tmp_path), upload=upload))
    with pytest.raises(StopBeforeTraining):
        pipeline.run_all(other, stop_before_training)
    assert other.dataset_id == run.dataset_id
    for path in [other.dataset.vocab, *other.dataset.root.rglob("shards/shard_*")]:
        assert path.read_bytes() == (run.dataset.root / path.relative_to(other.dataset.root)).read_bytes()
    records = sorted(other.dataset.root.rglob("*.tfrecord"))
    assert len(records) == len(shards)
    for path in records:
        theirs = run.dataset.root / path.relative_to(other.dataset.root)
        assert examples(path) == examples(theirs) != []
    assert checksums_of(run, run.dataset.name, ".tfrecord") == checksums_of(
        other, run.dataset.name, ".tfrecord"
    )

    # Nothing in the log of a deprecated interface.
    logs = [stack.task_log(task) for task in tasks]
    logs += [path.read_text(errors="replace") for path in stack.logs.glob("*.log")]
    warnings = [line for log in logs for line in log.splitlines() if "eprecat" in line or "RemovedIn" in line]
    assert not warnings


class StopBeforeTraining(Exception):
    pass


def stop_before_training(work: Work) -> None:
    raise StopBeforeTraining


OWN_PROCESS = ("train", "evaluate", "export")
# A plugin: a task may be over in a tenth of a second, so the first try of each step waits until it is killed.
HOLD = f"""
import pathlib, signal
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

class Hold:
    @hookimpl
    def on_task_instance_running(self, previous_state, task_instance):
        one = task_instance
        is_first = one.try_number == 1 and (one.map_index or 0) <= 0
        if is_first and one.task_id not in {OWN_PROCESS} and pathlib.Path(__file__).exists():
            signal.pause()

class Plugin(AirflowPlugin):
    name = "hold"
    listeners = [Hold()]
"""


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """That plugin, beside ours. Without its file, it does nothing."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for path in (REPOSITORY / "plugins").glob("qarib_*"):
        (folder / path.name).symlink_to(path)
    (folder / "hold.py").write_text(HOLD, encoding="utf-8")
    return folder / "hold.py"


@pytest.mark.slow
def test_a_task_killed_in_each_step(
    hold: Path, tmp_path: Path, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of each step's first try is killed; the end result has the bytes of an undisturbed run."""
    environment = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(hold.parent), "QARIB_RETRY_SECONDS": "1"}
    with LocalStack(tmp_path / "stack", environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        require_bytes_of_undisturbed(stack, hold, tmp_path / "undisturbed")


def require_bytes_of_undisturbed(stack: LocalStack, hold: Path, workspace: Path) -> None:
    run_id = stack.trigger(demo.DAG, LOCAL)
    killed: set[str] = set()
    database = sqlite3.connect(f"file:{stack.home}/airflow.db?mode=ro", uri=True, timeout=60)
    state = "SELECT state FROM dag_run WHERE run_id = ?"
    running = (
        "SELECT task_id, pid FROM task_instance "
        "WHERE run_id = ? AND state = 'running' AND pid > 0 AND map_index <= 0 AND try_number = 1"
    )
    while database.execute(state, (run_id,)).fetchone()[0] not in ("success", "failed"):
        for step, process in database.execute(running, (run_id,)).fetchall():
            if step not in killed and is_at_work(stack, step):
                os.kill(process, signal.SIGKILL)
                killed.add(step)
        stack.check()
        time.sleep(0.1)
    database.close()
    tasks = stack.task_instances(demo.DAG, run_id)
    require_success(stack, tasks)
    # No process runs `shards_ended`.
    assert killed == {t["task_id"] for t in tasks} - {*SKIPPED, "shards_ended"} <= set(demo.STEPS)
    assert {t["task_id"] for t in tasks if t["try_number"] > 1} == killed
    hold.unlink()
    again_id, again = finish(stack, LOCAL)
    require_success(stack, again)
    run = demo.read_run(stack, again_id)
    require_objects_as_in_manifests(run)

    upload = replace(run.config.upload, prefix="undisturbed/")
    other = prepare(replace(run.config, workspace=str(workspace), upload=upload))
    pipeline.run_all(other, lambda work: run_to_end(LocalProcessBackend(), work))
    for name in (run.dataset.name, f"{run.model.name}export/"):
        suffixes = (".tfrecord", ".txt", ".safetensors", "tokenizer.json", "config.json")
        disturbed, undisturbed = (checksums_of(r, name, *suffixes) for r in (run, other))
        assert disturbed == undisturbed
        assert disturbed


def is_at_work(stack: LocalStack, step: str) -> bool:
    """For the trainer: its own process is there, so that the retry has something to adopt."""
    if step not in OWN_PROCESS:
        return True
    return any(stack.workspace.glob(f"models/*/{step}.process.json"))


@pytest.mark.slow
def test_a_training_marked_failed_is_stopped(stack: LocalStack) -> None:
    """As when a person clicks "mark as failed": the trainer is gone before the run is over."""
    run_id = stack.trigger(demo.DAG, LOCAL | {"train_steps": 1_000_000})
    while not (progress := sorted(stack.workspace.glob("models/*/progress.json"))):
        assert stack.run(demo.DAG, run_id)["state"] in ("queued", "running")
        time.sleep(1)
    work = Work("train", (), progress[0].parent)
    backend = LocalProcessBackend()
    assert backend.status(work).state == "running"
    path = f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/train"
    stack.api("PATCH", path, json={"new_state": "failed"})
    while backend.status(work).state == "running":
        time.sleep(0.2)
    # Ended from outside, and not for want of a follower: this test is one.
    assert backend.status(work).state == "lost"
    while stack.run(demo.DAG, run_id)["state"] not in ("success", "failed"):
        time.sleep(1)
    states = {t["task_id"]: t["state"] for t in stack.task_instances(demo.DAG, run_id)}
    assert states["train"] == "failed"
    assert states["evaluate"] == "upstream_failed"
