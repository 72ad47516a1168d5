"""A listener: when a run starts, it keeps the pools of the run's tasks as Airflow's database has them.

A task cannot read pools, and Airflow lets tasks of a pool that was deleted wait without a word. Airflow calls
this in the scheduler. Like `qarib_plugin`, this file is loaded once by each of Airflow's processes, and
imports nothing of ours: a task that is forked later must not find old modules.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

KEY = "qarib_pools"  # the XCom
# The task that keeps it, by DAG. The scheduler itself marks it as done, so no start of it removes the XCom.
KEEPERS = {
    **dict.fromkeys(("qarib_pretrain", "qarib_retrain", "qarib_backfill_shards"), "shards_ended"),
    "qarib_check": "trainings",
}


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if dag_run.dag_id in KEEPERS and session is not None:
        _keep(session, dag_run.dag_id, dag_run.run_id)


def _keep(session: Any, dag_id: str, run_id: str) -> None:
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    rows = session.execute(
        select(TaskInstance.task_id, TaskInstance.pool, Pool.slots, Pool.include_deferred)
        .outerjoin(Pool, Pool.pool == TaskInstance.pool)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .distinct()
    ).all()
    pools = {row.pool: {"slots": row.slots, "include_deferred": row.include_deferred} for row in rows}
    pools.pop(Pool.DEFAULT_POOL_NAME, None)
    # A run of an older version of the DAG can lack the task, and the scheduler must not fail for that.
    keeper = KEEPERS[dag_id]
    if pools and keeper in {row.task_id for row in rows}:
        # Not serialized: tasks read the column as it is, which is JSON already.
        XComModel.set(
            KEY, pools, dag_id=dag_id, task_id=keeper, run_id=run_id, serialize=False, session=session
        )


LISTENERS: list[object] = [sys.modules[__name__]]


class QaribPools(AirflowPlugin):
    """Keeps the pools of a run's tasks for the run's checks."""

    name = "qarib_pools"
    listeners = LISTENERS
