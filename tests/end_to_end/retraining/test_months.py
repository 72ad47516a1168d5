"""Three months as partitions in a real Airflow, the middle one late: each is trained once, in order.

Covers plugins/qarib_airflow/tasks/month.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks.dataset.ledger import read_plan
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.promotion import promoted_model, record_of
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.storage.manifest import Manifest
from tests.support.airflow_runs import MONTH, create_backfill
from tests.support.datasets import write_documents

RETRAIN = "qarib_retrain"
ZONE = ZoneInfo("Asia/Qatar")
# A scheduler that starts again finds out sooner than by default that the tasks it had are gone.
SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "QARIB_RETRY_SECONDS": "1",
}
SECONDS = 1200.0


def months() -> tuple[Month, Month, Month]:
    """The last three months that have ended."""
    end, found = datetime.now(ZONE).replace(day=1), []
    for _ in range(3):
        end = (end - timedelta(days=1)).replace(day=1)
        found.append(Month(end.year, end.month))
    third, second, first = found
    return first, second, third


@pytest.fixture
def stack(tmp_path: Path, airflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    values = {
        "preset": "demo",
        "sources": [{"name": "text", "path": str(tmp_path / "workspace" / "text" / "{month}.txt")}],
        "retrain_steps": 10,
        "promotion_margin": 9.0,
        "machine": "local",
    }
    environment = {
        "QARIB_RETRAIN": json.dumps(values),
        "QARIB_RETRAIN_FIRST_MONTH": str(months()[0]),
        "QARIB_RETRAIN_WAIT_SECONDS": "5",
        **SOON,
        "QARIB_TIMEZONE": str(ZONE),
    }
    with LocalStack(tmp_path, environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def wait_until(stack: LocalStack, what: str, is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        stack.check()
        runs = [run for some in runs_by_month(stack).values() for run in some]
        for run in runs:
            if run["state"] == "failed":
                pytest.fail(demo.failure(stack, stack.task_instances(RETRAIN, run["dag_run_id"])))
        assert time.monotonic() < deadline, f"{what}: {runs}"
        time.sleep(1)


def runs_by_month(stack: LocalStack) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for run in stack.api("GET", f"dags/{RETRAIN}/dagRuns", params={"order_by": "id"})["dag_runs"]:
        found.setdefault(run["partition_key"], []).append(run)
    return found


def has_ended(stack: LocalStack, month: Month, count: int = 1) -> bool:
    runs = runs_by_month(stack).get(str(month), [])
    return [run["state"] for run in runs] == ["success"] * count


def waits(stack: LocalStack, month: Month) -> str:
    """What the page says that the month's run waits for; empty while its sensor looks."""
    answer = stack._client.get("/qarib/data/runs")
    answer.raise_for_status()
    found = {run["run_id"]: run.get("waits") for run in answer.json()["runs"]}
    (run,) = runs_by_month(stack)[str(month)]
    return str(found.get(run["dag_run_id"]) or "")


def states(stack: LocalStack, run: dict[str, Any]) -> dict[str, str]:
    tasks = stack.task_instances(RETRAIN, run["dag_run_id"])
    return {task["task_id"]: task["state"] for task in tasks}


def trainings(stack: LocalStack) -> list[tuple[str, str]]:
    """The trainings that succeeded, by their start: the month and when."""
    found = []
    for month, runs in runs_by_month(stack).items():
        for run in runs:
            for task in stack.task_instances(RETRAIN, run["dag_run_id"]):
                if task["task_id"] == "train" and task["state"] == "success":
                    found.append((task["start_date"], month))
    return sorted(found)


def chain(stack: LocalStack) -> list[Run]:
    """The runs of the promoted model's datasets, the first one first."""
    model = promoted_model(record_of(stack.workspace, f"gs://{stack.bucket}/"), "demo")
    assert model
    run = run_of_dataset(stack.workspace, model.dataset_id)
    return [*run.earlier, run]


