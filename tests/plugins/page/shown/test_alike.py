"""Figures of several runs in Chromium: those that were not measured alike are not compared without a word."""

from __future__ import annotations

import json
from csv import DictReader
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect
from qarib_airflow.page import answers, database, runs

from qarib_tasks.views.many.table import Line
from qarib_tasks.views.runs import RunRecord
from tests.support.browser.in_process import Look
from tests.support.browser.many_runs import many_runs, write_evaluations, write_history
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import MadeUpRun, arabic_task, make_run, write_probes

pytestmark = pytest.mark.slow
Made = list[RunRecord]


def serve(monkeypatch: pytest.MonkeyPatch, records: Made) -> None:
    """Have Airflow's database tell of these runs."""
    lines = [Line(dag_id=one.dag_id, run_id=one.run_id, state=one.state) for one in records]
    monkeypatch.setattr(database, "lines", lambda _: lines)
    monkeypatch.setattr(
        database, "records", lambda keys: [o for o in records if (o.dag_id, o.run_id) in keys]
    )
    monkeypatch.setattr(database, "notes_of", lambda _: {})
    monkeypatch.setattr(runs, "READER", runs.Reader())
    answers.CACHE.age(1e9)


@pytest.fixture
def made(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Two runs of one dataset, and one of another."""
    other = make_run(run.workspace, 2, dataset_id="demo-00000000cc")
    manifest = json.loads(other.dataset.manifest.read_text())
    for one in manifest["outputs"]:
        one["sha256"] = "1" * 64
    other.dataset.manifest.write_text(json.dumps(manifest))
    records = [one.record for one in many_runs(run, 3)]
    values = {**records[2].values, "dataset_id": other.dataset.dataset_id}
    records[2] = replace(records[2], values=values)
    for number, record in enumerate(records):
        record.values["config"]["upload"]["bucket"] = ""
        folder = folder_of(run, record)
        write_history(folder, 50)
        write_probes(folder, 50, arabic_task("sentiment"), every=3 + number)
        write_evaluations(folder, 0, 50)
    serve(monkeypatch, records)
    return records


def folder_of(run: MadeUpRun, record: RunRecord) -> Path:
    assert record.model is not None
    return run.workspace / record.model.name


def compare(look: Look, *numbers: int, **more: Any) -> Page:
    keys = [("run", f"qarib_pretrain/run-{number:04}") for number in numbers]
    return look(f"compare?{urlencode([*keys, *more.items()])}")


def warnings(page: Page) -> list[str]:
    return page.locator(".note.warning").all_inner_texts()


def test_of_one_dataset_all_are_alike(made: Made, look: Look) -> None:
    page = compare(look, 0, 1)
    expect(page.locator(".differences")).to_be_visible()
    assert warnings(page) == []


def test_held_out_parts_that_differ(made: Made, look: Look) -> None:
    page = compare(look, 0, 1, 2)
    expect(page.locator(".note.warning")).to_have_count(2)
    assert warnings(page) == [
        f"Not to be compared: {what} of run-0000, run-0001 with those of run-0002. They are measured on "
        f"different {where}."
        for what, where in (
            ("figures on training data", "datasets"),
            ("held-out figures", "held-out examples"),
        )
    ]
    row = page.locator(".differences").get_by_role("row", name="Held-out part")
    parts = row.get_by_role("cell").all_inner_texts()
    assert parts[0] == parts[1] != parts[2]
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)


def test_tasks_with_other_texts_and_a_held_out_part_that_is_not_known(
    run: MadeUpRun, made: Made, look: Look
) -> None:
    write_probes(folder_of(run, made[1]), 50, arabic_task("sentiment", labels=("good", "bad")), every=3)
    del made[1].values["config"]["evaluate"]["max_eval_steps"]
    page = compare(look, 0, 1)
    expect(page.locator(".note.warning")).to_have_count(2)
    assert warnings(page) == [
        "Not known: on which held-out examples the held-out figures of run-0001 are measured.",
        "Not to be compared: probes of sentiment of run-0000 with those of run-0001. They are measured on "
        "different test texts, or by different metrics.",
    ]


def test_an_order_by_what_was_not_measured_alike(
    run: MadeUpRun, made: Made, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look("runs?sort=loss")
    expect(page.get_by_text("still being read")).to_have_count(0)
    expect(page.get_by_text("The held-out losses are of different datasets")).to_be_visible()
    serve(monkeypatch, made[:2])
    page = look("runs?sort=loss")
    expect(page.get_by_text("2 runs", exact=True)).to_be_visible()
    expect(page.get_by_text("The held-out losses")).to_have_count(0)


def test_figures_that_differ_look_different(
    run: MadeUpRun, made: Made, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a loss of 4.0000 and one of 4.0001, of 999,990 and a million steps, and of zeros that are not."""
    for number, loss in ((0, 4.0), (1, 4.0001)):
        path = folder_of(run, made[number]) / "bert_evals/evaluation-50.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"masked_lm_loss": loss}))
        progress = folder_of(run, made[number]) / "progress.json"
        values = json.loads(progress.read_text())
        progress.write_text(json.dumps(values | {"step": 999_990 + 10 * number, "train_steps": 1_000_000}))
    answers.CACHE.age(1e9)
    page = compare(look, 0, 1)
    row = page.locator(".differences").get_by_role("row", name="Held-out masked-LM loss")
    expect(row.get_by_role("cell")).to_have_text(["4.0000", "4.0001"])
    page = look("runs")
    steps = page.locator("tbody.run", has_text="run-0000").locator(".is-steps")
    expect(steps).to_have_text("999.99K of 1M")
    expect(page.locator("tbody.run", has_text="run-0001").locator(".is-steps")).to_have_text("1M of 1M")


def test_more_runs_than_fit_and_the_same_one_twice(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [one.record for one in many_runs(run, 9)]
    for record in records:
        record.values["config"]["upload"]["bucket"] = ""
    serve(monkeypatch, records)
    page = compare(look, 0, *range(9))
    expect(page.locator(".compared li")).to_have_count(8)
    expect(page.get_by_text("Only the first 8 of 9 runs are compared.")).to_be_visible()
    page.get_by_role("button", name="Remove run-0001").click()
    expect(page.locator(".compared li")).to_have_count(7)


def test_a_link_can_have_anything(made: Made, look: Look) -> None:
    for page in ("x", "-1", "1e9", "9" * 40):
        shown = look(f"runs?page={page}")
        expect(shown.get_by_text("3 runs", exact=True)).to_be_visible()
        shown.close()
    page = compare(look, 0, 1, x="nothing", smooth="much", hide="x,99")
    expect(page.locator(".differences")).to_be_visible()
    expect(page.locator("#compare-x")).to_have_value("step")
    expect(page.locator("#compare-smooth")).to_have_value("")


def test_saved_rows_say_nothing_of_runs_that_are_not_read(
    made: Made, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a figure and its note are two words."""
    page = look("runs")
    ready = page.get_by_text("still being read")
    expect(ready).to_have_count(0)

    def saved() -> list[dict[str, str]]:
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of these rows").click()
        return list(DictReader(StringIO(download.value.path().read_text(encoding="utf-8-sig"))))

    assert {(row["Best score"], row["Cost"]) for row in saved()} == {("–", "no TPU")}
    monkeypatch.setattr(database, "records", lambda _: [])
    monkeypatch.setattr(runs, "READER", runs.Reader())
    expect(ready).to_be_visible()
    assert {(row["State"], row["Cost"], row["Steps"]) for row in saved()} == {("success", "", "")}
