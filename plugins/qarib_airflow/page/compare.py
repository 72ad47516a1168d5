"""The route of the comparison of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Query, Response

from qarib_airflow.page import answers, database
from qarib_airflow.page.answers import answer, files_of, place_of
from qarib_airflow.page.guard import readable_dags
from qarib_airflow.page.runs import shown_run
from qarib_airflow.page.threads import in_time
from qarib_tasks.views.files import FRESH, STALE, Files
from qarib_tasks.views.many.compare import MOST_RUNS, compared, differences, names_of, unlike
from qarib_tasks.views.many.note import parse_note
from qarib_tasks.views.many.table import Key
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.way import ENDED

router = APIRouter()
KEPT_SECONDS = 60.0  # of a run that has ended; of another one it is `FRESH`
MOST_KEPT = 64  # runs
# Seconds until the page asks again.
AT_WORK, AT_REST = 5, 60
Found = tuple[RunRecord, Files, str]


@router.get("/data/compare")
async def compare(
    user: GetUserDep,
    run: Annotated[list[str], Query(min_length=1, max_length=MOST_RUNS)],
    smoothing: float = 0.0,
) -> Response:
    """Some runs, each `DAG/run`, in the order of the request: see `many.compare`.

    A run that does not exist or that the user cannot read has `found: false`; it is not revealed which.
    """
    keys: list[Key] = [(dag_id, run_id) for dag_id, _, run_id in (name.partition("/") for name in run)]
    share = smoothing if 0 < smoothing < 1 else 0.0

    def found() -> dict[Key, Found]:
        dags = readable_dags(user)
        readable = [key for key in keys if key[0] in dags and "\0" not in key[1]]
        if not readable:
            return {}
        notes = database.notes_of(readable)
        return {
            key: (record, files_of(record), parse_note(notes.get(key, "")).name)
            for record in database.records(readable)
            for key in [(record.dag_id, record.run_id)]
        }

    known = await in_time(answers.THREADS.submit(answers.DATABASE, found))
    runs = list(await asyncio.gather(*(one(key, known.get(key), share) for key in dict.fromkeys(keys))))
    work = answers.THREADS.submit(answers.DATABASE, lambda: answer(shown(runs)))
    return await in_time(work)


async def one(key: Key, found: Found | None, smoothing: float) -> dict[str, Any]:
    if found is None:
        return {"dag_id": key[0], "run_id": key[1], "found": False}
    record, files, name = found

    def made(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
        seconds = KEPT_SECONDS if record.state in ENDED else FRESH
        place = ("compared", place_of(files), *key, record.state, record.ended, smoothing)
        answers.CACHE.forget(lambda one: isinstance(one, tuple) and one[:1] == ("compared",), MOST_KEPT)
        result: dict[str, Any] = answers.CACHE.get(
            place, lambda: compared(record, files, now, smoothing), seconds, STALE
        )
        return result

    return await shown_run(record, files, made) | {"found": True, "name": name}


def shown(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs, and the table of their differences."""
    known = [run for run in runs if run["found"]]
    if not known:
        raise HTTPException(404, "no such run")
    rows = differences([run.pop("facts", []) for run in known])
    at_work = any(run["state"] not in ENDED for run in known)
    trouble = next((run["trouble"] for run in known if run["trouble"]), None)
    for run, label in zip(runs, names_of(runs), strict=True):
        run["label"] = label
    return {
        "runs": runs,
        "rows": rows,
        "unlike": unlike(known),
        "again_in": AT_WORK if at_work else AT_REST,
        "trouble": trouble,
    }
