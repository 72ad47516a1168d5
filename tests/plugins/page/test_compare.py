"""The route of the comparison of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from qarib_airflow.page import compare, database

from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import RunRecord
from tests.support.browser.many_runs import many_runs, write_evaluations, write_history
from tests.support.made_up_run import MadeUpRun
from tests.support.page_server import ask


@pytest.fixture
def runs(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    """Two runs that have ended and one at work, in the database."""
    made = many_runs(run, 3)
    for one in made:
        assert one.record.model is not None
        write_history(one.workspace / one.record.model.name, 50)
        write_evaluations(one.workspace / one.record.model.name, 0, 50)
    records = [made[0].record, made[1].record, replace(made[2].record, state="running")]
    monkeypatch.setattr(database, "records", lambda keys: [one for one in records if key_of(one) in keys])
    monkeypatch.setattr(database, "notes_of", lambda keys: {key: f"Named {key[1]}\n#tag" for key in keys})
    return records


def key_of(record: RunRecord) -> tuple[str, str]:
    return record.dag_id, record.run_id


def get(server: TestClient, *names: str, **more: Any) -> Any:
    return ask(server, "/data/compare", query={"run": list(names), **more})


def test_runs_in_the_order_of_the_request(server: TestClient, runs: list[RunRecord]) -> None:
    names = [f"qarib_pretrain/run-000{number}" for number in (1, 0)]
    answer = get(server, *names)
    assert answer.status_code == 200
    view = answer.json()
    assert [one["name"] for one in view["runs"]] == ["Named run-0001", "Named run-0000"]
    # After the last line of the history, the progress is 750 steps ahead.
    assert view["runs"][0]["curves"]["masked_lm_loss"]["value"][-2:] == [4.0, 4.5]
    assert "facts" not in view["runs"][0]
    (rate,) = (row for row in view["rows"] if row["name"] == "train.learning_rate")
    assert rate["values"] == ["0.0001", "0.0005"]
    assert view["again_in"] == compare.AT_REST
    assert get(server, *names, "qarib_pretrain/run-0002").json()["again_in"] == compare.AT_WORK
    # The same again, from what is kept.
    assert get(server, *names).json() == view
    smooth = get(server, *names, smoothing=0.2).json()["runs"][0]["curves"]["masked_lm_loss"]
    assert smooth != view["runs"][0]["curves"]["masked_lm_loss"]
    assert get(server, *names, smoothing="nan").json() == view


def test_runs_that_one_may_not_read_are_not_found(
    server: TestClient, runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        "qarib_pretrain/run-0000",
        "secret_dag/run-0001",
        "qarib_pretrain/none",
        "x",
        "qarib_pretrain/\0",
    ]
    view = get(server, *names).json()
    assert [one["found"] for one in view["runs"]] == [True, False, False, False, False]
    assert all(len(row["values"]) == 1 for row in view["rows"])
    monkeypatch.setattr(compare, "readable_dags", lambda user: [])
    assert get(server, *names).status_code == 404


@pytest.mark.parametrize("number", [0, 9])
def test_one_to_eight_runs(server: TestClient, runs: list[RunRecord], number: int) -> None:
    answer = get(server, *(f"qarib_pretrain/run-{one}" for one in range(number)))
    assert answer.status_code == 422
    assert set(answer.json()) == {"what", "where", "do"}


def test_a_run_that_cannot_be_shown_is_a_fault_of_its_own(
    server: TestClient, runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = compare.compared

    def compared(record: RunRecord, files: Files, now: float, smoothing: float) -> dict[str, Any]:
        if record.run_id == "run-0001":
            raise RuntimeError("secret words")
        return real(record, files, now, smoothing)

    monkeypatch.setattr(compare, "compared", compared)
    answer = get(server, "qarib_pretrain/run-0001", "qarib_pretrain/run-0000")
    view = answer.json()
    assert view["runs"][0]["fault"]["what"] == "the run's files cannot be shown"
    assert view["runs"][1]["curves"]
    assert "secret" not in answer.text


def test_what_is_kept_of_runs_is_bounded(
    server: TestClient, runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = compare.compared

    def compared(record: RunRecord, files: Files, now: float, smoothing: float) -> dict[str, Any]:
        made.append(record.run_id)
        return real(record, files, now, smoothing)

    monkeypatch.setattr(compare, "compared", compared)
    names = [f"qarib_pretrain/run-000{number}" for number in (0, 1)]
    get(server, *names)
    get(server, *names)
    assert sorted(made) == ["run-0000", "run-0001"]
    monkeypatch.setattr(compare, "MOST_KEPT", 0)
    get(server, *names)
    assert len(made) > 2
