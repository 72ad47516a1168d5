"""The routes of the table of all runs, and what is read for it.

One query tells of all runs. What is known of a run beyond that is read in the background, for a bounded
number of runs a request, and kept by this process: of a run that has ended, until it is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as Parameter

from qarib_airflow.page import answers, database
from qarib_airflow.page.answers import answer, files_of, place_of, run_of
from qarib_airflow.page.guard import may_note, readable_dags
from qarib_airflow.page.threads import in_time
from qarib_tasks.errors import StorageError
from qarib_tasks.views.files import Files
from qarib_tasks.views.many.note import parse_note
from qarib_tasks.views.many.row import row_of
from qarib_tasks.views.many.table import Key, Known, Line, Query, page_of, select, table
from qarib_tasks.views.runs import RunRecord, summary, without_files

log = logging.getLogger(__name__)
router = APIRouter()
T = TypeVar("T")
WAIT = 0.15  # seconds that an answer waits for runs that are being read
MOST_READ = 24  # runs that a request has read
MOST_BUSY = 48  # runs that are being read at a time
AT_A_TIME = 4  # of those of a request that are in one place
MOST_KNOWN = 20_000  # runs
MOST_CHARACTERS = 500  # to look for
MOST_CHOSEN = 100  # values of a filter
# After so many seconds, what is known of a run is read again: of a run in sight, and of another one.
AT_WORK, ENDED, FAULTY = (2.0, 30.0), (600.0, float("inf")), (4.0, 60.0)
Make = Callable[[RunRecord, Files, float], dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """What was read of a run, and when, in seconds of `time.monotonic`."""

    version: object
    known: Known
    at: float

    def is_due(self, line: Line, now: float, *, in_sight: bool) -> bool:
        row = self.known.row
        seconds = FAULTY if row.get("trouble") or row.get("fault") else ENDED if line.has_ended else AT_WORK
        return self.version != line.version or now - self.at > seconds[0 if in_sight else 1]


class Reader:
    """The rows of runs. All but the reading itself is done by the thread of the event loop."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._busy: set[Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> Mapping[Key, Known]:
        return {key: entry.known for key, entry in self._entries.items()}

    async def start(self, shown: Sequence[Line], others: Sequence[Line]) -> None:
        """Have runs read, those in sight first, and wait for them for a moment."""
        now = time.monotonic()
        room = min(MOST_READ, MOST_BUSY - len(self._busy))
        due = [line.key for line in shown if self._is_due(line, now, in_sight=True)]
        due += [line.key for line in others if self._is_due(line, now, in_sight=False)]
        keys = [key for key in dict.fromkeys(due) if key not in self._busy][: max(0, room)]
        if keys:
            self._busy |= set(keys)
            task = asyncio.create_task(self._read(keys))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks and any(line.key in self._busy for line in shown):
            await asyncio.wait(set(self._tasks), timeout=WAIT)

    def _is_due(self, line: Line, now: float, *, in_sight: bool) -> bool:
        entry = self._entries.get(line.key)
        return entry is None or entry.is_due(line, now, in_sight=in_sight)

    async def _read(self, keys: Sequence[Key]) -> None:
        def found() -> list[tuple[RunRecord, Files]]:
            return [(record, files_of(record)) for record in database.records(keys)]

        try:
            records = await _in_database_threads(found)
            turns: dict[object, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_A_TIME))

            async def read(record: RunRecord, files: Files) -> None:
                async with turns[place_of(files)]:
                    row = await shown_run(record, files, row_of)
                self._keep(record, row)
                self._busy.discard((record.dag_id, record.run_id))

            await asyncio.gather(*(read(record, files) for record, files in records))
        except Exception:
            log.exception("The page cannot read %s runs", len(keys))
        finally:
            self._busy -= set(keys)

    def _keep(self, record: RunRecord, row: Mapping[str, Any]) -> None:
        version = record.state, record.started, record.ended
        entry = Entry(version, Known.of(row), time.monotonic())
        self._entries[record.dag_id, record.run_id] = entry
        while len(self._entries) > MOST_KNOWN:
            self._entries.pop(next(iter(self._entries)))


READER = Reader()


async def shown_run(record: RunRecord, files: Files, make: Make) -> dict[str, Any]:
    """What `make` tells of a run. What cannot be shown, or not in time, is a fault of this run only."""
    try:
        work = answers.THREADS.submit(place_of(files), make, record, files, time.time())
        return await in_time(work, share=0.5)
    except HTTPException as error:
        what, do = error.detail, "Check the workspace and the bucket of this run"
    except Exception:
        log.exception("The page cannot show the run %s", record.run_id)
        what, do = "the run's files cannot be shown", "Check the log of Airflow's api-server"
    return without_files(record, StorageError(what, where=record.workspace, do=do))


Chosen = Annotated[list[str], Parameter(max_length=MOST_CHOSEN)]


@router.get("/data/runs")
async def runs(
    user: GetUserDep,
    text: str = "",
    state: Chosen = [],  # noqa: B006
    preset: Chosen = [],  # noqa: B006
    dag: Chosen = [],  # noqa: B006
    tag: Chosen = [],  # noqa: B006
    sort: str = "-started",
    page: int = 0,
) -> Response:
    """The table of all runs: see `many.table`. A `-` before the name of an order turns it around."""
    query = Query(
        text=text[:MOST_CHARACTERS],
        states=state,
        presets=preset,
        dags=dag,
        tags=tag,
        sort=sort.removeprefix("-"),
        down=sort.startswith("-"),
        page=page,
    )

    known = READER.known

    def found() -> tuple[list[Line], list[Line], list[str]]:
        dag_ids = readable_dags(user)
        lines = database.lines(dag_ids)
        shown = page_of(select(lines, known, query, time.time()), query)
        return lines, shown, [dag_id for dag_id in dag_ids if may_note(user, dag_id)]

    def made() -> Response:
        now = time.time()
        shown = table(lines, select(lines, known, query, now), known, query, now)
        return answer(shown | {"may_note": noted})

    lines, shown, noted = await _in_database_threads(found)
    await READER.start(shown, lines)
    known = READER.known
    return await _in_database_threads(made)


async def _in_database_threads(function: Callable[[], T]) -> T:
    return await in_time(answers.THREADS.submit(answers.DATABASE, function))


@router.get("/data/run")
async def run(user: GetUserDep, dag_id: str | None = None, run_id: str | None = None) -> Response:
    """The named run, or the newest one, as the other views need it; null if there is none."""

    def found() -> list[tuple[RunRecord, Files]]:
        dag_ids = [name for name in readable_dags(user) if dag_id in (None, name)]
        if run_id is not None and "\0" in run_id:  # No database has it.
            dag_ids = []
        records = database.runs(dag_ids, run_id=run_id, limit=1, why=True)
        return [(record, files_of(record)) for record in records[:1]]

    records = await _in_database_threads(found)
    shown = [await shown_run(record, files, summary) for record, files in records]
    return answer({"run": shown[0] if shown else None})


@router.get("/data/note")
async def note(user: GetUserDep, dag_id: str, run_id: str) -> Response:
    """The parts of a run's note as it is now, to write another."""

    def found() -> str:
        run_of(user, dag_id, run_id)
        return database.note_of(dag_id, run_id)

    return answer(asdict(parse_note(await _in_database_threads(found))))
