"""The page's guard: only users who can read the DAG, its runs, and its tasks can see the page."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends

DAG_ID = "qarib_pretrain"
CHECK = "qarib_check"
# The DAGs whose runs the page shows, each to the users who can read it.
DAG_IDS = (DAG_ID, "qarib_retrain")

may_read_dag = requires_access_dag("GET", param_dag_id=DAG_ID)
may_read_runs = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)
may_read_tasks = requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE, param_dag_id=DAG_ID)
GUARD = (Depends(may_read_dag), Depends(may_read_runs), Depends(may_read_tasks))


def may_trigger(user: Any, dag_id: str = DAG_ID) -> bool:
    """Whether a user may start runs of a DAG."""
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
    )


def may_clear(user: Any, dag_id: str) -> bool:
    """Whether a user may clear the tasks of one of our DAGs."""
    return dag_id in DAG_IDS and get_auth_manager().is_authorized_dag(
        method="PUT", access_entity=DagAccessEntity.TASK_INSTANCE, details=DagDetails(id=dag_id), user=user
    )


def may_note(user: Any, dag_id: str) -> bool:
    """Whether a user may write the notes of a DAG's runs."""
    return get_auth_manager().is_authorized_dag(
        method="PUT", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
    )


def readable_dags(user: Any) -> list[str]:
    """The DAGs of `DAG_IDS` whose runs a user can read."""
    manager = get_auth_manager()
    return [
        dag_id
        for dag_id in DAG_IDS
        if all(
            manager.is_authorized_dag(
                method="GET", access_entity=entity, details=DagDetails(id=dag_id), user=user
            )
            for entity in (None, DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
        )
    ]
