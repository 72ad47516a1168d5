"""People are asked before a training and a promotion, in a real Airflow; and tasks under another code.

Covers plugins/qarib_airflow/tasks/approval.py, plugins/qarib_airflow/reporting/addresses.py,
plugins/qarib_airflow/tasks/code_version.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import demo
import httpx
import pytest
from local_stack import LocalStack

from qarib_tasks.registry.promotion import promoted_model, record_of
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest
from tests.support.airflow_runs import TINY

pytestmark = pytest.mark.slow
OTHER = "other"  # may answer questions, but not these
USERS = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{OTHER}:op",
    # How often the scheduler looks for questions without an answer in time.
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "QARIB_APPROVERS": "admin",
    "QARIB_CODE_VERSION": "one",
    # The deployment's limit; a run cannot raise it.
    "QARIB_TPU": json.dumps({"machine": "cloud_tpu", "poll_seconds": 1.0, "approval_above": 1e-6}),
}
SECOND = 1 / 3600
CONF = TINY | {"train_steps": 10, "save_checkpoints_steps": 10, "approval": "always", "approval_above": 100.0}


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    home = tmp_path_factory.mktemp("stack")
    with LocalStack(home, environment=USERS, database=airflow_database) as stack:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.emulator)
        yield stack


def task_of(stack: LocalStack, run_id: str, task_id: str) -> dict[str, Any]:
    return next(t for t in stack.task_instances(demo.DAG, run_id) if t["task_id"] == task_id)


def until(stack: LocalStack, run_id: str, task_id: str, *states: str) -> None:
    while (task := task_of(stack, run_id, task_id))["state"] not in states:
        run = stack.run(demo.DAG, run_id)["state"]
        assert run in ("queued", "running"), demo.failure(stack, stack.task_instances(demo.DAG, run_id))
        assert task["state"] not in ("failed", "upstream_failed"), stack.task_log(task)
        time.sleep(1)


def end(stack: LocalStack, run_id: str) -> tuple[str, dict[str, str], str]:
    """A run's state, those of its tasks, and its note."""
    while (run := stack.run(demo.DAG, run_id))["state"] not in ("success", "failed"):
        time.sleep(1)
    states = {t["task_id"]: t["state"] for t in stack.task_instances(demo.DAG, run_id)}
    return run["state"], states, run["note"] or ""


def path(run_id: str, task_id: str) -> str:
    return f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"


def question(stack: LocalStack, run_id: str, task_id: str) -> dict[str, Any]:
    """What the task asks, once it waits and holds nothing."""
    until(stack, run_id, task_id, "awaiting_input")
    # Airflow 3.3 takes the end of the process that asked for a failure if the task starts again before the
    # scheduler has noticed that end. A person is slower than that.
    number = task_of(stack, run_id, task_id)["try_number"]
    parts = (f"task_id={task_id}", f"run_id={run_id}", "state=awaiting_input", f"try_number={number}")
    while not any(all(f" {part}," in line for part in parts) for line in ended_processes(stack)):
        stack.check()
        time.sleep(0.3)
    assert stack.api("GET", "pools/default_pool")["occupied_slots"] == 0
    return dict(stack.api("GET", path(run_id, task_id)))


def ended_processes(stack: LocalStack) -> list[str]:
    """The lines of the scheduler about ends of tasks' processes."""
    text = (stack.logs / "scheduler.log").read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if "TaskInstance Finished:" in line]


def answer(stack: LocalStack, run_id: str, task_id: str, option: str) -> None:
    stack.api("PATCH", path(run_id, task_id), json={"chosen_options": [option], "params_input": {}})


@contextmanager
def as_other(stack: LocalStack) -> Iterator[httpx.Client]:
    password = json.loads(stack.passwords.read_text())[OTHER]
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        token = client.post("/auth/token", json={"username": OTHER, "password": password})
        client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        yield client


def tpus(stack: LocalStack) -> set[str]:
    """The jobs of TPUs that were ever requested."""
    return {name for name in Bucket(f"gs://{stack.bucket}/").list() if name.endswith("/memory.json")}


def promoted(stack: LocalStack) -> str:
    found = promoted_model(record_of(stack.workspace, f"gs://{stack.bucket}/"), "demo")
    return found.model_id if found else ""


def clear(stack: LocalStack, run_id: str, task_id: str) -> None:
    values = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True}
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=values | {"only_failed": False})


def kept(stack: LocalStack, run_id: str, task_id: str) -> str:
    entry = f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/qarib_reason"
    return str(stack.api("GET", f"{entry}?deserialize=true")["value"]["what"])


