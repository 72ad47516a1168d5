"""Read runs and their tasks from Airflow's database, with a fixed number of queries."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun, DagRunNote
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import func, select

from qarib_airflow.defaults import RUN_TASK
from qarib_airflow.reporting import reasons, waits
from qarib_tasks.views.many.note import parse_note
from qarib_tasks.views.many.table import Key, Line
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shards import AT_WORK, ShardTask

log = logging.getLogger(__name__)
BACKFILL = "qarib_backfill_shards"
COLUMNS = (
    DagRun.dag_id,
    DagRun.run_id,
    DagRun._state,
    DagRun.start_date,
    DagRun.end_date,
    DagRun.triggering_user_name,
)
NEWEST_FIRST = (DagRun.run_after.desc(), DagRun.id.desc())
MOST_RUNS = 10_000  # in the table of all runs
STEPS = {"shard.convert": "convert", "shard.upload": "upload"}


def runs(
    dag_ids: Sequence[str], *, run_id: str | None = None, limit: int = 20, why: bool = False
) -> list[RunRecord]:
    """The runs of these DAGs, the newest first; with `run_id`, only that run.

    Args:
        why: also why tasks failed or were skipped.
    """
    wanted = select(*COLUMNS).where(DagRun.dag_id.in_(dag_ids))
    if run_id is not None:
        wanted = wanted.where(DagRun.run_id == run_id)
    return _records(wanted.order_by(*NEWEST_FIRST).limit(limit), why=why)


def records(keys: Sequence[Key]) -> list[RunRecord]:
    """These runs, by DAG and run, in any order."""
    dag_ids, run_ids = ({key[index] for key in keys} for index in (0, 1))
    wanted = select(*COLUMNS).where(DagRun.dag_id.in_(dag_ids), DagRun.run_id.in_(run_ids))
    return [one for one in _records(wanted, why=True) if (one.dag_id, one.run_id) in set(keys)]


def lines(dag_ids: Sequence[str]) -> list[Line]:
    """All runs of these DAGs, the newest first, from one query without their tasks."""
    with create_session() as session:
        found = session.execute(
            select(*COLUMNS, DagRunNote.content)
            .outerjoin(DagRunNote, DagRunNote.dag_run_id == DagRun.id)
            .where(DagRun.dag_id.in_(dag_ids))
            .order_by(*NEWEST_FIRST)
            .limit(MOST_RUNS)
        ).all()
    return [
        Line(
            dag_id=dag_id,
            run_id=run_id,
            state=str(state or ""),
            started=started,
            ended=ended,
            user=user or "",
            note=parse_note(note),
        )
        for dag_id, run_id, state, started, ended, user, note in found
    ]


def note_of(dag_id: str, run_id: str) -> str:
    """A run's note, as Airflow has it now."""
    return notes_of([(dag_id, run_id)]).get((dag_id, run_id), "")


def notes_of(keys: Sequence[Key]) -> dict[Key, str]:
    """The notes of these runs, by DAG and run, and perhaps of others; a run without one is left out."""
    dag_ids, run_ids = ({key[index] for key in keys} for index in (0, 1))
    with create_session() as session:
        found = session.execute(
            select(DagRun.dag_id, DagRun.run_id, DagRunNote.content)
            .join(DagRun, DagRunNote.dag_run_id == DagRun.id)
            .where(DagRun.dag_id.in_(dag_ids), DagRun.run_id.in_(run_ids))
        ).all()
    return {(row[0], row[1]): row[2] for row in found if row[2]}


def _records(wanted: Any, *, why: bool) -> list[RunRecord]:
    with create_session() as session:
        found = session.execute(wanted).all()
        dag_ids, run_ids = (sorted({row[index] for row in found}) for index in (0, 1))
        values = _values(session, dag_ids, run_ids)
        steps = _steps(session, dag_ids, run_ids)
        kept = reasons.kept(session, dag_ids, run_ids) if why else {}
        waiting = waits.kept(session, dag_ids, run_ids) if why else {}
    return [
        RunRecord(
            dag_id=row.dag_id,
            run_id=row.run_id,
            state=str(row[2] or ""),
            started=row.start_date,
            ended=row.end_date,
            user=row.triggering_user_name or "",
            values=values.get((row.dag_id, row.run_id), {}),
            steps=steps.get((row.dag_id, row.run_id), {}),
            reasons=kept.get((row.dag_id, row.run_id), ()),
            waits=waiting.get((row.dag_id, row.run_id), ""),
        )
        for row in found
    ]


