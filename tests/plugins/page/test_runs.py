"""The routes of the table of all runs, with Airflow's own auth manager and database."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from qarib_airflow.page import answers, database, runs

from qarib_tasks.errors import InputError
from qarib_tasks.runs.places import WORKSPACES_VARIABLE
from qarib_tasks.views.files import Cache, Files
from qarib_tasks.views.many.table import PAGE_SIZE, Key
from qarib_tasks.views.runs import RunRecord
from tests.support.browser.many_runs import many_runs
from tests.support.made_up_run import MadeUpRun, insert_run, make_run
from tests.support.page_server import ask as get

RUNS = 60
HOSTILE = "<b>Best</b>\n#tag\n[now](javascript:alert(1))"
TABLES = ("dag_run_note", "xcom", "task_instance", "dag_run")


def ask(server: TestClient, path: str = "/data/runs", role: str = "viewer", **query: Any) -> Any:
    answer = get(server, path, role, query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask_until_read(server: TestClient, **query: Any) -> Any:
    until = time.monotonic() + 300
    while (shown := ask(server, **query))["unread"]:
        assert time.monotonic() < until
    return shown


def execute(*statements: str) -> None:
    with sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db", timeout=60) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.fixture(scope="module")
def stored(airflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MadeUpRun]]:
    """Runs of which Airflow's database tells."""
    own = many_runs(make_run(tmp_path_factory.mktemp("workspace"), 1), RUNS)
    for run in own:
        run.record.values["config"]["upload"]["bucket"] = ""
    path = Path(os.environ["AIRFLOW_HOME"]) / "airflow.db"
    execute(*(f"DELETE FROM {table}" for table in TABLES))
    insert_run(path, *own[:-1])
    insert_run(path, own[-1], note=HOSTILE)
    yield own
    execute(*(f"DELETE FROM {table}" for table in TABLES))


@pytest.fixture
def made(stored: list[MadeUpRun], monkeypatch: pytest.MonkeyPatch) -> list[MadeUpRun]:
    """The same runs, none of which was read yet."""
    monkeypatch.setenv(WORKSPACES_VARIABLE, str(stored[0].workspace))
    monkeypatch.setattr(answers, "CACHE", Cache())
    monkeypatch.setattr(runs, "READER", runs.Reader())
    return stored


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were read."""
    names: list[str] = []
    real = runs.row_of

    def row_of(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
        names.append(record.run_id)
        return real(record, files, now)

    monkeypatch.setattr(runs, "row_of", row_of)
    return names


def test_a_request_has_a_bounded_number_of_runs_read(
    server: TestClient, made: list[MadeUpRun], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in sight first; of the others it is said how many there are, and no ended run is read twice."""
    asked: list[list[str]] = []
    real = database.records

    def records(keys: Sequence[Key]) -> list[RunRecord]:
        asked.append([run_id for _, run_id in keys])
        return real(keys)

    monkeypatch.setattr(database, "records", records)
    first = ask(server, sort="started", page=1)
    assert (first["total"], first["page"], len(first["runs"])) == (RUNS, 1, RUNS - PAGE_SIZE)
    assert first["unread"] >= RUNS - runs.MOST_READ
    assert {run["run_id"] for run in first["runs"]} <= set(asked[0])
    ask_until_read(server)
    assert max(map(len, asked)) == runs.MOST_READ
    assert sorted(read) == sorted(one.record.run_id for one in made)
    assert ask(server)["unread"] == 0
    assert len(read) == RUNS


def test_the_table_is_filtered_and_sorted_over_all_pages(server: TestClient, made: list[MadeUpRun]) -> None:
    ask_until_read(server)
    best = ask(server, sort="loss")
    assert [run["run_id"] for run in best["runs"]] == [f"run-{number:04}" for number in range(PAGE_SIZE)]
    assert [run["run_id"] for run in ask(server, sort="loss", page=1)["runs"]][-1] == "run-0059"
    assert ask(server, sort="-loss")["runs"][0]["heldout_loss"] == pytest.approx(4.059)
    failed = ask(server, state="failed", text="number")
    assert (failed["found"], failed["total"]) == (6, RUNS)
    assert failed["runs"][0]["way"][4]["reason"]["what"] == "the loss is not a number"
    rates = ask(server, preset="demo", text="learning 0.0001")
    assert rates["found"] == 20
    assert rates["runs"][0]["settings"][0]["preset"] == "0.0005"
    assert ask(server, preset="qarib")["found"] == 0
    assert ask(server, tag="tag", dag="qarib_pretrain")["found"] == 1


