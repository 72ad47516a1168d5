"""The page's web application, which Airflow's api-server mounts at `/qarib`.

Airflow does not guard a plugin's application, so every route here has the guard, including the routes of the
page's files. Answers are JSON; an error says what happened, where, and what to do.
"""

from __future__ import annotations

import json
import logging
import mimetypes
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.page import database, new_run
from qarib_airflow.page.bucket import ConnectionBucket
from qarib_airflow.page.guard import GUARD, may_trigger, readable_dags
from qarib_tasks.errors import QaribError
from qarib_tasks.layout import is_shard
from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.files import PARALLEL_READS, Cache, Files
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, summary
from qarib_tasks.views.shards import shard_detail, shards_view
from qarib_tasks.views.tasks import tasks_view
from qarib_tasks.views.training import training_view

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
RUNS_PER_PAGE = 15
MOST_BYTES = 1 << 20  # of what is typed into a form
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
# Not mounted, because a mount has no guard: two routes get their answers from it.
FILES = StaticFiles(directory=STATIC)
# Python before 3.12 has another type for it.
mimetypes.add_type("text/javascript", ".js")
CACHE = Cache()

# Every route has the guard, and the application has no other routes.
app = FastAPI(
    title="QARiB",
    dependencies=list(GUARD),
    openapi_url=None,
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,
)


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
    }
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


def _fault(what: str, request: Request, do: str | None) -> dict[str, Any]:
    return {"what": what, "where": request.url.path, "do": do}


def answer(values: Any, status: int = 200) -> Response:
    """The values as a JSON response, without FastAPI's encoder, which is slow for a thousand shards."""
    try:
        text = _json(values)
    except ValueError:  # JSON has no number that is not finite: it becomes null.
        text = _json(json.loads(json.dumps(values, default=str), parse_constant=lambda _: None))
    # Half of a surrogate pair, which a damaged file can hold, has no bytes.
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, default=str, separators=(",", ":"))


@app.get("/")
async def index(request: Request) -> Response:
    return await FILES.get_response("index.html", request.scope)


@app.get("/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    return await FILES.get_response(name, request.scope)


@app.get("/data/runs")
def runs(user: GetUserDep, offset: int = 0, dag_id: str | None = None, run_id: str | None = None) -> Response:
    dag_ids = [name for name in readable_dags(user) if dag_id in (None, name)]
    found = database.runs(dag_ids, run_id=run_id, limit=RUNS_PER_PAGE + 1, offset=max(0, offset))
    now = time.time()
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        rows = list(pool.map(lambda record: summary(record, files_of(record), now), found[:RUNS_PER_PAGE]))
    trouble = next((row["trouble"] for row in rows if row["trouble"]), None)
    more = len(found) > RUNS_PER_PAGE
    return answer({"runs": rows, "more": more, "runs_a_page": RUNS_PER_PAGE, "trouble": trouble})


@app.get("/data/shards")
def shards(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    record = run_of(user, dag_id, run_id)
    tasks = database.shard_tasks(dag_id, run_id)
    repairs = database.repairs(record.values.get("dataset_id"))
    return answer(shards_view(record, files_of(record), tasks, repairs))


@app.get("/data/shard")
def shard(user: GetUserDep, dag_id: str, run_id: str, name: str) -> Response:
    if not is_shard(name):
        raise HTTPException(404, "no such shard")
    record = run_of(user, dag_id, run_id)
    return answer(shard_detail(record, files_of(record), name))


@app.get("/data/corpus")
def corpus(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    record = run_of(user, dag_id, run_id)
    return answer(corpus_view(record, files_of(record)))


@app.get("/data/training")
def training(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    record = run_of(user, dag_id, run_id)
    return answer({"run": record.state} | training_view(record, files_of(record), time.time()))


@app.get("/data/tasks")
def tasks(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    record = run_of(user, dag_id, run_id)
    return answer({"run": record.state} | tasks_view(record, files_of(record), before(user, record)))


@app.get("/data/model")
def model(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    record = run_of(user, dag_id, run_id)
    return answer(model_view(record, files_of(record), before(user, record)))


@app.get("/data/form")
def form(user: GetUserDep, dag_id: str | None = None, run_id: str | None = None) -> Response:
    """The fields of a new run; with a run, also what that one was triggered with."""
    record = run_of(user, dag_id or "", run_id) if run_id else None
    again = database.conf_of(record.dag_id, record.run_id) if record else None
    return answer(new_run.form() | {"may_start": may_trigger(user), "again": again})


async def typed_in(request: Request) -> dict[str, Any]:
    """What a form sends: a JSON object of limited size.

    Raises:
        HTTPException: 413 or 422.
    """
    sent = b""
    async for part in request.stream():
        sent += part
        if len(sent) > MOST_BYTES:
            raise HTTPException(413, "more than a form can hold")
    try:
        values = json.loads(sent)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("values"), dict):
        raise HTTPException(422, "invalid request")
    return values


TypedIn = Annotated[dict[str, Any], Depends(typed_in)]


def positive(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e18 else None


@app.post("/data/check")
def check(typed: TypedIn) -> Response:
    try:
        found = new_run.check(typed["values"], positive(typed.get("text")), positive(typed.get("within")))
        return answer(found)
    except RecursionError:
        raise HTTPException(422, "invalid request") from None


@app.post("/data/preview")
def preview(user: GetUserDep, typed: TypedIn) -> Response:
    """Only for those who may start a run, because a run reads sources too."""
    if not may_trigger(user):
        raise HTTPException(403, "previews are for users who may trigger the DAG qarib_pretrain")
    number = typed.get("number")
    try:
        return answer(new_run.preview_of(typed["values"], number if isinstance(number, int) else 0))
    except QaribError as error:
        return answer({"what": error.what, "where": error.where, "do": error.do}, 422)


def before(user: Any, record: RunRecord) -> list[RunRecord]:
    """Some of the runs that started before this one and that the user can read, the newest first."""
    others = database.runs(readable_dags(user), limit=RUNS_PER_PAGE)
    return [one for one in others if record.started and one.started and one.started < record.started]


def run_of(user: Any, dag_id: str, run_id: str) -> RunRecord:
    """The run, if it exists and the user can read it.

    Raises:
        HTTPException: 404 if it does not exist or the user cannot read it; the answer does not reveal which.
    """
    if dag_id in readable_dags(user) and (found := database.runs([dag_id], run_id=run_id, limit=1)):
        return found[0]
    raise HTTPException(404, "no such run")


def files_of(record: RunRecord) -> Files:
    """The run's files; its bucket is read through Airflow's connection."""
    bucket = ConnectionBucket(record.address, CONNECTION) if record.address else None
    return Files(record.workspace, bucket, CACHE)
