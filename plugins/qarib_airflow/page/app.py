"""The page's web application, which Airflow's api-server mounts at `/qarib`.

Airflow does not guard a plugin's application, so every route here has the guard, including the routes of the
page's files. Answers are JSON; an error says what happened, where, and what to do.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import mimetypes
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from qarib_airflow.page import answers, compare, control, database, lineage, new_run, runs, trial
from qarib_airflow.page.answers import TypedIn, answer, answer_of, before, run_of
from qarib_airflow.page.guard import CHECK, GUARD, may_trigger
from qarib_airflow.page.threads import in_time
from qarib_tasks.errors import QaribError
from qarib_tasks.layout import is_shard
from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.files import Files
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shards import shard_detail, shards_view
from qarib_tasks.views.tasks.view import tasks_view
from qarib_tasks.views.training import training_view

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
# What is after the # of a link, the view, is known to the browser alone: a redirection would lose it.
TO_SIGN_IN = 'location.replace("../api/v2/auth/login?next=" + encodeURIComponent(location.href))'
ENTRANCE = (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>QARiB</title><script>{TO_SIGN_IN}</script>'
    '<a href="../api/v2/auth/login?next=qarib/">Sign in</a></html>'
)
DIGEST = base64.b64encode(hashlib.sha256(TO_SIGN_IN.encode()).digest()).decode()
ENTRANCE_POLICY = f"default-src 'none'; base-uri 'none'; frame-ancestors 'self'; script-src 'sha256-{DIGEST}'"
# Not mounted, because a mount has no guard: two routes get their answers from it.
FILES = StaticFiles(directory=STATIC)
# Python before 3.12 has another type for it.
mimetypes.add_type("text/javascript", ".js")
PREVIEWS = "previews"

# Every route has the guard, and the application has no other routes.
app = FastAPI(
    title="QARiB",
    dependencies=list(GUARD),
    openapi_url=None,
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,
)
app.include_router(lineage.router)
app.include_router(runs.router)
app.include_router(compare.router)


@app.middleware("http")
async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@app.exception_handler(StarletteHTTPException)
async def refused(request: Request, error: StarletteHTTPException) -> Response:
    advice = {
        401: "Sign in to Airflow",
        403: "Ask an Airflow administrator for permission to read the DAG qarib_pretrain",
        404: "Go back to the list of runs",
        503: "Check the workspace and the bucket; the page retries automatically",
    }
    # The page itself, opened by a person, leads to the sign-in and back. A script gets the answer.
    if error.status_code == 401 and request.url.path.endswith("/qarib/") and wants_html(request):
        return HTMLResponse(ENTRANCE, 401, {"Content-Security-Policy": ENTRANCE_POLICY})
    return answer(_fault(str(error.detail), request, advice.get(error.status_code)), error.status_code)


@app.exception_handler(RequestValidationError)
async def misunderstood(request: Request, error: RequestValidationError) -> Response:
    return answer(_fault("invalid request", request, "Reload the page"), 422)


@app.exception_handler(Exception)
async def failed(request: Request, error: Exception) -> Response:
    log.exception("The page cannot answer %s", request.url.path, exc_info=error)
    what = f"the server cannot create this view ({type(error).__name__})"
    do = "Check the log of Airflow's api-server; the page retries automatically"
    response = answer(_fault(what, request, do), 500)
    response.headers.update(HEADERS)
    return response


def wants_html(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _fault(what: str, request: Request, do: str | None) -> dict[str, Any]:
    return {"what": what, "where": request.url.path, "do": do}


@app.get("/")
async def index(request: Request) -> Response:
    return await FILES.get_response("index.html", request.scope)


@app.get("/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    if "\0" in name:
        raise HTTPException(404)
    return await FILES.get_response(name, request.scope)


@app.get("/data/shards")
async def shards(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        tasks = database.shard_tasks(dag_id, run_id)
        made = shards_view(record, files, tasks, database.repairs(record.values.get("dataset_id")))
        return made | {"may_backfill": may_trigger(user, database.BACKFILL)}

    return await answer_of(view, user, dag_id, run_id)


@app.get("/data/shard")
async def shard(user: GetUserDep, dag_id: str, run_id: str, name: str) -> Response:
    if not is_shard(name):
        raise HTTPException(404, "no such shard")
    return await answer_of(lambda record, files: shard_detail(record, files, name), user, dag_id, run_id)


@app.get("/data/corpus")
async def corpus(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    return await answer_of(corpus_view, user, dag_id, run_id)


@app.get("/data/training")
async def training(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        more: dict[str, Any] = {"run": record.state, "may_stop": control.may_stop(user, record)}
        if more["may_stop"]:
            more["stop_asked_by"] = control.asked_by(record, files)
        return more | training_view(record, files, time.time())

    return await answer_of(view, user, dag_id, run_id)


@app.get("/data/tasks")
async def tasks(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        return {"run": record.state} | tasks_view(record, files, before(user, record))

    return await answer_of(view, user, dag_id, run_id)


@app.get("/data/model")
async def model(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        return model_view(record, files, before(user, record)) | {"may_try": trial.may_try(user)}

    return await answer_of(view, user, dag_id, run_id)


app.include_router(control.router)
app.include_router(trial.router)


@app.get("/data/form")
async def form(user: GetUserDep, dag_id: str | None = None, run_id: str | None = None) -> Response:
    """The fields of a new run; with a run, also what that one was triggered with."""

    def made() -> Response:
        record = run_of(user, dag_id or "", run_id) if run_id else None
        conf = database.conf_of(record.dag_id, record.run_id) if record else {}
        again, lost = new_run.values_of(conf)
        may = {"may_start": may_trigger(user), "may_check": may_trigger(user, CHECK)}
        return answer(new_run.form() | may | {"again": again, "lost": lost})

    return await in_time(answers.THREADS.submit(answers.DATABASE, made))


def positive(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e18 else None


@app.post("/data/check")
async def check(typed: TypedIn) -> Response:
    def made() -> Response:
        text, within = positive(typed.get("text")), typed.get("within")
        hours = within if isinstance(within, str | int | float) and not isinstance(within, bool) else None
        try:
            return answer(new_run.check(typed["values"], text, hours))
        except RecursionError:
            raise HTTPException(422, "invalid request") from None

    return await in_time(answers.THREADS.submit(answers.DATABASE, made))


@app.post("/data/preview")
async def preview(user: GetUserDep, typed: TypedIn) -> Response:
    """Only for those who may start a run, because a run reads sources too."""

    def made() -> Response:
        if not may_trigger(user):
            raise HTTPException(403, "previews are for users who may trigger the DAG qarib_pretrain")
        number = typed.get("number")
        try:
            return answer(new_run.preview_of(typed["values"], number if isinstance(number, int) else 0))
        except QaribError as error:
            return answer({"what": error.what, "where": error.where, "do": error.do}, 422)

    return await in_time(answers.THREADS.submit(PREVIEWS, made))
