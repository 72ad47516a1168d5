"""Several runs at once in a real Airflow: on two datasets, with the same settings, and in a pool of chips.

Covers plugins/qarib_airflow/tasks/in_turn.py.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import REPOSITORY, LocalStack

from qarib_tasks.layout import MEMORY
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.tpu.api.client import CloudTpuClient
from tests.support.airflow_runs import LOCAL, TINY, require_objects_as_in_manifests, require_success

pytestmark = pytest.mark.slow
POOL = "qarib_tpu"
CANDIDATE = ("promote", "skipped")
WAITS = "waits for a TPU, place"
TRAINER = "train.process.json"  # beside a model that is trained on this machine
QUICK = {"QARIB_TURN_SECONDS": "1", "QARIB_RETRY_SECONDS": "1", "QARIB_TPU_POOL": POOL}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[LocalStack]:
    home = tmp_path_factory.mktemp("stack")
    with (
        LocalStack(home, environment=QUICK, database=airflow_database) as stack,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        stack.tpu_faults.write_text(json.dumps({"scale": 0.01}), encoding="utf-8")
        assert f"pool {POOL}: created, 2 slots" in set_up(stack, 2)
        yield stack


def set_up(stack: LocalStack, chips: int) -> list[str]:
    """What `qarib airflow-init` does and says."""
    environment = stack.environment | {
        "QARIB_TPUS_AT_ONCE": str(chips),
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
    }
    command = [sys.executable, "-m", "qarib_airflow.deployment.setup"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=stack.home)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def wait(stack: LocalStack, reached: Callable[[], Any]) -> Any:
    while not (result := reached()):
        stack.check()
        time.sleep(1)
    return result


def ended(stack: LocalStack, run_ids: list[str]) -> bool:
    return all(stack.run(demo.DAG, run_id)["state"] in ("success", "failed") for run_id in run_ids)


def tasks_of(stack: LocalStack, run_id: str) -> dict[str, dict[str, Any]]:
    """The task instances that are not mapped, by name; all succeeded. A model may stay a candidate."""
    tasks = stack.task_instances(demo.DAG, run_id)
    require_success(stack, [task for task in tasks if (task["task_id"], task["state"]) != CANDIDATE])
    return {task["task_id"]: task for task in tasks if task["map_index"] < 0}


def states_of(stack: LocalStack, run_id: str) -> set[tuple[str, str]]:
    return {(task["task_id"], task["state"]) for task in stack.task_instances(demo.DAG, run_id)}


def at(task: dict[str, Any], what: str) -> datetime:
    return datetime.fromisoformat(task[f"{what}_date"])


def memories(run: Run) -> list[str]:
    """The TPU jobs of a model."""
    return [name for name in Bucket(f"{run.address}{run.model.name}").list("") if name.endswith(MEMORY)]


def history(run: Run) -> list[dict[str, Any]]:
    text = Bucket(f"{run.address}{run.model.name}").read_text("bert_model/history.jsonl") or ""
    return [json.loads(line) for line in text.splitlines()]


def waits(stack: LocalStack, run_id: str) -> str:
    """What the page says that a run waits for, in its table and above its training."""
    found = page(stack, "runs")["runs"]
    (in_table,) = [run.get("waits") or "" for run in found if run["run_id"] == run_id]
    return str(in_table)


def page(stack: LocalStack, name: str) -> dict[str, Any]:
    answer = stack._client.get(f"/qarib/data/{name}")
    answer.raise_for_status()
    return dict(answer.json())


def trained_from_to(run: Run) -> tuple[float, float]:
    """When the process of a training on this machine began and ended, in seconds since 1970."""
    record = run.model.root / TRAINER
    ticks = json.loads(record.read_text(encoding="utf-8"))["started"]
    # psutil.boot_time() is in whole seconds.
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK"), record.stat().st_mtime


def test_two_datasets_at_once(stack: LocalStack) -> None:
    """The second is made while the first trains; one machine trains one after the other."""
    first = stack.trigger(demo.DAG, LOCAL)
    wait(stack, lambda: ("train", "running") in states_of(stack, first))
    record = demo.read_run(stack, first).model.root / TRAINER
    wait(stack, record.exists)
    trainer = json.loads(record.read_text(encoding="utf-8"))["pid"]
    os.killpg(trainer, signal.SIGSTOP)  # However long the second takes, the first still trains.
    second = stack.trigger(demo.DAG, LOCAL | {"vocab_size": 700})
    wait(stack, lambda: waits(stack, second).startswith("waits for its turn"))
    os.killpg(trainer, signal.SIGCONT)
    wait(stack, lambda: ended(stack, [first, second]))
    tasks = [tasks_of(stack, run_id) for run_id in (first, second)]
    runs = [demo.read_run(stack, run_id) for run_id in (first, second)]
    assert len({run.dataset_id for run in runs}) == 2
    for run in runs:
        require_objects_as_in_manifests(run)
    assert at(tasks[1]["publish"], "end") < at(tasks[0]["train"], "end")
    (_, end), (start, _) = (trained_from_to(run) for run in runs)
    assert end <= start + 0.1
    assert "waits for its turn: this machine is at work on demo-" in stack.task_log(tasks[1]["train"])


def test_the_same_settings_at_once(stack: LocalStack) -> None:
    """Each shard is converted once, and the model has one TPU; the other run finds both."""
    slots(stack, 0)  # Until the second run waits for it, the first does not train.
    first, second = (stack.trigger(demo.DAG, TINY | {"vocab_size": 600}) for _ in range(2))
    texts: set[str] = set()

    def one_waits() -> bool:
        texts.update(waits(stack, run_id) for run_id in (first, second))
        return any("that trains" in text for text in texts)

    wait(stack, one_waits)
    slots(stack, 2)
    wait(stack, lambda: ended(stack, [first, second]))
    tasks = [tasks_of(stack, run_id) for run_id in (first, second)]
    run, same = (demo.read_run(stack, run_id) for run_id in (first, second))
    assert run == same
    require_objects_as_in_manifests(run)
    assert f"waits for another run that makes {run.dataset_id}" in texts
    assert f"waits for another run that trains {run.model_id}" in texts
    # One trained after the other had ended: it made no request for a TPU.
    assert len(memories(run)) == 1
    assert [line["step"] for line in history(run)] == sorted({line["step"] for line in history(run)})
    logs = [stack.task_log(one["sources"]) for one in tasks]
    assert sum("place 2 of 2" in log for log in logs) == 1, logs
    # All that is made was made by one of the two, before the other began.
    later = max(tasks, key=lambda one: at(one["sources"], "end"))
    made = [run.dataset.data, run.dataset.vocab, *map(run.dataset.shard, ["shards/shard_0000"])]
    made += [run.dataset.tfrecord(name) for name in ("shards/shard_0000", "heldout/shards/shard_0000")]
    begins = at(later["sources"], "end").timestamp()
    late = [
        path
        for one in made
        for path in (one, manifest_of(one))
        if path.exists() and path.stat().st_mtime > begins
    ]
    assert late == []
    assert "already converted" in "".join(
        stack.task_log(task)
        for task in stack.task_instances(demo.DAG, later["sources"]["dag_run_id"])
        if task["task_id"] == "shard.convert"
    )


def test_three_trainings_in_a_pool_of_one(stack: LocalStack) -> None:
    """They train in the order of their starts, one at a time. The log and the page show their places."""
    assert f"pool {POOL}: changed, 1 slot" in set_up(stack, 1)
    data = ("sources", "shard_lines", "dupe_factor", "vocab_size")
    conf = {name: value for name, value in TINY.items() if name not in data}
    conf["dataset"] = demo.read_run(stack, _made(stack)).dataset_id
    slots(stack, 0)
    none = (
        f": the pool {POOL} has 0 slots, so none of its tasks start. Give it slots in Airflow: Admin, Pools"
    )
    tpus = CloudTpuClient("emulator", endpoint=stack.environment["CLOUD_TPU_EMULATOR_HOST"])
    runs: list[str] = []
    for number in (1, 2, 3):
        runs.append(stack.trigger(demo.DAG, conf | {"learning_rate": number * 1e-4}))
        # The first waits in the pool, the others for it.
        wait(stack, lambda: waits(stack, runs[-1]) == f"{WAITS} {len(runs)} of {len(runs)}{none}")
    # Those that came first learn of the third when they look again.
    places = [f"{WAITS} {place} of 3{none}" for place in (1, 2, 3)]
    wait(stack, lambda: [waits(stack, run_id) for run_id in runs] == places)
    assert tpus.queued_resources() == []

    # A person deletes the pool: the page says so, and a further run does not even begin.
    stack.api("DELETE", f"pools/{POOL}")
    wait(stack, lambda: f"the pool {POOL} does not exist" in waits(stack, runs[0]))
    late = stack.trigger(demo.DAG, conf)
    wait(stack, lambda: ended(stack, [late]))
    note = stack.run(demo.DAG, late)["note"]
    assert note.startswith(f"× preflight failed: the pool {POOL}: does not exist"), note
    assert "qarib airflow-init" in note
    failed = [task for task in stack.task_instances(demo.DAG, late) if task["state"] == "failed"]
    assert [(task["task_id"], task["try_number"]) for task in failed] == [("preflight", 1)]
    assert f"pool {POOL}: created, 1 slot" in set_up(stack, 1)
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, len(tpus.queued_resources()))
        return ended(stack, runs)

    wait(stack, over)
    assert most == 1
    assert [stack.run(demo.DAG, run_id)["state"] for run_id in runs] == ["success"] * 3
    assert f"⚠ the pool {POOL}: has 0 slots" in stack.run(demo.DAG, runs[0])["note"]
    tasks = [{t["task_id"]: t for t in stack.task_instances(demo.DAG, run_id)} for run_id in runs]
    for before, after in itertools.pairwise(tasks):
        assert at(before["train"], "end") <= at(after["train"], "start")
    logs = [stack.task_log(one["prepare_tpu"]) for one in tasks]
    assert f"First in the queue for the pool {POOL}: place 1 of 1" in logs[0]
    assert f"Waits for a TPU, place 3 of 3: after {runs[1]}" in logs[2]
    assert f"Waits for a TPU, place 2 of 2: after {runs[1]}" in logs[2]


def slots(stack: LocalStack, number: int) -> None:
    """Change the pool as a person does in Airflow."""
    stack.api("PATCH", f"pools/{POOL}", json={"pool": POOL, "slots": number, "include_deferred": True})


def _made(stack: LocalStack) -> str:
    """A run that has made a dataset: of another test, if there is one."""
    found = stack.api("GET", f"dags/{demo.DAG}/dagRuns", params={"state": "success", "limit": 1})
    for run in found["dag_runs"]:
        return str(run["dag_run_id"])
    made = stack.trigger(demo.DAG, TINY)
    wait(stack, lambda: ended(stack, [made]))
    return made
