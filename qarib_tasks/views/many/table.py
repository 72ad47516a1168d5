"""The table of all runs: filtered, sorted, and a page of it, from what is known of each run so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qarib_tasks.views.many.note import Note
from qarib_tasks.views.runs import stamp
from qarib_tasks.views.way import ENDED

PAGE_SIZE = 50
# Seconds until the page asks again: while runs are still being read, and otherwise.
AT_ONCE, AT_WORK = 1, 3
MOST_TAGS = 100  # that one can choose from
Key = tuple[str, str]  # DAG and run


@dataclass(frozen=True, kw_only=True)
class Line:
    """What Airflow's database tells of a run in one query over all runs."""

    dag_id: str
    run_id: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    user: str = ""
    note: Note = field(default_factory=Note)

    @property
    def key(self) -> Key:
        return self.dag_id, self.run_id

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def version(self) -> Hashable:
        """Changes when the run starts, ends, or is repeated."""
        return self.state, self.started, self.ended


@dataclass(frozen=True, kw_only=True)
class Query:
    """What one wants to see of the table.

    Attributes:
        text: words, each of which is in a run's name, id, note, settings, or failure.
        states, presets, dags, tags: one of them, each; empty for any.
        sort: a name in `SORTS`. down: from the largest to the smallest.
        page: from 0.
    """

    text: str = ""
    states: Sequence[str] = ()
    presets: Sequence[str] = ()
    dags: Sequence[str] = ()
    tags: Sequence[str] = ()
    sort: str = "started"
    down: bool = True
    page: int = 0


@dataclass(frozen=True)
class Known:
    """What is known of a run: its `row_of`, and the text in which words are looked for."""

    row: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Known:
        texts = [row.get(key) for key in ("preset", "dataset_id", "model_id", "address")]
        texts += [f"{one['name']} {one['title']} {one['value']}" for one in row.get("settings") or ()]
        reasons = [part["reason"] for part in row.get("way") or () if part.get("reason")]
        texts += [reason.get(key) for reason in reasons for key in ("task", "what", "where")]
        return cls(row, " ".join(str(text) for text in texts if text).casefold())


NOTHING = Known()
Value = Callable[[Line, Mapping[str, Any], float], Any]


def _training(line: Line, row: Mapping[str, Any], now: float) -> Any:
    return (row.get("training") or {}).get("step")


def duration(line: Line, row: Mapping[str, Any], now: float) -> float | None:
    if line.started is None:
        return None
    return (line.ended.timestamp() if line.ended else now) - line.started.timestamp()


def _of(name: str) -> Value:
    return lambda line, row, now: row.get(name)


SORTS: Mapping[str, Value] = {
    "name": lambda line, row, now: (line.note.name or line.run_id).casefold(),
    "state": lambda line, row, now: line.state,
    "dag": lambda line, row, now: line.dag_id,
    "user": lambda line, row, now: line.user.casefold() or None,
    "started": lambda line, row, now: line.started and line.started.timestamp(),
    "duration": duration,
    "preset": _of("preset"),
    "dataset": _of("dataset_id"),
    "model": _of("model_id"),
    "settings": lambda line, row, now: None if row.get("settings") is None else len(row["settings"]),
    "steps": _training,
    "loss": _of("heldout_loss"),
    "score": lambda line, row, now: (row.get("score") or {}).get("value"),
    "goodput": _of("goodput"),
    "cost": _of("cost"),
}


