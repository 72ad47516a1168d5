"""The version of the code that a run starts with, and a warning in tasks that run with another."""

from __future__ import annotations

import logging
import os
from typing import Any

from qarib_airflow.defaults import RUN_TASK
from qarib_airflow.reporting import reasons
from qarib_tasks.storage.records import made_by
from qarib_tasks.storage.records.made_by import VARIABLE, code_version

log = logging.getLogger(__name__)
KEY = "qarib_code"


def compare(ti: Any) -> None:
    """Keep the version at the run's first task; warn in a later one if it has changed, as after a clear.

    The version of the DAG bundle is used if that of our own code is unknown.
    """
    bundle = getattr(getattr(ti, "bundle_instance", None), "version", None)
    if bundle and not (os.environ.get(VARIABLE) or made_by.OF_CODE):
        os.environ[VARIABLE] = bundle  # Also for the trainer's process.
    if ti.map_index >= 0 and ti.try_number == 1:
        return  # Not a request for each shard (docs/adr/0005).
    version = code_version()
    if not version:
        return
    if ti.task_id == RUN_TASK:
        ti.xcom_push(KEY, version)
        return
    started = ti.xcom_pull(task_ids=RUN_TASK, key=KEY)
    if isinstance(started, str) and started != version:
        log.warning("%s", text(started, version))
        reasons.remark(ti, text(started, version))


def text(started: str, now: str) -> str:
    return (
        f"The run was started with the code {started}, and a later task runs with {now}. To make all of it "
        "with one version, trigger the DAG again"
    )
