"""The page's web application, which Airflow's api-server mounts at `/qarib`.

Airflow does not guard a plugin's application, so every route here has the guard, including the routes of the
page's files. Answers are JSON; an error says what happened, where, and what to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import starmap
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
from qarib_airflow.page.threads import Threads, in_time
from qarib_airflow.preflight.deployment import allowed_places
from qarib_tasks.errors import Faults, QaribError, StorageError
from qarib_tasks.layout import is_shard
from qarib_tasks.runs.places import Places
from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.files import FRESH, STALE, Cache, Files
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, summary, without_files
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
SECONDS = 30.0  # for the answer to a request
LINE_SECONDS = 15.0  # for the lines of runs
MOST_OFFSET = 1_000_000  # runs
THREADS, DATABASE, PREVIEWS = Threads(), "database", "previews"

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
        503: "Check the workspace and the bucket; the page retries automatically",
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
    if "\0" in name:
        raise HTTPException(404)
    return await FILES.get_response(name, request.scope)


@app.get("/data/runs")
async def runs(
    user: GetUserDep, offset: int = 0, dag_id: str | None = None, run_id: str | None = None
) -> Response:
    def found() -> list[tuple[RunRecord, Files]]:
        dag_ids = [name for name in readable_dags(user) if dag_id in (None, name)]
        if run_id is not None and "\0" in run_id:  # No database has it.
            dag_ids = []
        first = min(max(0, offset), MOST_OFFSET)
        records = database.runs(dag_ids, run_id=run_id, limit=RUNS_PER_PAGE + 1, offset=first)
        return [(record, files_of(record)) for record in records]

    records = await in_time(THREADS.submit(DATABASE, found), SECONDS)
    rows = await lines(records[:RUNS_PER_PAGE])
    trouble = next((row["trouble"] for row in rows if row["trouble"]), None)
    more = len(records) > RUNS_PER_PAGE
    return answer({"runs": rows, "more": more, "runs_a_page": RUNS_PER_PAGE, "trouble": trouble})


async def lines(records: Sequence[tuple[RunRecord, Files]]) -> list[dict[str, Any]]:
    """The lines of runs. What cannot be shown of one run, or not in time, is a fault of its line only."""
    now = time.time()

    async def line(record: RunRecord, files: Files) -> dict[str, Any]:
        try:
            work = THREADS.submit(place_of(files), summary, record, files, now)
            return await in_time(work, LINE_SECONDS)
        except HTTPException as error:
            what, do = error.detail, "Check the workspace and the bucket of this run"
        except Exception:
            log.exception("The page cannot show the run %s", record.run_id)
            what, do = "the run's files cannot be shown", "Check the log of Airflow's api-server"
        return without_files(record, StorageError(what, where=record.workspace, do=do))

    return list(await asyncio.gather(*starmap(line, records)))


@app.get("/data/shards")
async def shards(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        tasks = database.shard_tasks(dag_id, run_id)
        return shards_view(record, files, tasks, database.repairs(record.values.get("dataset_id")))

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
        return {"run": record.state} | training_view(record, files, time.time())

    return await answer_of(view, user, dag_id, run_id)


@app.get("/data/tasks")
async def tasks(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    def view(record: RunRecord, files: Files) -> dict[str, Any]:
        return {"run": record.state} | tasks_view(record, files, before(user, record))

    return await answer_of(view, user, dag_id, run_id)


@app.get("/data/model")
async def model(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    return await answer_of(
        lambda record, files: model_view(record, files, before(user, record)), user, dag_id, run_id
    )


async def answer_of(
    view: Callable[[RunRecord, Files], dict[str, Any]], user: Any, dag_id: str, run_id: str
) -> Response:
    """What a view shows of a run, from the threads of the run's place.

    Raises:
        HTTPException: 404, see `run_of`; 503 if the place does not answer in time.
    """

    def found() -> tuple[RunRecord, Files]:
        record = run_of(user, dag_id, run_id)
        return record, files_of(record)

    record, files = await in_time(THREADS.submit(DATABASE, found), SECONDS)
    work = THREADS.submit(place_of(files), lambda: answer(view(record, files)))
    return await in_time(work, SECONDS)


@app.get("/data/form")
async def form(user: GetUserDep, dag_id: str | None = None, run_id: str | None = None) -> Response:
    """The fields of a new run; with a run, also what that one was triggered with."""

    def made() -> Response:
        record = run_of(user, dag_id or "", run_id) if run_id else None
        conf = database.conf_of(record.dag_id, record.run_id) if record else {}
        again, lost = new_run.values_of(conf)
        return answer(new_run.form() | {"may_start": may_trigger(user), "again": again, "lost": lost})

    return await in_time(THREADS.submit(DATABASE, made), SECONDS)


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
async def check(typed: TypedIn) -> Response:
    def made() -> Response:
        text, within = positive(typed.get("text")), positive(typed.get("within"))
        try:
            return answer(new_run.check(typed["values"], text, within))
        except RecursionError:
            raise HTTPException(422, "invalid request") from None

    return await in_time(THREADS.submit(DATABASE, made), SECONDS)


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

    return await in_time(THREADS.submit(PREVIEWS, made), SECONDS)


def before(user: Any, record: RunRecord) -> list[RunRecord]:
    """Some of the runs that started before this one and that the user can read, the newest first."""
    others = database.runs(readable_dags(user), limit=RUNS_PER_PAGE)
    return [one for one in others if record.started and one.started and one.started < record.started]


def run_of(user: Any, dag_id: str, run_id: str) -> RunRecord:
    """The run, if it exists and the user can read it.

    Raises:
        HTTPException: 404 if it does not exist or the user cannot read it; the answer does not reveal which.
    """
    if (
        "\0" not in run_id
        and dag_id in readable_dags(user)
        and (found := database.runs([dag_id], run_id=run_id, limit=1))
    ):
        return found[0]
    raise HTTPException(404, "no such run")


def files_of(record: RunRecord) -> Files:
    """The run's files; its bucket is read through Airflow's connection.

    Who may write XComs can name any place in a run's record: only the deployment's own are read.
    """
    faults, workspace, bucket = Faults(), None, None
    with faults.kept():
        places: Places = CACHE.get("places", allowed_places, FRESH, STALE)
        with faults.kept():
            workspace = Path(places.workspace(str(record.workspace))) if record.workspace else None
        if record.address:
            places.check_prefix(record.upload.bucket, record.upload.prefix)
            bucket = ConnectionBucket(record.address, CONNECTION)
    files = Files(workspace, bucket, CACHE)
    for fault in faults.found:
        files.mark(fault)
    return files


def place_of(files: Files) -> tuple[str, str]:
    """The folder and the bucket that files are in."""
    address = files.bucket.address if files.bucket else ""
    return str(files.workspace or ""), address.removeprefix("gs://").partition("/")[0]
