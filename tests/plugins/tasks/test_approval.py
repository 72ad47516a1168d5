"""What a task does with an answer; a real Airflow asks in tests/end_to_end/tasks/test_approval.py."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from qarib_airflow.reporting.notifier import question
from qarib_airflow.tasks.approval import APPROVE, REFUSE, AskingOperator, PrepareTpuOperator, lowest

from qarib_tasks.errors import ConfigError


class Stored(dict[str, Any]):
    """Airflow's store of a task's state, which outlives its tries."""

    set = dict.__setitem__


class Fails(AskingOperator):
    """As when the bucket does not answer after the approval."""

    def answered(self, context: Any, *, approved: bool, why: str, is_late: bool, **kept: Any) -> Any:
        raise OSError(why, approved, kept)


def context_of(store: Stored, max_tries: int = 3) -> Any:
    return {"task_state_store": store, "ti": SimpleNamespace(max_tries=max_tries)}


def event(option: str) -> dict[str, Any]:
    user = {"id": "7", "name": "jane"}
    return {
        "chosen_options": [option], "params_input": {}, "responded_at": datetime.now(UTC),
        "responded_by_user": user, "timedout": False,
    }  # fmt: skip


@pytest.mark.parametrize(("option", "approved"), [(APPROVE, True), (REFUSE, False)])
def test_a_retry_keeps_the_answer_and_a_clear_does_not(option: str, approved: bool) -> None:
    operator, store = Fails(task_id="promote"), Stored()
    assert operator.earlier_answer(context_of(store)) is None
    with pytest.raises(OSError, match="by jane"):
        operator.execute_complete(context_of(store), event(option), hours=2.0, instead_of="old")
    answer = operator.earlier_answer(context_of(store))
    assert answer
    assert (answer["approved"], answer["instead_of"], answer["is_late"]) == (approved, "old", False)
    # Airflow increases the number when a user clears the task.
    assert operator.earlier_answer(context_of(store, max_tries=7)) is None


def test_no_answer_in_time() -> None:
    operator, store = Fails(task_id="promote"), Stored()
    with pytest.raises(OSError, match=r"no answer within 0\.5 hours"):
        operator.execute_complete(context_of(store), {"error": "x", "error_type": "timeout"}, hours=0.5)


def test_a_task_that_asks_keeps_its_time_limit() -> None:
    from qarib_airflow.defaults import DEFAULT_ARGS, TIMEOUT

    assert PrepareTpuOperator(task_id="x", **DEFAULT_ARGS).execution_timeout == TIMEOUT


@pytest.mark.parametrize(
    ("own", "deployed", "limit"),
    [(None, None, None), (5.0, None, 5.0), (None, 3, 3.0), (100.0, "3.5", 3.5), (1.0, 3, 1.0)],
)
def test_a_run_cannot_raise_the_deployment_s_limit(own: float | None, deployed: Any, limit: Any) -> None:
    assert lowest(own, deployed) == limit
    with pytest.raises(ConfigError, match="qarib_tpu: approval_above is not a number: 'much'"):
        lowest(own, "much")


def test_the_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/airflow")
    task = Fails(task_id="promote")
    task.subject, task.body = "Promote new\ninstead of old?", "| a |"
    ti = SimpleNamespace(dag_id="qarib_pretrain", run_id="manual__1+2", task_id="promote")
    context: Any = {"ti": ti, "task": task}
    address = (
        "https://example.org/airflow/dags/qarib_pretrain/runs/manual__1%2B2/tasks/promote/required_actions"
    )
    assert question(context).splitlines() == [
        "qarib_pretrain: promote waits for an approval",
        "Promote new instead of old?",
        "Run: manual__1+2",
        f"To answer within 1 hours: {address}",
        "",
        "| a |",
    ]