def test_people_decide(stack: LocalStack) -> None:
    # The training: no TPU before the approval, which only those may give who are named.
    first = stack.trigger(demo.DAG, CONF)
    asked = question(stack, first, "prepare_tpu")
    assert asked["subject"].endswith("for more than 0.00 US dollars?")
    assert "The TPU is emulated and costs nothing. A real one:" in asked["body"]
    assert f"/qarib/?dag_id={demo.DAG}&run_id=" in asked["body"]
    assert [user["id"] for user in asked["assigned_users"]] == ["admin"]
    assert tpus(stack) == set()
    with as_other(stack) as client:
        refused = client.patch(
            f"/api/v2/{path(first, 'prepare_tpu')}", json={"chosen_options": ["Approve"], "params_input": {}}
        )
        assert (refused.status_code, "not a respondent" in refused.text) == (403, True)
    stack.kill("triggerer")
    assert task_of(stack, first, "prepare_tpu")["state"] == "awaiting_input"
    answer(stack, first, "prepare_tpu", "Approve")
    # The promotion.
    asked = question(stack, first, "promote")
    run = demo.read_run(stack, first)
    assert asked["subject"] == f"Promote {run.model_id}?"
    loss = Manifest.read(run.model.manifest).statistics["evaluation"]["masked_lm_loss"]
    for text in (f"{loss:.4f}", "The TPU is emulated and costs nothing", "| Text |", r"\[MASK\]"):
        assert text in asked["body"]
    assert len(tpus(stack)) == 1
    assert promoted(stack) == ""
    answer(stack, first, "promote", "Approve")
    state, states, note = end(stack, first)
    assert (state, states["promote"], note) == ("success", "success", "")
    assert promoted(stack) == run.model_id
    assert Manifest.read(run.model.manifest).made_by.endswith(", code one")

    # Another model is refused: it stays a candidate, and the run is a success that says so.
    other = CONF | {"dataset": run.dataset_id, "train_steps": 12, "machine": "local"}
    del other["sources"]
    second = stack.trigger(demo.DAG, other)
    asked = question(stack, second, "promote")
    model_id = demo.read_run(stack, second).model_id
    assert f"Promote {model_id} instead of {run.model_id}" in asked["subject"]
    assert f"{run.model_id} (promoted)" in asked["body"]
    answer(stack, second, "promote", "Refuse")
    state, states, note = end(stack, second)
    assert (state, states["promote"]) == ("success", "skipped")
    assert note.startswith(f"⚠ {model_id} stays a candidate: refused by admin; ")
    assert note.endswith("trigger the DAG again with the same settings: finished work is reused")
    assert kept(stack, second, "promote") in note
    assert promoted(stack) == run.model_id

    # No one answers in time: a candidate, too.
    third = stack.trigger(demo.DAG, other | {"approval_hours": SECOND})
    state, states, note = end(stack, third)
    assert (state, states["promote"], states["train"]) == ("success", "skipped", "success")
    assert f"{model_id} stays a candidate: no answer within" in note
    assert promoted(stack) == run.model_id

    # Cleared, it asks again, without the earlier answer.
    clear(stack, second, "promote")
    assert question(stack, second, "promote")["response_received"] is False
    answer(stack, second, "promote", "Approve")
    state, states, note = end(stack, second)
    assert (state, states["promote"], note) == ("success", "success", "")
    assert promoted(stack) == model_id

    # A training that is refused is not begun, which is no failure.
    longer = CONF | {"dataset": run.dataset_id, "train_steps": 14}
    del longer["sources"]
    fourth = stack.trigger(demo.DAG, longer)
    question(stack, fourth, "prepare_tpu")
    answer(stack, fourth, "prepare_tpu", "Refuse")
    state, states, note = end(stack, fourth)
    assert state == "success"
    reached = ("prepare_tpu", "train", "delete_tpu", "evaluate", "promote", "finetunings", "finetune")
    assert {states[name] for name in reached} == {"skipped"}
    assert note.startswith("⚠ the training was not begun: refused by admin. To be asked again, trigger")
    # One that is not answered fails, with a notification, and is not retried.
    fifth = stack.trigger(demo.DAG, longer | {"tpu_approval_hours": SECOND})
    state, states, note = end(stack, fifth)
    assert (state, states["prepare_tpu"], states["train"]) == ("failed", "failed", "upstream_failed")
    assert task_of(stack, fifth, "prepare_tpu")["try_number"] == 1
    assert note.startswith("× prepare_tpu failed: the training was not begun: no answer within")
    assert len(tpus(stack)) == 1

    # Cleared under another version of the code, and with other approvers: both are said.
    stack.environment |= {"QARIB_CODE_VERSION": "two", "QARIB_APPROVERS": f"admin,{OTHER}"}
    stack.kill("scheduler")
    clear(stack, fifth, "prepare_tpu")
    state, states, note = end(stack, fifth)
    assert state == "failed"
    assert "Airflow keeps the question that this task asked before it was cleared" in note
    said = "The run was started with the code one, and a later task runs with two"
    assert f"⚠ {said}" in note
    assert said in stack.task_log(task_of(stack, fifth, "prepare_tpu"))
    assert len(tpus(stack)) == 1
