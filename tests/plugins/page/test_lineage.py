"""The lineage of all runs, as the page answers it and draws it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from qarib_airflow.page import answers, database, lineage

from qarib_tasks.views.runs import RunRecord
from tests.support.browser.in_process import Look
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import HOSTILE
from tests.support.page_server import allow, ask
from tests.views.test_way import steps

BASE = ("demo-00000000aa", "demo-00000000bb")
LATER = ("demo-00000000cc", "demo-00000000dd")


def record(workspace: Path, run_id: str, dataset: str, model: str, **config: Any) -> RunRecord:
    config = {"preset": "demo", "workspace": str(workspace), **config}
    values = {"config": config, "dataset_id": dataset, "model_id": model}
    return RunRecord(
        dag_id="qarib_pretrain", run_id=run_id, state="success", values=values, steps=steps("success")
    )


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    """A run, a later one that extends its dataset and goes on from its model, which is promoted."""
    allow(monkeypatch, tmp_path, "")
    first = record(
        tmp_path, "first", *BASE, collect={"sources": [{"name": HOSTILE, "path": "/data/تغريدات"}]}
    )
    later = record(
        tmp_path, "later", *LATER, extends=BASE[0], train={"start_from": f"{tmp_path}/models/{BASE[1]}"},
        collect={"sources": [{"name": "news", "path": "/data/news"}]},
    )  # fmt: skip
    judged = [
        {
            "model_id": BASE[1],
            "state": "promoted",
            "total_steps": 1000,
            "evaluation": {"masked_lm_loss": 6.5},
        },
        {"model_id": LATER[1], "state": "promoted", "total_steps": 2000},
    ]
    promoted = {"presets": {"demo": {"promoted": LATER[1], "judged": judged}}}
    (tmp_path / "models").mkdir()
    (tmp_path / "models/promoted.json").write_text(json.dumps(promoted))
    found = [later, first]

    def runs(dag_ids: Any, *, limit: int = 20, **_: Any) -> list[RunRecord]:
        return [one for one in found if one.dag_id in dag_ids][:limit]

    monkeypatch.setattr(database, "runs", runs)
    return found


def test_all_runs_that_one_can_read(server: TestClient, records: list[RunRecord]) -> None:
    view = ask(server, "/data/lineage").json()
    names = [node["name"] for node in view["nodes"]]
    assert {LATER[0], LATER[1], BASE[0], BASE[1], HOSTILE, "news", "demo"} == set(names)
    assert [view["runs"], view["more"], view["cut"], view["trouble"]] == [2, False, False, None]
    found = {(names[source], names[target]): name for source, target, name in view["edges"]}
    assert found[BASE[0], LATER[0]] == "extends"
    assert found[BASE[1], LATER[1]] == "started from"
    assert found[LATER[1], "demo"] == "is"


def test_only_the_newest_runs(
    server: TestClient, records: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MOST_RUNS", 1)
    view = ask(server, "/data/lineage").json()
    assert (view["runs"], view["more"]) == (1, True)
    states = {node["name"]: node["state"] for node in view["nodes"]}
    # What it was made from is there all the same.
    assert states[BASE[0]] == "of no run shown"
    assert states[BASE[1]] == "promoted before"


def test_a_place_that_cannot_be_read(server: TestClient, records: list[RunRecord], tmp_path: Path) -> None:
    other = replace(records[0], run_id="elsewhere", values=record(tmp_path / "other", "", *LATER).values)
    records.append(other)
    view = ask(server, "/data/lineage").json()
    assert view["trouble"]["what"] == "no workspace of this deployment"
    assert sum(node["kind"] == "promoted" for node in view["nodes"]) == 1
    (tmp_path / "models/promoted.json").write_text("[" * 100)
    answers.CACHE.age(1e9)
    assert "promoted" not in [node["kind"] for node in ask(server, "/data/lineage").json()["nodes"]]


@pytest.mark.slow
def test_the_graph(records: list[RunRecord], look: Look) -> None:
    page = look("lineage?dag_id=qarib_pretrain&run_id=first")
    graph = page.get_by_role("region", name="Graph of what was made from what")
    expect(graph.locator(".node")).to_have_count(7)
    expect(graph.locator(".edge")).to_have_count(7)
    for node in graph.locator(".node").all():
        expect(node).to_be_visible()
    # What the run has made is marked, and hostile names are text.
    expect(graph.locator(".own .node-name")).to_have_text([HOSTILE, BASE[0], BASE[1]])
    assert page.title() == "QARiB"
    # From the newest source to what was made from it, by the keyboard alone.
    news = graph.get_by_role("link", name="news")
    news.focus()
    expect(graph.locator(".node.far")).to_have_text([re.compile(one) for one in ("script", *BASE)])
    for key, name in (("Right", LATER[0]), ("Right", LATER[1]), ("Down", BASE[1]), ("Left", BASE[0])):
        page.keyboard.press(f"Arrow{key}")
        expect(page.locator(":focus .node-name")).to_have_text(name)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/shards\?dag_id=qarib_pretrain&run_id=first"))
    page.close()


@pytest.mark.slow
def test_the_same_as_a_table_and_on_a_phone(records: list[RunRecord], look: Look) -> None:
    page = look("lineage")
    require_accessible(page)
    page.get_by_text("As a table").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=LATER[1]))
    expect(row.get_by_role("cell")).to_have_text(
        ["Model", "promoted", re.compile(f"trained on {LATER[0]}.*started from {BASE[1]}"), "later"]
    )
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)
    graph = page.get_by_role("region", name="Graph of what was made from what")
    last = graph.get_by_role("link", name="demo /")
    last.focus()
    expect(last).to_be_in_viewport()
    require_no_overflow(page)
    page.close()


@pytest.mark.slow
def test_no_run_yet(records: list[RunRecord], look: Look) -> None:
    records.clear()
    page = look("lineage")
    expect(page.get_by_text("Nothing made yet")).to_be_visible()
    require_accessible(page)
    page.close()
