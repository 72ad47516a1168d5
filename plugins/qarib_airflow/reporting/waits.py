"""What a run waits for, kept in an XCom by the task that waits, and its place in a queue, for the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger(__name__)
KEY = "qarib_waits"
DAGS = ("qarib_pretrain", "qarib_retrain")  # those that train
TRAIN = "train"
WAITING = ("deferred", "up_for_reschedule", "awaiting_input")
IN_POOL = ("scheduled", "queued")
NO_POOL = "default_pool"
TPU = "tpu"
MOST_CHARACTERS = 300
# What is wrong with a pool, and what to do.
NOT_THERE = "does not exist, so Airflow starts none of its tasks"
MAKE_POOL = "Run `qarib airflow-init` where Airflow runs, or make it in Airflow: Admin, Pools"
NO_SLOTS = "has 0 slots, so none of its tasks start"
ADD_SLOTS = "Give it slots in Airflow: Admin, Pools"


@dataclass(frozen=True)
class Kept:
    """What a task kept of what its run waits for.

    Attributes:
        since: of a queue: when the run joined it, in ISO format and UTC; empty if not known.
    """

    kind: str
    text: str
    since: str = ""


def keep(ti: Any, kind: str, text: str, since: str = "") -> None:
    """Keep what a task waits for. If that fails, the log has a warning.

    Args:
        kind: `tpu` for the queue of trainings; the page shows the place in it.
        since: of a queue: when the run joined it.
    """
    try:
        ti.xcom_push(KEY, {"kind": kind, "text": text[:MOST_CHARACTERS], "since": since})
    except Exception as error:
        log.warning("Could not keep for the page what the run waits for: %s", error)


def kept(session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """What these runs wait for, by DAG and run; a run that waits for nothing is left out."""
    troubles = _troubles(session)
    found: dict[tuple[str, str], str] = {}
    ahead = _in_pool(session)
    joined = []
    for row in _waiting(session):
        one = _value(row)
        key = (row.dag_id, row.run_id)
        if one.kind == TPU:
            joined.append((one.since or _start(row), *key))
        elif one.text and row.dag_id in dag_ids and row.run_id in run_ids:
            found[key] = one.text
    for dag_id, run_id, pool in _in_broken_pool(session, troubles):
        found[dag_id, run_id] = f"waits for a slot: {troubles[pool]}"
    # The others wait for the one that is in the pool.
    trouble = next((f": {troubles[row.pool]}" for row in ahead if row.pool in troubles), "")
    queue = [(row.dag_id, row.run_id) for row in ahead]
    queue += [(dag_id, run_id) for _, dag_id, run_id in sorted(joined)]
    for place, key in enumerate(queue, start=1):
        found[key] = f"waits for a TPU, place {place} of {len(queue)}{trouble}"
    return {key: text for key, text in found.items() if key[0] in dag_ids and key[1] in run_ids}


def _start(row: Any) -> str:
    """As `since` has it."""
    start: datetime = row.start_date or datetime.max.replace(tzinfo=UTC)
    return start.astimezone(UTC).isoformat()


def _troubles(session: Any) -> dict[str, str]:
    """What is wrong with the pools of waiting tasks, by name."""
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    wanted = (
        select(TaskInstance.pool, Pool.slots)
        .outerjoin(Pool, Pool.pool == TaskInstance.pool)
        .where(TaskInstance.dag_id.in_(DAGS), TaskInstance.state == "scheduled")
        .distinct()
    )
    pools = dict(session.execute(wanted).all())
    texts = {None: f"{NOT_THERE}. {MAKE_POOL}", 0: f"{NO_SLOTS}. {ADD_SLOTS}"}
    return {name: f"the pool {name} {texts[slots]}" for name, slots in pools.items() if slots in texts}


def _in_broken_pool(session: Any, troubles: Mapping[str, str]) -> list[Any]:
    """The runs of which a task waits for a slot of one of these pools."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    if not troubles:
        return []
    wanted = (
        select(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.pool)
        .where(TaskInstance.dag_id.in_(DAGS), TaskInstance.state == "scheduled")
        .where(TaskInstance.pool.in_(troubles))
        .distinct()
    )
    return list(session.execute(wanted).all())


def _in_pool(session: Any) -> list[Any]:
    """The trainings that have, or wait for, a slot of a pool of their own, in the scheduler's order.

    One that is queued has its slot, and starts. Which one has the next slot: see
    `SchedulerJobRunner._executable_task_instances_to_queued`. A triggered run has no logical date, and each
    database has its own place for that, so it sorts here as it does there.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, case, select

    of_run = and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id)
    wanted = (
        select(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.pool)
        .join(DagRun, of_run)
        .where(TaskInstance.dag_id.in_(DAGS), TaskInstance.task_id == TRAIN, DagRun._state == "running")
        .where(TaskInstance.state.in_(IN_POOL), TaskInstance.pool != NO_POOL)
        .order_by(
            case((TaskInstance.state == "queued", 0), else_=1),
            -TaskInstance.priority_weight,
            DagRun.logical_date,
            TaskInstance.map_index,
        )
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


def _value(row: Any) -> Kept:
    """What a task kept; empty if it cannot be read: who may write XComs can put anything there."""
    from airflow.models.xcom import XComModel

    try:
        value = XComModel.deserialize_value(row)
    except Exception as error:
        log.warning("%s %s: the XCom %s cannot be read: %r", row.dag_id, row.run_id, KEY, error)
        return Kept("", "")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("kind", "text")):
        return Kept("", "")
    since = value.get("since")
    return Kept(value["kind"], value["text"][:MOST_CHARACTERS], since if isinstance(since, str) else "")
