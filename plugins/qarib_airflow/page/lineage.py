"""The route of the lineage of all runs that a user can read. `app` gives it the guard."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Response

from qarib_airflow.page import answers, database
from qarib_airflow.page.answers import answer, files_of
from qarib_airflow.page.guard import readable_dags
from qarib_airflow.page.threads import in_time
from qarib_tasks.errors import StorageError
from qarib_tasks.views.files import Files
from qarib_tasks.views.lineage.drawing import lineage_view
from qarib_tasks.views.lineage.graph import place_of
from qarib_tasks.views.model import Judged, judged_of
from qarib_tasks.views.runs import RunRecord, trouble

MOST_RUNS = 200
router = APIRouter()
Found = tuple[dict[str, Judged], dict[str, Any] | None]


@router.get("/data/lineage")
async def lineage(user: GetUserDep) -> Response:
    """The graph of the newest runs. A place that does not answer lacks what was promoted there."""

    def found() -> tuple[list[RunRecord], dict[str, Files]]:
        dags = readable_dags(user)
        key = ("lineage", *dags)
        records = answers.CACHE.get(key, lambda: database.runs(dags, limit=MOST_RUNS + 1))
        newest = {place_of(record): record for record in reversed(records[:MOST_RUNS])}
        return records, {place: files_of(record) for place, record in newest.items()}

    records, places = await in_time(answers.THREADS.submit(answers.DATABASE, found))
    results = await asyncio.gather(*map(judged, places.values()))
    faults = [fault for _, fault in results if fault]
    of_place = {place: presets for place, (presets, _) in zip(places, results, strict=True)}
    shown, more = records[:MOST_RUNS], len(records) > MOST_RUNS
    work = answers.THREADS.submit(answers.DATABASE, lineage_view, shown, of_place, more)
    view = await in_time(work)
    return answer(view | {"trouble": faults[0] if faults else None})


async def judged(files: Files) -> Found:
    """What the record of a place says, and what is wrong with the place."""

    def read() -> Found:
        return judged_of(files), trouble(files.trouble or files.fault)

    try:
        return await in_time(answers.THREADS.submit(answers.place_of(files), read), share=0.5)
    except HTTPException as error:
        what = StorageError(str(error.detail), where=answers.place_of(files)[0] or None, do="Check it")
        return {}, trouble(what)
