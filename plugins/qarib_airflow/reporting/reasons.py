"""Why a task failed or was skipped, kept in an XCom for the QARiB page."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from qarib_tasks.errors import QaribError, masked
from qarib_tasks.storage.system_errors import told
from qarib_tasks.views.shapes import REASON, conform
from qarib_tasks.views.way import Reason

log = logging.getLogger(__name__)
KEY = "qarib_reason"
REMARK = "qarib_remark"
MOST_CHARACTERS = 2_000


def keep(ti: Any, reason: BaseException | str | None) -> None:
    """Keep why a task failed, or the text why it is skipped. If that fails, the log has a warning.

    Airflow removes it when the task starts again. None: the task's process is gone, nothing is known, and
    the DAG processor runs the callback, where an XCom gets no answer: it would wait until it is killed.
    """
    if reason is None:
        return
    try:
        ti.xcom_push(KEY, described(reason))
    except Exception as error:
        log.warning("Could not keep the reason for the page: %s", error)


def remark(ti: Any, text: str) -> None:
    """Keep a line for the run's note, which `qarib_run_note` writes when the run ends, however it ends."""
    try:
        ti.xcom_push(REMARK, masked(text)[:MOST_CHARACTERS])
    except Exception as error:
        log.warning("Could not keep the remark for the run's note: %s", error)


def described(reason: BaseException | str) -> dict[str, str | None]:
    """The kind, `failed` or `skipped`; what happened, where, what to do: at most `MOST_CHARACTERS` each."""
    where = do = None
    kind = "skipped" if isinstance(reason, str) else "failed"
    if isinstance(reason, BaseException):
        # A full disk, or a folder that cannot be written, gets an error that says so to people.
        reason = (told(reason) if isinstance(reason, OSError) else None) or reason
        cause = reason.__cause__
        error = cause if isinstance(cause, QaribError) and not isinstance(reason, QaribError) else reason
        if isinstance(error, QaribError):
            what, where, do = error.what, error.where, error.do
        else:
            what = masked(str(error)) or type(error).__name__
    else:
        what = reason
    parts = {"kind": kind, "what": what, "where": where, "do": do}
    return {name: text and text[:MOST_CHARACTERS] for name, text in parts.items()}


def kept(session: Any, dag_ids: Sequence[str], run_ids: Sequence[str]) -> dict[tuple[str, str], list[Reason]]:
    """Why tasks failed or were skipped, by DAG run: of each task, what its first instance kept."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, func, select

    of_task = (XComModel.dag_id, XComModel.run_id, XComModel.task_id)
    first = (
        select(*of_task, func.min(XComModel.map_index).label("map_index"))
        .where(XComModel.dag_id.in_(dag_ids), XComModel.run_id.in_(run_ids), XComModel.key == KEY)
        .group_by(*of_task)
        .subquery()
    )
    instance = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    own = (*of_task, XComModel.map_index)
    found = session.execute(
        select(*own, XComModel.value, TaskInstance.state)
        .join(first, and_(*(one == first.c[one.key] for one in own)))
        .join(TaskInstance, and_(*(one == other for one, other in zip(own, instance, strict=True))))
        .where(XComModel.key == KEY)
    ).all()
    found_reasons: dict[tuple[str, str], list[Reason]] = defaultdict(list)
    for row in found:
        values, _ = conform(_value(row), REASON)
        if what := values.get("what"):
            texts = values.get("kind", ""), what, values.get("where"), values.get("do")
            reason = Reason(row.task_id, row.map_index, row.state, *texts)
            found_reasons[row.dag_id, row.run_id].append(reason)
    return found_reasons


def _value(row: Any) -> Any:
    from airflow.models.xcom import XComModel

    try:
        return XComModel.deserialize_value(row)
    except Exception as error:  # Who may write XComs can put anything there.
        log.warning(
            "%s %s: the XCom %s of %s cannot be read: %r", row.dag_id, row.run_id, KEY, row.task_id, error
        )
        return None
