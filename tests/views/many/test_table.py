"""The table of all runs: what is found, in what order, and what is said of the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qarib_tasks.views.many.note import Note
from qarib_tasks.views.many.table import PAGE_SIZE, Known, Line, Query, page_of, select, table

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = (START + timedelta(days=1)).timestamp()
REASON = {"task": "train", "what": "The disk is full", "where": "/data"}
SETTING = {"name": "train.train_steps", "title": "Training steps", "value": "2,000", "preset": "800"}


def line(number: int, state: str = "success", **values: Any) -> Line:
    """Run `number` starts so many hours after the first one, and takes so many minutes."""
    started = START + timedelta(hours=number)
    ended = None if state == "running" else started + timedelta(minutes=number)
    times = {"started": started, "ended": ended}
    return Line(**{"dag_id": "qarib_pretrain", "run_id": f"run-{number}", "state": state, **times, **values})


def known(**row: Any) -> Known:
    return Known.of({"preset": "demo", "settings": [], "way": [], **row})


LINES = [
    line(5, "running"),
    line(4, "failed", note=Note("Zebra", ("low", "قرآن"), "Ask Ana")),
    line(3, dag_id="qarib_retrain"),
    line(2, note=Note("apple", ("low",))),
    line(1, user="Noura"),
]
KNOWN = {
    LINES[1].key: known(heldout_loss=4.0, way=[{"name": "training", "reason": REASON}]),
    LINES[2].key: known(heldout_loss=float("nan"), preset="qarib"),
    LINES[3].key: known(heldout_loss=3.0, settings=[SETTING], score={"value": 0.7}, training={"step": 10}),
    LINES[4].key: known(heldout_loss=5.0, cost=3.0),
}


def found(**query: Any) -> list[int]:
    return [int(one.run_id[4:]) for one in select(LINES, KNOWN, Query(**query), NOW)]


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"states": ["failed", "running"]}, [5, 4]),
        ({"presets": ["demo"]}, [4, 2, 1]),
        ({"dags": ["qarib_retrain"]}, [3]),
        ({"tags": ["low"]}, [4, 2]),
        ({"tags": ["low", "قرآن"]}, [4]),
        ({"text": "ZEBRA"}, [4]),
        ({"text": "#low ana"}, [4]),
        ({"text": "disk"}, [4]),
        ({"text": "training STEPS 2,000"}, [2]),
        ({"text": "noura"}, [1]),
        ({"text": "run-3 retrain"}, [3]),
        ({"text": "nothing like it"}, []),
        ({"text": "low", "presets": ["qarib"]}, []),
        # What is not known, or no number, is last in either direction.
        ({"sort": "loss", "down": False}, [2, 4, 1, 5, 3]),
        ({"sort": "loss", "down": True}, [1, 4, 2, 5, 3]),
        ({"sort": "duration", "down": True}, [5, 4, 3, 2, 1]),
        ({"sort": "started", "down": False}, [1, 2, 3, 4, 5]),
        ({"sort": "name", "down": False}, [2, 1, 3, 5, 4]),
        ({"sort": "settings", "down": True}, [2, 4, 3, 1, 5]),
        ({"sort": "score", "down": True}, [2, 5, 4, 3, 1]),
        ({"sort": "steps", "down": True}, [2, 5, 4, 3, 1]),
        ({"sort": "cost", "down": False}, [1, 5, 4, 3, 2]),
        ({"sort": "user", "down": False}, [1, 5, 4, 3, 2]),
        ({"sort": "nonsense", "down": True}, [5, 4, 3, 2, 1]),
    ],
)
def test_what_is_found_and_in_what_order(query: dict[str, Any], runs: list[int]) -> None:
    assert found(**query) == runs


def test_what_is_said_of_all_runs() -> None:
    others = {("secret_dag", "run"): known(preset="secret")}
    query = Query(states=["failed"])
    shown = table(LINES, select(LINES, KNOWN, query, NOW), KNOWN | others, query, NOW)
    assert (shown["total"], shown["found"], shown["unread"], shown["page"]) == (5, 1, 1, 0)
    assert shown["facets"] == {
        "state": {"running": 1, "failed": 1, "success": 3},
        "preset": {"demo": 3, "qarib": 1},
        "dag": {"qarib_pretrain": 4, "qarib_retrain": 1},
        "tag": {"low": 2, "قرآن": 1},
    }
    (run,) = shown["runs"]
    assert run["note"] == {"name": "Zebra", "tags": ("low", "قرآن"), "text": "Ask Ana"}
    assert (run["read"], run["seconds"], run["heldout_loss"]) == (True, 240.0, 4.0)


def test_what_the_database_tells_is_newer_than_what_was_read() -> None:
    """A run that was repeated is running, whatever was read of it before."""
    again = line(1, "running")
    shown = table([again], [again], {again.key: known(state="failed", run_id="other")}, Query(), NOW)
    assert (shown["runs"][0]["state"], shown["runs"][0]["run_id"]) == ("running", "run-1")
    assert shown["runs"][0]["ended"] is None


@pytest.mark.parametrize(("page", "first"), [(0, 119), (1, 69), (2, 19), (3, 19), (-1, 119), (10**30, 19)])
def test_a_page_that_there_is(page: int, first: int) -> None:
    lines = [line(number) for number in reversed(range(120))]
    query = Query(page=page)
    shown = page_of(lines, query)
    assert shown[0].run_id == f"run-{first}"
    assert len(shown) == min(PAGE_SIZE, first + 1)
    assert table(lines, lines, {}, query, NOW)["page"] == (119 - first) // PAGE_SIZE


def test_no_runs() -> None:
    shown = table([], [], {}, Query(page=3), NOW)
    assert (shown["runs"], shown["total"], shown["page"], shown["trouble"]) == ([], 0, 0, None)
