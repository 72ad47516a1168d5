"""The run of a task, from the XCom of the run's first task, without an edge to it in the DAG's graph."""

from __future__ import annotations

from typing import Any

from airflow.sdk import get_current_context

from qarib_airflow.defaults import RUN_TASK
from qarib_tasks.runs.run import Run


def current_values() -> dict[str, Any]:
    """Return the run of the task that calls this, as a dictionary."""
    values: dict[str, Any] = get_current_context()["ti"].xcom_pull(task_ids=RUN_TASK)
    return values


def current_run() -> Run:
    """Return the run of the task that calls this."""
    return Run.from_dict(current_values())
