"""Two labelled tasks × two seeds as mapped tasks in a real Airflow: one fails, is named, and is cleared."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks.storage.bucket import Bucket
from tests.support.airflow_runs import LOCAL

pytestmark = pytest.mark.slow
ALL = {f"{task}, seed {seed}" for task in ("sentiment", "dialect") for seed in (1, 2)}
FAILS = "sentiment, seed 2"


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("stack"), database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def texts(path: Path) -> str:
    """A file of texts whose label follows from their words."""
    kinds = {"good": "جميل رائع حسن سعيد", "bad": "قبيح سيئ حزين مؤلم"}
    rows = [
        (f"{word} {other} {number}", label)
        for label, words in kinds.items()
        for word in words.split()
        for other in words.split()
        for number in range(4)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def by_label(stack: LocalStack, run_id: str, task_id: str = "finetune") -> dict[str, dict[str, Any]]:
    tasks = stack.task_instances(demo.DAG, run_id)
    return {t["rendered_map_index"]: t for t in tasks if t["task_id"] == task_id}


def state(stack: LocalStack, run_id: str, task_id: str) -> str:
    tasks = stack.task_instances(demo.DAG, run_id)
    return next(t["state"] for t in tasks if t["task_id"] == task_id and t["map_index"] < 0)


def finish(stack: LocalStack, run_id: str) -> str:
    while (reached := stack.run(demo.DAG, run_id)["state"]) not in ("success", "failed"):
        stack.check()
        time.sleep(1)
    return str(reached)


def table(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["tasks"]}


def test_a_seed_that_fails_is_named_and_completes_the_table_when_it_is_cleared(stack: LocalStack) -> None:
    stack.workspace.mkdir(parents=True, exist_ok=True)
    train = texts(stack.workspace / "train.csv")
    conf = LOCAL | {
        "tasks": [{"name": name, "train": train} for name in ("sentiment", "dialect")],
        "finetune_seeds": 2,
        "xla": "false",
    }
    run_id = stack.trigger(demo.DAG, conf)
    while state(stack, run_id, "preflight") != "success":
        assert stack.run(demo.DAG, run_id)["state"] in ("queued", "running")
        time.sleep(0.2)
    run = demo.read_run(stack, run_id)
    stranger = run.model.finetuning_result("sentiment", 2)
    stranger.parent.mkdir(parents=True)
    stranger.write_text('{"mine": true}\n', encoding="utf-8")

    assert finish(stack, run_id) == "failed"
    tasks = by_label(stack, run_id)
    assert tasks.keys() == ALL
    assert {label: task["state"] for label, task in tasks.items()} == {
        label: "failed" if label == FAILS else "success" for label in ALL
    }
    assert tasks[FAILS]["try_number"] == 1  # a retry cannot mend it
    log = stack.task_log(tasks[FAILS])
    assert f"{stranger}: exists and was not made by qarib" in log
    assert "Task failed: seed-2: failed, its last lines:" in log
    assert "InputError" not in log  # no traceback
    assert stranger.read_text(encoding="utf-8") == '{"mine": true}\n'
    found = table(run.model.finetuning_table)
    assert {name: entry["missing"] for name, entry in found.items()} == {"sentiment": [2], "dialect": []}
    assert [one["seed"] for one in found["dialect"]["seeds"]] == [1, 2]
    assert found["dialect"]["sd"] is not None
    (summary,) = by_label(stack, run_id, "finetuning_table").values()
    assert "fine-tunings without a result: sentiment, seed 2" in stack.task_log(summary)
    assert summary["try_number"] == 1
    # What was made before stays, and the model is promoted.
    assert (state(stack, run_id, "promote"), state(stack, run_id, "export")) == ("success", "success")
    assert "## Fine-tuning" in run.model.model_card.read_text(encoding="utf-8")
    results = {path: path.read_bytes() for path in run.model.bert_evals.glob("finetuning/*/[0-9]*.json")}
    assert len(results) == 4

    stranger.unlink()
    body = {"dry_run": False, "only_failed": True, "dag_run_id": run_id, "reset_dag_runs": True}
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=body)
    assert finish(stack, run_id) == "success"
    tasks = by_label(stack, run_id)
    assert {task["state"] for task in tasks.values()} == {"success"}
    assert {label for label, task in tasks.items() if task["try_number"] > 1} == {FAILS}
    found = table(run.model.finetuning_table)
    assert {name: entry["missing"] for name, entry in found.items()} == {"sentiment": [], "dialect": []}
    assert found["sentiment"]["mean"] == pytest.approx(
        sum(one["value"] for one in found["sentiment"]["seeds"]) / 2
    )
    del results[stranger]
    assert {path: path.read_bytes() for path in results} == results

    # The bucket has the table, the results, and the model card.
    assert run.address
    objects = Bucket(run.address + run.model.name).list()
    for path in (run.model.finetuning_table, stranger, run.model.model_card, *results):
        name = path.relative_to(run.model.root).as_posix()
        assert objects[name].size == path.stat().st_size, name
