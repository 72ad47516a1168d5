"""A listener: a run's note says why it failed and what its tasks remarked, below what people wrote there.

Airflow calls it where it sets the state of a run: in the scheduler, or where a person marks the run. Like
`qarib_plugin`, this file is loaded once by each of Airflow's processes, and imports nothing of ours: a task
that is forked later must not find old modules.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.configuration import conf

DAGS = (
    *("qarib_pretrain", "qarib_retrain", "qarib_backfill_shards"),
    *("qarib_clean_up", "qarib_reap_tpus", "qarib_check"),
)
REASON = "qarib_reason"  # the XCom in which a task keeps why it failed
REMARKS = "qarib_remark"  # the XCom in which a task keeps what people should read, whether it failed or not
# The first characters of our part of a note, which is its end: why the run failed, then the remarks.
MARK, REMARK = "× ", "⚠ "
MOST_CHARACTERS = 1_000  # of a note
UNKNOWN = "no reason is known, for example because its process was killed or a person marked it as failed"


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    _write(dag_run)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    _write(dag_run)


def _write(dag_run: Any) -> None:
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if dag_run.dag_id not in DAGS or session is None:
        return
    reason = _reason(session, dag_run.dag_id, dag_run.run_id) if dag_run.state == "failed" else ""
    ours = [reason, *_remarks(session, dag_run.dag_id, dag_run.run_id)]
    note = joined(dag_run.note or "", "\n".join(filter(None, ours)))
    if note != (dag_run.note or ""):
        dag_run.note = note


def _reason(session: Any, dag_id: str, run_id: str) -> str:
    """What the first failed task that kept a reason says, or which task failed first; empty if none did."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, select

    names = ("dag_id", "run_id", "task_id", "map_index")
    same = (getattr(XComModel, name) == getattr(TaskInstance, name) for name in names)
    row = session.execute(
        select(XComModel.task_id, XComModel.map_index, XComModel.value)
        .join(TaskInstance, and_(*same))
        .where(XComModel.key == REASON, XComModel.dag_id == dag_id, XComModel.run_id == run_id)
        .where(TaskInstance.state == "failed")
        .order_by(TaskInstance.end_date, XComModel.map_index)
        .limit(1)
    ).first()
    kept = XComModel.deserialize_value(row) if row else None
    if isinstance(kept, dict) and isinstance(kept.get("what"), str):
        return text(kept, dag_id, run_id, row.task_id, row.map_index)
    failed = session.execute(
        select(TaskInstance.task_id, TaskInstance.map_index)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .where(TaskInstance.state == "failed")
        .order_by(TaskInstance.end_date, TaskInstance.map_index)
        .limit(1)
    ).first()
    return text({"what": UNKNOWN}, dag_id, run_id, failed.task_id, failed.map_index) if failed else ""


def _remarks(session: Any, dag_id: str, run_id: str) -> list[str]:
    """What the tasks of a run remarked, each once."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    rows = session.execute(
        select(XComModel.value)
        .where(XComModel.key == REMARKS, XComModel.dag_id == dag_id, XComModel.run_id == run_id)
        .order_by(XComModel.timestamp)
    ).all()
    values = [XComModel.deserialize_value(row) for row in rows]
    return list(dict.fromkeys(REMARK + " ".join(value.split()) for value in values if isinstance(value, str)))


def text(kept: dict[str, Any], dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """What failed, why, what to do, and where the log is."""
    error = f"{kept['where']}: {kept['what']}" if kept.get("where") else kept["what"]
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    log = f"{base}/dags/{quote(dag_id)}/runs/{quote(run_id)}/tasks/{quote(task_id)}{mapped}"
    lines = [f"{MARK}{task_id} failed: {error}", str(kept.get("do") or ""), f"Log: {log}"]
    return "\n".join(" ".join(line.split()) for line in lines if line)


def joined(note: str, ours: str) -> str:
    """The note with our part at its end, in place of an earlier one; people's part is never cut."""
    lines = note.splitlines()
    marks = [number for number, line in enumerate(lines) if line.startswith((MARK, REMARK))]
    theirs = "\n".join(lines[: marks[0]]).rstrip() if marks else note
    room = MOST_CHARACTERS - len(theirs) - 2
    if not ours or room < len(MARK) + 20:
        return theirs
    return f"{theirs}\n\n{ours[:room]}" if theirs else ours[:MOST_CHARACTERS]


LISTENERS: list[object] = [sys.modules[__name__]]


class QaribRunNote(AirflowPlugin):
    """Writes the reason of a failure, and what tasks remarked, into the run's note."""

    name = "qarib_run_note"
    listeners = LISTENERS
