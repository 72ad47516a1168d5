"""What runs wait for and their places, from Airflow's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.session import create_session
from qarib_airflow.reporting import waits

from tests.support.airflow.tables import DAG, Tables, filled

# Of a task and its run.
STATES = [
    ("deferred", "running"),
    ("success", "running"),
    ("deferred", "failed"),
    ("up_for_reschedule", "running"),
]


@pytest.fixture
def tables(airflow_database: Path) -> Iterator[Tables]:
    with filled(airflow_database) as tables:
        yield tables


def kept(*run_ids: str) -> dict[str, str]:
    with create_session() as session:
        return {run_id: text for (_, run_id), text in waits.kept(session, [DAG], run_ids).items()}


def test_the_queue_begins_with_those_in_the_pool_in_the_order_of_their_starts(tables: Tables) -> None:
    queued = {"kind": "tpu", "text": "waits for a TPU"}
    tables.pool("chips", 1)
    for run_id, hour in (("c", 4), ("d", 3), ("b", 2), ("a", 1), ("x", 1)):
        tables.run(run_id, hour)
        if run_id in "cd":
            tables.task(run_id, "prepare_tpu", "deferred", kept=queued)
    for run_id, state in (("a", "deferred"), ("b", "scheduled")):  # One trains, one is next.
        tables.task(run_id, "train", state, "chips")
    tables.task("x", "train", "queued")  # In Airflow's own pool, which is no queue for a TPU.
    assert kept("a", "b", "c", "d", "x") == {
        "b": "waits for a TPU, place 1 of 3",
        "d": "waits for a TPU, place 2 of 3",
        "c": "waits for a TPU, place 3 of 3",
    }
    assert kept("c") == {"c": "waits for a TPU, place 3 of 3"}


def test_those_in_the_pool_have_airflow_s_own_order(tables: Tables) -> None:
    """The heavier first, then by logical date; one that is queued has a slot."""
    tables.pool("chips", 1)
    for run_id, hour, state, weight, month in (
        ("a", 1, "scheduled", 1, 2),
        ("b", 2, "scheduled", 1, 1),
        ("c", 3, "scheduled", 5, 3),
        ("d", 4, "queued", 1, 4),
    ):
        tables.run(run_id, hour, logical=f"2026-0{month}-01 00:00:00.000000")
        tables.task(run_id, "train", state, "chips", weight=weight)
    places = {run_id: text.partition("place ")[2] for run_id, text in kept("a", "b", "c", "d").items()}
    assert places == {"d": "1 of 4", "c": "2 of 4", "b": "3 of 4", "a": "4 of 4"}


def test_a_run_that_was_cleared_has_the_place_of_its_claim(tables: Tables) -> None:
    """Airflow has another start of it since."""
    tables.run("cleared", 9)
    tables.run("later", 5)
    for run_id, hour in (("cleared", 1), ("later", 5)):
        since = f"2026-12-01T{hour:02}:00:00+00:00"
        queued = {"kind": "tpu", "text": "waits for a TPU", "since": since}
        tables.task(run_id, "prepare_tpu", "deferred", kept=queued)
    assert kept("cleared", "later") == {
        "cleared": "waits for a TPU, place 1 of 2",
        "later": "waits for a TPU, place 2 of 2",
    }


def test_a_pool_that_was_deleted_or_has_no_slots(tables: Tables) -> None:
    for run_id, hour in (("a", 1), ("b", 2), ("c", 3)):
        tables.run(run_id, hour)
    tables.task("a", "train", "scheduled", "chips")
    tables.task("b", "prepare_tpu", "deferred", kept={"kind": "tpu", "text": "waits for a TPU"})
    tables.task("c", "shard.convert", "scheduled", "disks")
    tables.pool("disks", 0)
    found = kept("a", "b", "c")
    gone = f"the pool chips {waits.NOT_THERE}. {waits.MAKE_POOL}"
    assert found["a"] == f"waits for a TPU, place 1 of 2: {gone}"
    assert found["b"] == f"waits for a TPU, place 2 of 2: {gone}"
    assert found["c"] == f"waits for a slot: the pool disks {waits.NO_SLOTS}. {waits.ADD_SLOTS}"
    tables.pool("chips", -1)  # No limit.
    assert kept("a") == {"a": "waits for a TPU, place 1 of 2"}


def test_only_a_task_that_waits_counts(tables: Tables) -> None:
    text = {"kind": "dataset", "text": "waits for another run"}
    for number, (state, run_state) in enumerate(
        [
            ("deferred", "running"),
            ("success", "running"),
            ("deferred", "failed"),
            ("up_for_reschedule", "running"),
            ("awaiting_input", "running"),
        ]
    ):
        tables.run(f"r{number}", number, run_state)
        tables.task(f"r{number}", "sources", state, kept=text)
    found = kept("r0", "r1", "r2", "r3", "r4")
    assert found == {"r0": text["text"], "r3": text["text"], "r4": text["text"]}


@pytest.mark.parametrize("value", [7, "text", {"kind": 1, "text": "x"}, {"text": "x"}, ["a"]])
def test_an_xcom_of_any_content(tables: Tables, value: Any) -> None:
    tables.run("r", 1)
    tables.task("r", "sources", "deferred", kept=value)
    assert kept("r") == {}


def test_what_cannot_be_kept_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def xcom_push(key: str, value: Any) -> None:
        raise OSError("the API server does not answer")

    waits.keep(SimpleNamespace(xcom_push=xcom_push), "tpu", "waits for a TPU")
    assert "Could not keep for the page what the run waits for: the API server" in caplog.text
