"""What a task does with an answer; a real Airflow asks in tests/end_to_end/tasks/test_approval.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qarib_airflow.reporting.notifier import question
from qarib_airflow.tasks import approval
from qarib_airflow.tasks.approval import (
    APPROVE,
    REFUSE,
    AskingOperator,
    PrepareTpuOperator,
    PromoteOperator,
    lowest,
)

from qarib_tasks.config.run import PromotionConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.planning.estimate import estimate
from qarib_tasks.runs.run import Run
from qarib_tasks.tpu.prepare import shape_of
from tests.support.datasets import request


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
    with pytest.raises(ConfigError, match="qarib_tpu: approval_above is not a number: nan"):
        lowest(own, float("nan"))


class Asked(Exception):
    """The question of a task."""


@pytest.mark.parametrize(
    ("cheaper", "deployed"),
    [({"chip_hour_price": 0.001}, {}), ({"share_of_peak": 1.0}, {"share_of_peak": 1e-7})],
)
def test_a_run_s_own_price_does_not_get_around_the_deployment_s_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheaper: dict[str, float], deployed: dict[str, float]
) -> None:
    base = request(tmp_path)

    def run(**tpu: float) -> Run:
        return replace(base, config=replace(base.config, tpu=replace(base.config.tpu, **tpu)))

    estimated = [estimate(shape_of(one), one.config.train, one.config.evaluate, one.config.tpu).cost.high
                 for one in (run(**deployed), run(**cheaper))]  # fmt: skip
    limit = sum(estimated) / 2
    started = run(**cheaper)
    values = {"tpu": {"approval_above": limit, **deployed}}
    for name, value in {
        "current_run": lambda: started, "needs_tpu": lambda *_: True, "is_emulated": lambda _: False,
        "deployment_defaults": lambda: values, "run_addresses": lambda _: {},
    }.items():  # fmt: skip
        monkeypatch.setattr(approval, name, value)
    task = PrepareTpuOperator(task_id="prepare_tpu")

    def ask(context: Any, subject: str, body: str, hours: float) -> None:
        raise Asked(body)

    monkeypatch.setattr(task, "wait_for_turn", lambda *_: None)
    monkeypatch.setattr(task, "ask", ask)
    monkeypatch.setattr(task, "prepared", lambda _: "no question")
    with pytest.raises(Asked, match=r"sets its own price or share of the peak\. At the deployment's: about"):
        task.execute(context_of(Stored()))
    values["tpu"] |= cheaper  # The deployment's own.
    assert task.execute(context_of(Stored())) == "no question"


def test_a_refusal_holds_also_if_the_figures_are_better_in_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = request(tmp_path)
    run = replace(base, config=replace(base.config, promotion=PromotionConfig(approval="worse")))
    monkeypatch.setattr(approval, "current_run", lambda: run)
    monkeypatch.setattr(approval, "_client", lambda: None)
    monkeypatch.setattr(approval.promotion, "question", lambda *_: None)
    task, store, found = PromoteOperator(task_id="promote"), Stored(), []
    monkeypatch.setattr(task, "finish", lambda _, run, answer=None: found.append(answer))
    task.execute_complete(context_of(store), event(REFUSE), hours=2.0, instead_of="old")
    task.execute(context_of(store))
    task.execute(context_of(Stored()))
    assert [answer and answer.approved for answer in found] == [False, False, None]


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
