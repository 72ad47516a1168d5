"""The log of a training, and the request to stop it; a part of the page's application."""

from __future__ import annotations

import logging
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request, Response

from qarib_airflow.page import answers
from qarib_airflow.page.answers import answer, answer_of, files_of, place_of, run_of
from qarib_airflow.page.guard import may_clear
from qarib_airflow.page.threads import in_time
from qarib_tasks.errors import StorageError
from qarib_tasks.layout import STOP
from qarib_tasks.runs.stopping import MOST_CHARACTERS, request_name, request_text
from qarib_tasks.storage.files import write_text
from qarib_tasks.tpu.api.request import resource_name
from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shapes import parsed
from qarib_tasks.views.training_log import log_view, tpu_folder

log = logging.getLogger(__name__)
router = APIRouter()


@router.get("/data/log")
async def training_log(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        return log_view(record, files, resource_name) | {"may_stop": may_stop(user, record)}

    return await answer_of(view, user, dag_id, run_id)


def may_stop(user: Any, record: RunRecord) -> bool:
    """Whether the user may stop the run's training, and there is one to stop."""
    training = record.steps.get("train") or {}
    at_work = any(training.get(state) for state in ("running", "deferred"))
    return record.state == "running" and at_work and may_clear(user, record.dag_id)


@router.post("/data/stop")
async def stop(request: Request, user: GetUserDep, dag_id: str, run_id: str) -> Response:
    """Ask a training to save its state and stop. Airflow then shows the task as failed, by whom.

    A page of another site cannot send this type of content without asking first.

    Raises:
        HTTPException: 403, 404, 409 if no training is at work, 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the request is not JSON")

    def made() -> tuple[RunRecord, Files]:
        record = run_of(user, dag_id, run_id)
        if not may_clear(user, dag_id):
            raise HTTPException(403, "you may not clear the tasks of this DAG, and so not stop them")
        if not may_stop(user, record):
            raise HTTPException(409, "no training of this run is at work")
        return record, files_of(record)

    record, files = await in_time(answers.THREADS.submit(answers.DATABASE, made))
    name = getattr(user, "username", None) or str(user.get_id())
    work = answers.THREADS.submit(place_of(files), request_stop, record, files, name)
    try:
        where = await in_time(work)
    except StorageError as error:
        raise HTTPException(503, error.what) from None
    log.info("%s asked the training of %s to stop: %s", name, run_id, where)
    return answer({"where": where})


def request_stop(record: RunRecord, files: Files, user: str) -> str:
    """Write the request where the training looks for it, and return its address.

    Raises:
        HTTPException: 404 without a model, 503 if neither workspace nor bucket can be written.
    """
    if record.model is None:
        raise HTTPException(404, "the run has no model yet")
    if (folder := tpu_folder(record, files, resource_name)) is not None:
        return _in_bucket(files, f"{folder}{STOP}", user)
    name = request_name(record.model)
    if files.workspace is not None and (files.workspace / name).parent.is_dir():
        try:
            write_text(files.workspace / name, request_text(user))
        except OSError as error:
            raise HTTPException(503, f"the workspace cannot be written ({error.strerror})") from None
        return str(files.workspace / name)
    return _in_bucket(files, name, user)


def asked_by(record: RunRecord, files: Files) -> str | None:
    """Who has asked the training at work to stop; None without such a request."""
    if record.model is None:
        return None
    folder = tpu_folder(record, files, resource_name)
    found = parsed(files.read(f"{folder}{STOP}" if folder else request_name(record.model)))
    by = found.get("by") if isinstance(found, dict) else None
    return by[:MOST_CHARACTERS] if isinstance(by, str) and by else None


def _in_bucket(files: Files, name: str, user: str) -> str:
    if files.bucket is None:
        raise HTTPException(503, "neither the workspace nor a bucket can be written")
    files.bucket.write(name, request_text(user).encode())
    return files.bucket.address + name
