"""A listener: a task says so if its run was started with another version of the code.

Airflow calls it in a task's process, before the task. Like `qarib_plugin`, this file is loaded once by each
of Airflow's processes, and imports nothing of ours before that.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

DAGS = ("qarib_pretrain", "qarib_retrain", "qarib_backfill_shards")


@hookimpl
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    if task_instance.dag_id in DAGS:
        from qarib_airflow.tasks.code_version import compare

        compare(task_instance)


LISTENERS: list[object] = [sys.modules[__name__]]


class QaribCodeVersion(AirflowPlugin):
    """Warns of a run whose tasks have different versions of the code."""

    name = "qarib_code_version"
    listeners = LISTENERS
