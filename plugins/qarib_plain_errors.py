"""A listener: a task logs an error that people can fix as one line.

Airflow calls it in a task's process, before the task. Like `qarib_plugin`, this file is loaded once by each
of Airflow's processes, and imports nothing of ours before that.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

DAGS = "qarib_"  # the first characters of our DAGs' names


@hookimpl
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    if task_instance.dag_id.startswith(DAGS):
        from qarib_airflow.reporting.plain_errors import without_tracebacks

        without_tracebacks()


LISTENERS: list[object] = [sys.modules[__name__]]


class QaribPlainErrors(AirflowPlugin):
    """Logs errors that people can fix without a traceback."""

    name = "qarib_plain_errors"
    listeners = LISTENERS