def test_a_run_that_is_repeated_is_read_again(
    server: TestClient, made: list[MadeUpRun], read: list[str]
) -> None:
    ask_until_read(server)
    read.clear()
    execute("UPDATE dag_run SET state = 'running', end_date = NULL WHERE run_id = 'run-0055'")
    try:
        row = next(run for run in ask(server)["runs"] if run["run_id"] == "run-0055")
        ask_until_read(server)
    finally:
        execute("UPDATE dag_run SET state = 'success', end_date = start_date WHERE run_id = 'run-0055'")
    assert (row["state"], row["ended"]) == ("running", None)
    assert set(read) == {"run-0055"}


def test_a_name_is_text_and_who_may_change_it_is_said(server: TestClient, made: list[MadeUpRun]) -> None:
    row = ask(server)["runs"][0]
    assert row["note"] == {"name": "<b>Best</b>", "tags": ["tag"], "text": "[now](javascript:alert(1))"}
    assert ask(server)["may_note"] == []
    assert ask(server, role="user")["may_note"] == ["qarib_pretrain", "qarib_retrain"]
    own = {"dag_id": "qarib_pretrain", "run_id": row["run_id"]}
    note = ask(server, "/data/note", **own)
    assert note == {**row["note"], "failure": ""}
    assert ask(server, "/data/note", **(own | {"run_id": "run-0000"})) == {
        "name": "", "tags": [], "text": "", "failure": ""
    }  # fmt: skip


def test_only_runs_of_dags_that_one_may_read(
    server: TestClient, made: list[MadeUpRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_until_read(server)
    monkeypatch.setattr(runs, "readable_dags", lambda user: ["qarib_retrain"])
    shown = ask(server)
    assert (shown["runs"], shown["total"], shown["facets"]["preset"]) == ([], 0, {})
    assert ask(server, "/data/run")["run"] is None


def test_a_query_of_anything(server: TestClient, made: list[MadeUpRun]) -> None:
    queries: list[dict[str, Any]] = [
        {"page": -(1 << 70)},
        {"page": 10**30},
        {"sort": "nonsense"},
        {"sort": "-"},
        {"text": "x" * 10_000},
        {"text": "\0"},
        {"state": ["x"] * 90},
    ]
    for query in queries:
        assert ask(server, **query)["total"] == RUNS


def test_what_is_wrong_with_one_run_is_said_there_only(
    server: TestClient, made: list[MadeUpRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("fine", "slow", "broken", "damaged")
    records = [replace(made[0].record, run_id=name) for name in names]
    lines = [replace(database.lines(["qarib_pretrain"])[0], run_id=one.run_id) for one in records]
    shown_lines = [line for line in lines if line.run_id != "slow"]
    monkeypatch.setattr(database, "lines", lambda _: shown_lines)
    monkeypatch.setattr(
        database, "records", lambda keys: [one for one in records if (one.dag_id, one.run_id) in keys]
    )
    monkeypatch.setattr(runs, "FAULTY", runs.ENDED)
    real, go_on = runs.row_of, threading.Event()

    def row_of(record: RunRecord, files: Files, now: float) -> dict[str, Any]:
        if record.run_id == "slow":
            go_on.wait()
        if record.run_id == "broken":
            raise RuntimeError("secret words")
        if record.run_id == "damaged":
            files.mark(InputError("the file is damaged", where="data.json"))
        return real(record, files, now)

    monkeypatch.setattr(runs, "row_of", row_of)
    try:
        ask_until_read(server)  # The others have the usual time.
        shown_lines[:] = lines
        monkeypatch.setenv("QARIB_LIMITS", "page_seconds: 0.2")
        shown = ask_until_read(server)
    finally:
        go_on.set()
    faults = {row["run_id"]: row["fault"] and row["fault"]["what"] for row in shown["runs"]}
    assert faults == {
        "fine": None,
        "slow": "the workspace or the bucket does not answer",
        "broken": "the run's files cannot be shown",
        "damaged": "the file is damaged",
    }
    assert "secret" not in str(shown)


def test_a_table_that_cannot_be_read_is_said(
    server: TestClient, made: list[MadeUpRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that fails for the details of runs costs only these: the next answers try it again."""
    real = database.records

    def broken(keys: Any) -> list[RunRecord]:
        raise RuntimeError

    monkeypatch.setattr(database, "records", broken)
    assert ask(server)["unread"] == RUNS
    monkeypatch.setattr(database, "records", real)
    assert ask_until_read(server)["found"] == RUNS