def select(lines: Sequence[Line], known: Mapping[Key, Known], query: Query, now: float) -> list[Line]:
    """The runs that the query asks for, in its order.

    Args:
        lines: of all runs, the newest first.
        known: what is known of them. A run that is not in it has no preset, and is last in an order by
            what is not known.
        now: seconds since 1970.
    """
    words = query.text.casefold().split()

    def wanted(line: Line) -> bool:
        if query.states and line.state not in query.states:
            return False
        if query.dags and line.dag_id not in query.dags:
            return False
        if query.tags and not set(query.tags) <= set(line.note.tags):
            return False
        own = known.get(line.key, NOTHING)
        if query.presets and own.row.get("preset") not in query.presets:
            return False
        if not words:
            return True
        note = line.note
        text = f"{line.run_id} {line.dag_id} {line.user} {note.name} {' '.join(note.tags)} {note.text}"
        text = f"{text.casefold()} {own.text}"
        return all(word.removeprefix("#") in text for word in words)

    value = SORTS.get(query.sort, SORTS["started"])
    found = [(value(line, known.get(line.key, NOTHING).row, now), line) for line in lines if wanted(line)]
    # A loss that is no number cannot be ordered.
    valued = [one for one in found if one[0] is not None and one[0] == one[0]]
    others = [line for one, line in found if one is None or one != one]
    valued.sort(key=lambda one: one[0], reverse=query.down)
    return [line for _, line in valued] + others


def page_of(lines: Sequence[Line], query: Query) -> list[Line]:
    """The lines of the query's page, or of the last page if it has fewer."""
    first = min(max(query.page, 0), max(0, len(lines) - 1) // PAGE_SIZE) * PAGE_SIZE
    return list(lines[first : first + PAGE_SIZE])


def table(
    lines: Sequence[Line], found: Sequence[Line], known: Mapping[Key, Known], query: Query, now: float
) -> dict[str, Any]:
    """The table for the page of a query.

    Args:
        lines: of all runs. found: those that the query asks for, see `select`.

    Returns:
        runs; total, found, unread: numbers of runs; page, page_size; facets: what one can choose from, each
        value with its number of runs; unlike: see `unlike`; again_in: seconds until the page asks
        again; trouble: of the first run that has any.
    """
    shown = page_of(found, query)
    runs = [shown_line(line, known.get(line.key), now) for line in shown]
    unread = sum(line.key not in known for line in lines)
    tags = Counter(tag for line in lines for tag in line.note.tags)
    presets = Counter(known.get(line.key, NOTHING).row.get("preset") for line in lines)
    return {
        "runs": runs,
        "total": len(lines),
        "found": len(found),
        "unread": unread,
        "page": min(max(query.page, 0), max(0, len(found) - 1) // PAGE_SIZE),
        "page_size": PAGE_SIZE,
        "facets": {
            "state": dict(Counter(line.state for line in lines)),
            "preset": {name: number for name, number in sorted(presets.items(), key=str) if name},
            "dag": dict(Counter(line.dag_id for line in lines)),
            "tag": dict(tags.most_common(MOST_TAGS)),
        },
        "unlike": unlike(runs, query.sort),
        "again_in": AT_ONCE if unread else AT_WORK,
        "trouble": next((run["trouble"] for run in runs if run.get("trouble")), None),
    }


def unlike(runs: Sequence[Mapping[str, Any]], sort: str) -> str:
    """What an order by a figure puts beside each other although it was not measured alike; empty: nothing."""
    scores = [one for run in runs if (one := run.get("score"))]
    ways = {(one.get("task"), one.get("metric"), one.get("tuned")) for one in scores}
    if sort == "score" and len(ways) > 1:
        return "The best scores are of different tasks, metrics, or kinds: compare only those alike."
    datasets = {run.get("dataset_id") for run in runs if run.get("heldout_loss") is not None}
    if sort == "loss" and len(datasets) > 1:
        return "The held-out losses are of different datasets, maybe not comparable: Compare says which are."
    return ""


def shown_line(line: Line, known: Known | None, now: float) -> dict[str, Any]:
    """A run of the table. `read` is false while only Airflow's database has been asked for it."""
    note = line.note
    return {
        "way": [],
        "data": {},
        **(known or NOTHING).row,
        "dag_id": line.dag_id,
        "run_id": line.run_id,
        "state": line.state,
        "started": stamp(line.started),
        "ended": stamp(line.ended),
        "seconds": duration(line, {}, now),
        "user": line.user,
        "note": {"name": note.name, "tags": note.tags, "text": note.text},
        "read": known is not None,
    }
