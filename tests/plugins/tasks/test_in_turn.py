"""A task whose run has to wait: deferred with no slot of a pool, and what it writes only in its turn.

Covers plugins/qarib_airflow/tasks/training.py.
"""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from qarib_airflow.reporting import waits
from qarib_airflow.tasks import in_turn, training
from qarib_airflow.tasks.in_turn import SourcesOperator
from qarib_airflow.tasks.training import TrainOperator, machine_lock

from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Of the tasks of this test. No task of another run has ended, and all runs are active."""
    made = prepare(resolve({"preset": "demo", "workspace": str(tmp_path)}), save=False)
    for module in (in_turn, training):
        monkeypatch.setattr(module, "current_run", lambda: made)
    states = {name: {"publish": None, "train": None} for name in ("first", "second")}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda *_, **__: states)
    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", lambda *_, **__: 1)
    return made


class Context(dict[str, Any]):
    """Of a task of a run.

    Attributes:
        pushed: its XComs.
    """

    def __init__(self, run_id: str, hour: int) -> None:
        self.pushed: dict[str, Any] = {}
        start = datetime(2026, 12, 1, hour, tzinfo=UTC)
        dag_run = SimpleNamespace(dag_id="qarib_pretrain", run_id=run_id, start_date=start, run_after=start)
        ti = SimpleNamespace(xcom_push=self.pushed.__setitem__)
        super().__init__(dag_run=dag_run, ti=ti, run_id=run_id)


def test_the_dataset_has_the_settings_of_the_run_that_makes_it(run: Run) -> None:
    task: Any = SourcesOperator(task_id="sources")
    second = Context("second", 2)
    assert task.execute(Context("first", 1)) == [one.name for one in run.config.collect.sources]
    run.dataset.config.unlink()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(second)
    assert not run.dataset.config.exists()
    text = f"waits for another run that makes {run.dataset_id}"
    since = "2026-12-01T02:00:00+00:00"
    assert second.pushed == {waits.KEY: {"kind": "dataset", "text": text, "since": since}}
    assert deferred.value.method_name == "resume"
    assert deferred.value.trigger.serialize()[1]["ahead"] == [["qarib_pretrain", "first"]]
    # What it waited for is over, but yet another has its turn.
    with pytest.raises(TaskDeferred):
        task.resume(second, {})


def test_a_training_that_was_cleared_while_another_run_trains_the_model(run: Run) -> None:
    task: Any = TrainOperator(task_id="train", job=None)
    training.claim(run, training.of_model(run), Context("first", 1))  # type: ignore[arg-type]
    second = Context("second", 2)
    with pytest.raises(AirflowRescheduleException) as again:
        task.execute(second)
    assert again.value.reschedule_date > datetime.now(UTC)
    assert second.pushed[waits.KEY]["text"] == (
        f"waits for another run that trains {run.model_id}, place 2 of 2"
    )
    assert not run.model.root.exists()


def test_a_machine_that_trains_another_model(run: Run) -> None:
    task: Any = TrainOperator(task_id="train", job=None)
    first = Context("first", 1)
    machine_lock(run).parent.mkdir(parents=True)
    with machine_lock(run).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("demo-1")
        lock.flush()
        with pytest.raises(AirflowRescheduleException):
            task.execute(first)
    text = "waits for its turn: this machine is at work on demo-1"
    assert first.pushed[waits.KEY] == {"kind": "machine", "text": text, "since": ""}
    assert not (run.model.root / "train.process.json").exists()