def conf_of(dag_id: str, run_id: str) -> Mapping[str, Any]:
    """What a run was triggered with."""
    with create_session() as session:
        found = session.scalar(select(DagRun.conf).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return found if isinstance(found, Mapping) else {}


def _values(session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]) -> dict[tuple[str, str], Any]:
    """The resolved run that the first task of each run returned, by DAG and run; None if it cannot be read.

    Who may write XComs can put anything there.
    """
    try:
        return _read_values(session, dag_ids, run_ids)
    except (RecursionError, ValueError):  # One of them, while the rows are read.
        if len(run_ids) < 2:
            return {(dag_id, run_id): None for dag_id in dag_ids for run_id in run_ids}
        parts = [_values(session, dag_ids, [run_id]) for run_id in run_ids]
        return {key: value for part in parts for key, value in part.items()}


def _read_values(session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]) -> dict[tuple[str, str], Any]:
    found = session.execute(
        select(XComModel.dag_id, XComModel.run_id, XComModel.value).where(
            XComModel.dag_id.in_(dag_ids),
            XComModel.run_id.in_(run_ids),
            XComModel.task_id == RUN_TASK,
            XComModel.key == "return_value",
            XComModel.map_index == -1,
        )
    )
    return {(row.dag_id, row.run_id): _value(row) for row in found}


def _value(row: Any) -> Any:
    try:
        return XComModel.deserialize_value(row)
    except Exception as error:
        log.warning("%s %s: the XCom of %s cannot be read: %r", row.dag_id, row.run_id, RUN_TASK, error)
        return None


def _steps(
    session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]
) -> dict[tuple[str, str], dict[str, dict[str, int]]]:
    """The number of task instances by DAG run, task, and state."""
    found = session.execute(
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.state,
            func.count().label("number"),
        )
        .where(TaskInstance.dag_id.in_(dag_ids), TaskInstance.run_id.in_(run_ids))
        .group_by(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state)
    )
    steps: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in found:
        steps[row.dag_id, row.run_id][row.task_id][row.state or "none"] = row.number
    return steps


def shard_tasks(dag_id: str, run_id: str) -> list[ShardTask]:
    """The mapped tasks of a run's shards, from one query."""
    with create_session() as session:
        found = session.execute(
            select(
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance.try_number,
                TaskInstance.start_date,
                TaskInstance.end_date,
                TaskInstance._rendered_map_index,
            ).where(
                TaskInstance.dag_id == dag_id,
                TaskInstance.run_id == run_id,
                TaskInstance.task_id.in_(STEPS),
                TaskInstance.map_index >= 0,
            )
        ).all()
    return [
        ShardTask(
            step=STEPS[row.task_id],  # type: ignore[arg-type]
            map_index=row.map_index,
            state=row.state,
            tries=row.try_number or 0,
            started=_seconds(row.start_date),
            ended=_seconds(row.end_date),
            label=row[6],
        )
        for row in found
        if row.state != "removed"
    ]


def repairs(dataset_id: str | None) -> list[ShardTask]:
    """The active tasks of running backfills for a dataset's shards, from one query."""
    with create_session() as session:
        found = session.execute(
            select(
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance._rendered_map_index,
                DagRun.conf,
            )
            .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
            .where(
                DagRun.dag_id == BACKFILL,
                DagRun._state == "running",
                TaskInstance.task_id.in_(STEPS),
                TaskInstance.state.in_(AT_WORK),
            )
        ).all()
    return [
        ShardTask(STEPS[row.task_id], row.map_index, row.state, label=row[3])  # type: ignore[arg-type]
        for row in found
        if isinstance(row.conf, Mapping) and row.conf.get("dataset") == dataset_id
    ]


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
