"""Sixty shards of which ten go wrong, in a real Airflow: the run, the repair, and the training after it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import REPOSITORY, LocalStack

from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from tests.support.airflow_runs import LOCAL

pytestmark = pytest.mark.slow
BACKFILL = "qarib_backfill_shards"
CONF = LOCAL | {"shard_lines": 79, "train_steps": 4, "num_warmup_steps": 1, "save_checkpoints_steps": 4}
SHARDS, HELD_OUT = 60, 3
UNREADABLE, KILLED = ("shard_0020", "shard_0021"), ("shard_0022", "shard_0023")
MISSING, TRUNCATED, OVERWRITTEN = (0, 1), (2, 3), (4, 5)
DAMAGED = (*MISSING, *TRUNCATED, *OVERWRITTEN)

# Python loads it in every process of the stack: what a converter meets when it opens a shard to read it, or
# the file that it writes.
FAULTS = """
import errno, json, os, signal, sys

def strike(event, arguments):
    if event != "open" or "/datasets/" not in str(arguments[0]):
        return
    frame = sys._getframe()
    while frame and not frame.f_code.co_filename.endswith("/conversion/convert.py"):
        frame = frame.f_back
    if not frame:
        return
    folder, _, name = str(arguments[0]).rpartition("/")
    with open(os.environ["CONVERTER_FAULTS"]) as file:
        faults = json.load(file)
    if folder.endswith("/shards") and name in faults["unreadable"]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), name)
    if any(name.startswith(f".{shard}.tfrecord.qarib-") for shard in faults["killed"]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(strike)
"""


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(FAULTS, encoding="utf-8")
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"unreadable": UNREADABLE, "killed": KILLED}))
    return path


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    airflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: Path,
) -> Iterator[LocalStack]:
    environment = {
        "PYTHONPATH": os.pathsep.join([str(faults.parent / "python"), str(REPOSITORY)]),
        "CONVERTER_FAULTS": str(faults),
        "QARIB_RETRY_SECONDS": "1",
        "QARIB_RUN_DEADLINE_HOURS": "0.001",
    }
    home = tmp_path_factory.mktemp("stack")
    with LocalStack(home, environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def wait(stack: LocalStack, dag: str, run_id: str) -> dict[str, dict[str, Any]]:
    """The task instances by name and shard, once the run is over."""
    while stack.run(dag, run_id)["state"] not in ("success", "failed"):
        time.sleep(1)
    tasks = stack.task_instances(dag, run_id)
    return {f"{t['task_id']} {label(t)}": t for t in tasks}


def label(task: dict[str, Any]) -> str:
    """A task that was killed, or never began, has its number in place of its name."""
    number = task["map_index"]
    if number < 0:
        return str(number)
    name = str(task["rendered_map_index"] or number)
    return f"shard_{number:04d}" if name == str(number) else name


def until(stack: LocalStack, reached: Callable[[], Any]) -> None:
    while not reached():
        stack.check()
        time.sleep(0.2)


def damage(bucket: Bucket, dataset: str) -> None:
    """As an accident in the bucket would: each object after its upload."""

    def name(shard: int) -> str:
        return f"{dataset}pretraining_data/shard_{shard:04d}.tfrecord"

    for shard in MISSING:
        bucket.delete(name(shard))
    for shard in (*TRUNCATED, *OVERWRITTEN):
        blob = bucket.get(name(shard))
        assert blob is not None
        data = blob.download_as_bytes()
        changed = data[: len(data) // 2] if shard in TRUNCATED else data[:-1] + bytes([data[-1] ^ 1])
        blob.upload_from_string(changed)


def generations(run: Run) -> dict[str, int]:
    assert run.address
    names = Bucket(run.address + run.dataset.name).list("pretraining_data/")
    return {name: blob.generation for name, blob in names.items() if name.endswith(".tfrecord")}


def test_ten_of_sixty_shards(stack: LocalStack, faults: Path) -> None:
    bucket = Bucket(f"gs://{stack.bucket}/")
    run_id = stack.trigger(demo.DAG, CONF)

    def uploaded() -> set[str]:
        assert stack.run(demo.DAG, run_id)["state"] in ("queued", "running")
        tasks = stack.task_instances(demo.DAG, run_id)
        done = [t for t in tasks if t["task_id"] == "shard.upload" and t["state"] == "success"]
        return {f"shard_{shard:04d}" for shard in DAMAGED} - {t["rendered_map_index"] for t in done}

    until(stack, lambda: not uploaded())
    run = demo.read_run(stack, run_id)
    damage(bucket, run.dataset.name)
    tasks = wait(stack, demo.DAG, run_id)

    # The run names the four and why, the others are uploaded; the audit names the six.
    assert sum(name.startswith("shard.convert") for name in tasks) == SHARDS
    failed = {name.split()[1] for name, t in tasks.items() if "convert" in name and t["state"] == "failed"}
    assert failed == {*UNREADABLE, *KILLED}
    assert {name.split()[1] for name, t in tasks.items() if "upload" in name and t["state"] == "success"} == {
        name.split()[1] for name in tasks if "upload" in name
    } - failed
    # What cannot be read is not tried again, what was killed is.
    tries = {shard: tasks[f"shard.convert {shard}"]["try_number"] for shard in failed}
    assert tries == dict.fromkeys(UNREADABLE, 1) | dict.fromkeys(KILLED, 4)
    assert {tasks[name]["state"] for name in ("train -1", "prepare_tpu -1", "publish -1")} == {
        "upstream_failed"
    }
    log = stack.task_log(tasks["dataset -1"])
    assert f"10 of {SHARDS} shards are incomplete or damaged" in log
    for shard in UNREADABLE:
        assert f"{shard}: cannot be read: Input/output error" in log
    for shard in KILLED:
        assert f"shards/{shard}: its conversion did not finish (began " in log
    for shard in DAMAGED:
        what = "bucket has no" if shard in MISSING else "bucket's"
        assert f"shards/shard_{shard:04d}: the {what} pretraining_data/shard_{shard:04d}" in log
    conf = json.dumps({"dataset": run.dataset_id, "workspace": run.config.workspace})
    assert f"airflow dags trigger {BACKFILL} --conf '{conf}'" in log
    shard_log = stack.task_log(tasks[f"shard.convert {UNREADABLE[0]}"])
    assert f"To repair shards/{UNREADABLE[0]}: " in shard_log
    assert f'"shards": ["shards/{UNREADABLE[0]}"]' in shard_log

    # The repair: eight of the ten, and nothing else is touched.
    faults.write_text(json.dumps({"unreadable": UNREADABLE, "killed": []}))
    before = generations(run)
    repaired = wait(stack, BACKFILL, stack.trigger(BACKFILL, {"dataset": run.dataset_id}))
    assert sum(name.startswith("shard.convert") for name in repaired) == 10
    log = stack.task_log(repaired["dataset -1"])
    assert f"2 of {SHARDS} shards are incomplete or damaged" in log
    assert all(f"{shard}: cannot be read" in log for shard in UNREADABLE)
    now = generations(run)
    whole = set(before) - {f"pretraining_data/shard_{shard:04d}.tfrecord" for shard in DAMAGED}
    assert len(whole) == SHARDS - HELD_OUT - 10
    assert {name: now[name] for name in whole} == {name: before[name] for name in whole}
    assert len(now) == SHARDS - HELD_OUT - len(UNREADABLE)

    # The inputs mended and it run again, the training starts.
    faults.write_text(json.dumps({"unreadable": [], "killed": []}))
    again = wait(stack, BACKFILL, stack.trigger(BACKFILL, {"dataset": run.dataset_id}))
    assert {t["state"] for t in again.values()} == {"success"}
    assert sum(name.startswith("shard.convert") for name in again) == 2
    assert {name: generation for name, generation in generations(run).items() if name in now} == now
    statistics = Manifest.read(run.dataset.manifest).statistics
    assert (statistics["shards"], statistics["missing_shards"]) == (SHARDS - HELD_OUT, [])
    training = stack.trigger(demo.DAG, CONF | {"dataset": run.dataset_id})

    def trained() -> bool:
        assert stack.run(demo.DAG, training)["state"] in ("queued", "running", "success")
        states = {t["task_id"]: t["state"] for t in stack.task_instances(demo.DAG, training)}
        return states.get("train") == "success"

    until(stack, trained)

    # Each run was past its deadline, and somebody was told.
    told = f"{demo.DAG}: the run {run_id} did not finish by its deadline"
    assert any(told in path.read_text(errors="replace") for path in stack.logs.rglob("*.log"))
