"""Months gone by, with the command of docs/retraining.md, in a real Airflow to the end of its runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks.dataset.ledger import read_plan
from qarib_tasks.registry.promotion import promoted_model, record_of
from qarib_tasks.runs.run import run_of_dataset
from tests.support.airflow_runs import MONTH, create_backfill
from tests.support.datasets import write_documents

RETRAIN = "qarib_retrain"
DATES = ("--from-date", "2025-02-01T00:00:00+03:00", "--to-date", "2025-03-01T00:00:00+03:00")


@pytest.fixture
def stack(tmp_path: Path, airflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """Re-trains each month, by the clock of Qatar, on the files of that month."""
    month = tmp_path / "workspace" / "text" / "{month}.txt"
    values = {
        "preset": "demo",
        "sources": [{"name": "text", "path": str(month)}],
        "retrain_steps": 30,
        "promotion_margin": 9.0,
    }
    environment = {
        "QARIB_RETRAIN": json.dumps(values),
        "QARIB_RETRAIN_SCHEDULE": "0 0 1 * *",
        "QARIB_TIMEZONE": "Asia/Qatar",
    }
    with LocalStack(tmp_path, environment=environment, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def wait(stack: LocalStack, dag: str, **which: str) -> list[dict[str, Any]]:
    """The runs of a DAG, when all of them have ended."""
    while True:
        stack.check()
        runs: list[dict[str, Any]] = stack.api("GET", f"dags/{dag}/dagRuns", params=which)["dag_runs"]
        if runs and all(run["state"] in ("success", "failed") for run in runs):
            return runs
        time.sleep(1)


@pytest.mark.slow
def test_a_backfill_takes_the_files_of_each_month(stack: LocalStack) -> None:
    text = stack.workspace / "text"
    text.mkdir(parents=True)
    for month, first in ((1, 0), (2, 300), (3, 500)):
        write_documents(text / f"2025-0{month}.txt", first, first + 250)
    source = {"name": "text", "path": str(text / "2025-01.txt")}
    stack.trigger(demo.DAG, MONTH | {"sources": [source]})
    (pretrained,) = wait(stack, demo.DAG)
    assert pretrained["state"] == "success", demo.failure(
        stack, stack.task_instances(demo.DAG, pretrained["dag_run_id"])
    )

    create_backfill(stack, RETRAIN, "--max-active-runs", "1", *DATES)
    runs = wait(stack, RETRAIN, run_type="backfill")
    assert [run["state"] for run in runs] == ["success", "success"]
    starts = sorted(run["data_interval_start"] for run in runs)
    assert starts == ["2025-01-31T21:00:00Z", "2025-02-28T21:00:00Z"]

    model = promoted_model(record_of(stack.workspace, f"gs://{stack.bucket}/"), "demo")
    assert model
    assert model.total_steps == 20 + 30 + 30
    run, months = run_of_dataset(stack.workspace, model.dataset_id), []
    for one in (run, *run.earlier):
        months.append([Path(file.address).name for file in read_plan(one.dataset.sources)])
    assert sorted(months) == [["2025-01.txt"], ["2025-02.txt"], ["2025-03.txt"]]
