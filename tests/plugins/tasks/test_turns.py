"""When another run still needs what this one waits for, by what Airflow says of it; and waiting for it.

Covers plugins/qarib_airflow/tasks/turn_trigger.py.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from qarib_airflow.tasks import turn_trigger, turns
from qarib_airflow.tasks.turn_trigger import TurnTrigger

from qarib_tasks.runs.turns import Claim, take

DAG = "qarib_pretrain"


class Airflow:
    """Answers as Airflow's API does to a task.

    Attributes:
        active: the runs that are queued or running.
        states: of tasks, by run.
        asked: how often it was asked for states.
    """

    def __init__(self) -> None:
        self.active = {"a"}
        self.states: dict[str, dict[str, str | None]] = {}
        self.asked = 0

    def task_states(self, dag_id: str, *, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        self.asked += 1
        return {
            run_id: {task: state for task, state in self.states[run_id].items() if task in task_ids}
            for run_id in run_ids
            if run_id in self.states
        }

    def runs(self, dag_id: str, *, run_ids: list[str], states: list[str]) -> int:
        assert states == ["queued", "running"]
        return len(self.active & set(run_ids))

    def is_over(self, kind: str, **states: str | None) -> bool:
        self.states["a"] = states
        return turns.OVER[kind](claim("a"))


def claim(run_id: str, hour: int = 1) -> Claim:
    return Claim(dag_id=DAG, run_id=run_id, started=f"2026-12-01T{hour:02}:00:00+00:00")


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    airflow = Airflow()
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(airflow.task_states))
    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(airflow.runs))
    return airflow


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running", "up_for_retry", "deferred"])
def test_a_dataset_that_is_not_published_yet(airflow: Airflow, state: str | None) -> None:
    assert not airflow.is_over("dataset", publish=state)


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", "skipped", "removed"])
def test_a_dataset_is_over_also_if_a_person_marked_it(airflow: Airflow, state: str) -> None:
    assert airflow.is_over("dataset", publish=state)


def test_a_run_that_ended_or_was_deleted(airflow: Airflow) -> None:
    airflow.active = set()
    assert airflow.is_over("dataset", publish=None)
    assert airflow.is_over("model", train="failed", delete_tpu=None, finetuning_table=None)
    assert airflow.is_over("tpu", train="scheduled")
    airflow.states = {}
    assert turns.OVER["model"](claim("a"))


def test_a_run_that_was_marked_while_its_tpu_is_being_deleted(airflow: Airflow) -> None:
    airflow.active = set()
    assert not airflow.is_over("model", train="failed", delete_tpu="running", finetuning_table=None)


def test_a_model_is_over_when_its_last_file_is_made_and_its_tpu_deleted(airflow: Airflow) -> None:
    assert not airflow.is_over("model", train="success", delete_tpu="success", finetuning_table=None)
    assert not airflow.is_over("model", train="success", delete_tpu="running", finetuning_table="skipped")
    assert airflow.is_over("model", train="success", delete_tpu="success", finetuning_table="skipped")
    assert not airflow.is_over("model", train="up_for_retry", delete_tpu=None, finetuning_table=None)


@pytest.mark.parametrize(
    ("state", "over"),
    [(None, False), ("scheduled", False), ("queued", False), ("running", True), ("deferred", True)],
)
def test_a_place_in_the_queue_is_over_when_the_training_starts(
    airflow: Airflow, state: str | None, over: bool
) -> None:
    assert airflow.is_over("tpu", train=state) == over


def test_the_trigger_logs_each_place_and_fires(
    airflow: Airflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(turn_trigger, "POLL_SECONDS", 0.0)
    names = ("a", "b", "c", "d")
    for hour, name in enumerate(names):
        take(tmp_path, "tpu", claim(name, hour), lambda _: False)
    airflow.active = set(names)
    airflow.states = {name: {"train": None} for name in names}
    trigger = TurnTrigger(
        "tpu", (DAG, "c"), [(DAG, "a"), (DAG, "b")], "waits for a TPU", str(tmp_path), "tpu"
    )
    _, arguments = trigger.serialize()
    trigger = TurnTrigger(**arguments)

    async def followed() -> None:
        events = trigger.run()
        fired = asyncio.ensure_future(anext(events))
        for name in ("a", "b"):
            asked = airflow.asked
            while airflow.asked < asked + 4:  # Two looks: one more logs nothing new.
                await asyncio.sleep(0)
            assert not fired.done()
            airflow.states[name] = {"train": "deferred"}
        await fired

    asyncio.run(asyncio.wait_for(followed(), 60))
    assert re.findall(r"Waits for a TPU, place .*: after \w", capsys.readouterr().out) == [
        "Waits for a TPU, place 2 of 3: after b",
    ]


def test_a_run_ahead_that_was_over_and_is_cleared(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims again, and waits for this one: the two must not wait for each other."""
    monkeypatch.setattr(turn_trigger, "POLL_SECONDS", 0.0)
    airflow.active = {"a"}  # And b is marked as failed.
    airflow.states = {name: {"publish": None} for name in ("a", "b")}
    trigger = TurnTrigger("dataset", (DAG, "c"), [(DAG, "a"), (DAG, "b")], "waits", "/not/here", "x")

    async def followed() -> None:
        fired = asyncio.ensure_future(anext(trigger.run()))  # type: ignore[arg-type]
        while airflow.asked < 4:
            await asyncio.sleep(0)
        airflow.active = {"b"}
        await fired

    asyncio.run(asyncio.wait_for(followed(), 60))


def test_the_task_claims_again_after_an_hour(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_trigger, "LONGEST_WAIT_SECONDS", 0.0)
    airflow.states = {"a": {"publish": None}}
    trigger = TurnTrigger("dataset", (DAG, "c"), [(DAG, "a")], "waits", "/not/here", "x")
    asyncio.run(asyncio.wait_for(anext(trigger.run()), 60))  # type: ignore[arg-type]
    assert airflow.asked == 1


def test_an_api_that_does_not_answer_is_asked_again(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(turn_trigger, "POLL_SECONDS", 0.0)
    answers = iter([ConnectionError("no answer"), {}])

    def task_states(*_: Any, **__: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(task_states))
    trigger = TurnTrigger("dataset", (DAG, "b"), [(DAG, "a")], "waits", "/not/here", "x")
    airflow.active = set()
    asyncio.run(asyncio.wait_for(anext(trigger.run()), 60))  # type: ignore[arg-type]
    assert "Cannot read the states of other runs, trying again: no answer" in capsys.readouterr().out
