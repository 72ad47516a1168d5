"""What a run waits for, kept in an XCom by the task that waits, and its place in a queue, for the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger(__name__)
KEY = "qarib_waits"
DAGS = ("qarib_pretrain", "qarib_retrain")  # those that train
TRAIN = "train"
WAITING = ("deferred", "up_for_reschedule")
IN_POOL = ("scheduled", "queued")
NO_POOL = "default_pool"
TPU = "tpu"
MOST_CHARACTERS = 300


def keep(ti: Any, kind: str, text: str) -> None:
    """Keep what a task waits for. If that fails, the log has a warning.

    Args:
        kind: `tpu` for the queue of trainings; the page shows the place in it.
    """
    try:
        ti.xcom_push(KEY, {"kind": kind, "text": text[:MOST_CHARACTERS]})
    except Exception as error:
        log.warning("Could not keep for the page what the run waits for: %s", error)


def kept(session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """What these runs wait for, by DAG and run; a run that waits for nothing is left out."""
    found = {}
    queue: list[tuple[bool, datetime, tuple[str, str]]] = []
    for row in _in_pool(session):
        queue.append((True, _start(row), (row.dag_id, row.run_id)))
    for row in _waiting(session):
        kind, text = _value(row)
        key = (row.dag_id, row.run_id)
        if kind == TPU:
            queue.append((False, _start(row), key))
        elif text and row.dag_id in dag_ids and row.run_id in run_ids:
            found[key] = text
    queue.sort(key=lambda one: (not one[0], one[1], one[2]))
    for place, (_, _, key) in enumerate(queue, start=1):
        if key[0] in dag_ids and key[1] in run_ids:
            found[key] = f"waits for a TPU, place {place} of {len(queue)}"
    return found


def _start(row: Any) -> datetime:
    return row.start_date or datetime.max.replace(tzinfo=UTC)


def _in_pool(session: Any) -> list[Any]:
    """The trainings that wait for a slot of a pool of their own."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    of_run = and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id)
    wanted = (
        select(TaskInstance.dag_id, TaskInstance.run_id, DagRun.start_date)
        .join(DagRun, of_run)
        .where(TaskInstance.dag_id.in_(DAGS), TaskInstance.task_id == TRAIN, DagRun._state == "running")
        .where(TaskInstance.state.in_(IN_POOL), TaskInstance.pool != NO_POOL)
    )
    return list(session.execute(wanted).all())


def _waiting(session: Any) -> list[Any]:
    """The tasks that wait, with what they kept."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, select

    same = [
        getattr(XComModel, name) == getattr(TaskInstance, name)
        for name in ("dag_id", "run_id", "task_id", "map_index")
    ]
    of_run = and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id)
    wanted = (
        select(XComModel.dag_id, XComModel.run_id, XComModel.value, DagRun.start_date)
        .join(TaskInstance, and_(*same))
        .join(DagRun, of_run)
        .where(XComModel.key == KEY, TaskInstance.dag_id.in_(DAGS), TaskInstance.state.in_(WAITING))
        .where(DagRun._state == "running")
    )
    return list(session.execute(wanted).all())


def _value(row: Any) -> tuple[str, str]:
    """The kind and the text; empty if they cannot be read: who may write XComs can put anything there."""
    from airflow.models.xcom import XComModel

    try:
        value = XComModel.deserialize_value(row)
    except Exception as error:
        log.warning("%s %s: the XCom %s cannot be read: %r", row.dag_id, row.run_id, KEY, error)
        return "", ""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("kind", "text")):
        return "", ""
    return value["kind"], value["text"][:MOST_CHARACTERS]