def backfill(stack: LocalStack, first: Month, last: Month) -> None:
    """Ask for the months again."""
    dates = ("--from-date", f"{first}-01", "--to-date", f"{last}-28")
    create_backfill(stack, RETRAIN, "--max-active-runs", "1000", *dates, "--reprocess-behavior", "completed")


@pytest.mark.slow
def test_a_late_month_is_trained_once_and_before_those_after_it(stack: LocalStack) -> None:
    first, second, third = months()
    text = stack.workspace / "text"
    text.mkdir(parents=True)
    write_documents(text / "first.txt", 0, 250)
    write_documents(text / f"{first}.txt", 300, 550)
    write_documents(text / f"{third}.txt", 700, 950)
    source = {"name": "text", "path": str(text / "first.txt")}
    run_id = stack.trigger(demo.DAG, MONTH | {"sources": [source]})
    # Meanwhile the first month waits for a model.
    wait_until(stack, demo.DAG, lambda: stack.run(demo.DAG, run_id)["state"] in ("success", "failed"))
    assert stack.run(demo.DAG, run_id)["state"] == "success"

    # The scheduler is killed while it trains on the first month, with all that it has started.
    wait_until(
        stack,
        "the first month's training",
        lambda: any(
            states(stack, run).get("train") == "running" for run in runs_by_month(stack).get(str(first), ())
        ),
    )
    stack.kill("scheduler")
    wait_until(stack, "the first month", lambda: has_ended(stack, first))
    # The middle month has no files. The third one has, and waits too.
    assert [Manifest.read(run.dataset.manifest).config.get("partition", "") for run in chain(stack)] == [
        "",
        str(first),
    ]
    waiting = runs_by_month(stack)
    for month in (second, third):
        (run,) = waiting[str(month)]
        assert run["state"] == "running"
        assert states(stack, run)["preflight"] is None
    for month, why in ((second, f"{second} is not complete: "), (third, f"{third} waits for {second}")):
        text_of = f"waits for its month: {why}"
        wait_until(stack, text_of, lambda month=month, text_of=text_of: text_of in waits(stack, month))
    # The first month's run, cleared, has nothing left to do.
    (run,) = waiting[str(first)]
    stack.api("POST", f"dags/{RETRAIN}/dagRuns/{run['dag_run_id']}/clear", json={"dry_run": False})
    wait_until(stack, "the first month again", lambda: has_ended(stack, first))
    assert states(stack, run)["preflight"] == "success"
    assert states(stack, run)["train"] == "skipped"

    late = text / f"{second}.part"
    write_documents(late, 500, 750)
    os.replace(late, text / f"{second}.txt")
    for month in (second, third):
        wait_until(stack, str(month), lambda month=month: has_ended(stack, month))
    backfill(stack, first, third)
    for month in (first, second, third):
        wait_until(stack, f"{month} once more", lambda month=month: has_ended(stack, month, 2))

    assert [month for _, month in trainings(stack)] == [str(second), str(third)], "the first one was cleared"
    runs = chain(stack)
    partitions = [Manifest.read(run.dataset.manifest).config.get("partition", "") for run in runs]
    assert partitions == ["", str(first), str(second), str(third)]
    names = [[Path(file.address).name for file in read_plan(run.dataset.sources)] for run in runs]
    assert names == [["first.txt"], *([f"{month}.txt"] for month in (first, second, third))]
    record = record_of(stack.workspace, f"gs://{stack.bucket}/").read()["presets"]["demo"]
    assert [model["total_steps"] for model in record["judged"]] == [20, 30, 40, 50]
    assert [model["trained_from"] for model in record["judged"][1:]] == [
        model["address"] for model in record["judged"][:-1]
    ]
    assert {month: entry["state"] for month, entry in record["months"].items()} == dict.fromkeys(
        map(str, (first, second, third)), "trained"
    )
