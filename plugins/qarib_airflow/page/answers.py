"""What the page's routes share: a run that the user can read, its files, and answers as JSON.

The work of a request is done by the threads of the place where the run's files are, in a limited time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.page import database
from qarib_airflow.page.bucket import ConnectionBucket
from qarib_airflow.page.guard import readable_dags
from qarib_airflow.page.threads import Threads, in_time
from qarib_airflow.preflight.deployment import allowed_places
from qarib_tasks.config.deployment.limits import deployment_limits
from qarib_tasks.errors import Faults
from qarib_tasks.runs.places import Places
from qarib_tasks.views.files import FRESH, STALE, Cache, Files
from qarib_tasks.views.runs import RunRecord

MOST_BYTES = 1 << 20  # of what is typed into a form
CACHE = Cache()
MOST_EARLIER = 15  # runs, among which is the one that made the previous model
THREADS, DATABASE = Threads(), "database"


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

    record, files = await in_time(THREADS.submit(DATABASE, found))
    work = THREADS.submit(place_of(files), lambda: answer(view(record, files)))
    return await in_time(work)


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


def before(user: Any, record: RunRecord) -> list[RunRecord]:
    """Some of the runs that started before this one and that the user can read, the newest first."""
    others = database.runs(readable_dags(user), limit=MOST_EARLIER)
    return [one for one in others if record.started and one.started and one.started < record.started]


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
    files = Files(workspace, bucket, CACHE, most=deployment_limits().page_file_bytes)
    for fault in faults.found:
        files.mark(fault)
    return files


def place_of(files: Files) -> tuple[str, str]:
    """The folder and the bucket that files are in."""
    address = files.bucket.address if files.bucket else ""
    return str(files.workspace or ""), address.removeprefix("gs://").partition("/")[0]


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
