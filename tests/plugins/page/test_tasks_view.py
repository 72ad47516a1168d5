"""The view Tasks in Chromium: the application of the page with its guard, and files of made-up runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from qarib_airflow.page import answers, database

from qarib_tasks.runs.places import WORKSPACES_VARIABLE
from qarib_tasks.views.files import Cache
from qarib_tasks.views.runs import RunRecord
from tests.support.browser.in_process import Look
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import HOSTILE, MadeUpRun, arabic_task, make_run, write_probes, write_tuning

pytestmark = pytest.mark.slow
FORMER = "demo-00000000cc"
LONG = "لهجة من لهجات العرب لا يتسع لاسمها الطويل عمود ضيق", "a label that names something at great length"
Open = Callable[..., Page]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpRun:
    """A run that trains, and one before it that has made another model."""
    monkeypatch.setenv(WORKSPACES_VARIABLE, str(tmp_path))
    monkeypatch.setattr(answers, "CACHE", Cache())
    made = make_run(tmp_path, 1)
    config = {**made.record.config, "upload": {"bucket": ""}, "evaluate": {"tasks": [{"name": "sentiment"}]}}
    config |= {"train": {"train_steps": 300}}
    started = datetime(2026, 1, 2, tzinfo=UTC)
    values = {**made.record.values, "config": config}
    record = replace(made.record, state="running", started=started, values=values)
    values = {**values, "model_id": FORMER}
    earlier = replace(record, run_id="before", started=started.replace(day=1), values=values)

    def runs(dag_ids: Any, *, run_id: str | None = None, **_: Any) -> list[RunRecord]:
        return [one for one in (made.record, earlier) if run_id in (None, one.run_id)]

    monkeypatch.setattr(database, "runs", runs)
    made.record = record
    return made


@pytest.fixture
def view(look: Look) -> Open:
    return lambda width=1280: look("tasks?dag_id=qarib_pretrain&run_id=made-up", width)


def own(run: MadeUpRun) -> Path:
    return run.workspace / "models/demo-00000000bb"


def test_with_tasks(run: MadeUpRun, view: Open) -> None:
    """Curves, fine-tuning, and texts that changed, beside the previous model's, from files that hold HTML."""
    sentiment, dialect = arabic_task("sentiment"), arabic_task("لهجة", labels=("خليجي", *LONG), hostile=True)
    sarcasm = arabic_task("sarcasm")
    for step, every in ((0, 2), (100, 3), (200, 4)):
        write_probes(own(run), step, sentiment, dialect, sarcasm, every=every, sample=40)
    write_tuning(own(run), sentiment, dialect, every=7, missing=[1])
    former = run.workspace / "models" / FORMER
    write_probes(former, 100, sentiment, dialect, replace(sarcasm, metric="accuracy"), every=2)
    write_tuning(former, sentiment, every=3)
    page = view()
    curve = page.get_by_role("region", name="sentiment", exact=True).get_by_role("img")
    name = r"^Probe: macro-F1: probe 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) at step 200, TF-IDF 0\.500 \(0\.400 to"
    expect(curve).to_have_attribute("aria-label", re.compile(name + ".*most frequent label 0.200"))
    expect(page.locator(".u-legend .edge").first).to_be_hidden()
    expect(
        page.get_by_text(
            "12 training texts, 40 of 60 test texts, to stay within evaluate.probe_seconds"
        ).first
    ).to_be_visible()
    # The same as a table.
    region = page.get_by_role("region", name="sentiment", exact=True)
    region.get_by_text("Values (3)").click()
    values = page.get_by_role("region", name="Probe of sentiment by step").get_by_role("row")
    assert [row.split("\t")[0] for row in values.all_inner_texts()] == ["Step", "0", "100", "200"]
    # Fine-tuning, its seeds, and the previous model's.
    tuned = page.get_by_role("region", name="Fine-tuning", exact=True)
    first, second = (tuned.get_by_role("row").nth(number) for number in (1, 2))
    expect(first).to_contain_text(
        re.compile(r"0\.\d{3} ± 0\.\d{3}\s*2 seeds, missing: seed 1\s*0\.\d{3} ± 0\.\d{3}\s*▲ 0\.\d{3}")
    )
    expect(second).to_contain_text("not scored")
    expect(page.get_by_role("region", name="Probe", exact=True).get_by_role("row").nth(3)).to_contain_text(
        "scored on other texts"
    )
    expect(page.get_by_text("Missing: seed 1.").first).to_be_hidden()
    page.get_by_text("Values of each seed").click()
    expect(page.get_by_text("Missing: seed 1.").first).to_be_visible()
    seeds = page.get_by_role("region", name="Seeds of sentiment").get_by_role("row")
    assert [row.split("\t")[:2] for row in seeds.all_inner_texts()[1:]] == [["0", "2.0e-5"], ["2", "2.0e-5"]]
    # The confusion matrix of the fine-tuning, with labels of another direction.
    matrix = page.get_by_role("region", name="Confusion matrix of لهجة, fine-tuning, 2 seeds together")
    assert matrix.get_by_role("columnheader").all_inner_texts()[1:] == ["خليجي", *LONG, "right"]
    assert matrix.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts() == ["30", "10", "0", "75%"]
    assert matrix.locator("tbody bdi").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    # Texts are text.
    changed = page.locator(".task").nth(1).locator(".changed .arabic")
    expect(changed).to_have_count(10)
    assert changed.first.inner_text().startswith(HOSTILE)
    expect(page.get_by_text("Of 40 test texts, 10 changed from wrong to right").first).to_be_visible()
    arabic = page.locator(".task").first.locator(".changed .arabic")
    expect(arabic).to_have_count(17)
    assert arabic.first.evaluate("e => [e.dir, getComputedStyle(e).direction]") == ["auto", "rtl"]
    expect(page.get_by_text("fine-tuned with seed 0").first).to_be_visible()
    assert page.title() == "QARiB"
    require_accessible(page)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        require_no_overflow(page)


def test_fifty_labels(run: MadeUpRun, view: Open) -> None:
    labels = [f"{LONG[number % 2]} {number:02}" for number in range(51)]
    write_probes(
        own(run), 100, arabic_task("fifty", labels=labels[:50]), arabic_task("more", labels=labels), every=3
    )
    path = own(run) / "bert_evals/evaluation-100.json"
    values = json.loads(path.read_text())
    values["tasks"][0] |= {"left_out_documents": 1, "contaminated_documents": 3000}
    path.write_text(json.dumps(values))
    page = view(390)
    expect(page.get_by_text("In the training text: 3,000 documents with test texts.")).to_be_visible()
    expect(page.get_by_text("Left out of the training text: 1 document with test texts.")).to_be_visible()
    matrix = page.get_by_role("region", name="Confusion matrix of fifty, evaluation at step 100")
    expect(matrix.get_by_role("rowheader")).to_have_count(50)
    last = matrix.get_by_role("rowheader").last
    last.scroll_into_view_if_needed()
    matrix.evaluate("e => { e.scrollLeft = e.scrollWidth }")
    # What is scrolled to keeps its label and its heading.
    for place in (last, matrix.get_by_role("columnheader").last):
        expect(place).to_be_in_viewport()
    expect(page.get_by_text("Not shown for 51 labels.")).to_be_visible()
    expect(page.get_by_text("There is no previous model to compare with.")).to_be_visible()
    require_no_overflow(page)


def test_without_tasks(run: MadeUpRun, view: Open) -> None:
    evals = own(run) / "bert_evals"
    evals.mkdir(parents=True)
    (evals / "evaluation-5.json").write_text('{"step": 5, "masked_lm_loss": 3.0}')
    page = view()
    expect(page.get_by_text("No labelled tasks")).to_be_visible()
    expect(page.get_by_text("in the setting Labelled tasks (evaluate.tasks).")).to_be_visible()
    link = page.get_by_role("link", name="Documentation of labelled tasks")
    expect(link).to_have_attribute("href", re.compile(r"docs/training\.md#labelled-tasks$"))
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)


def test_during_training(run: MadeUpRun, view: Open) -> None:
    """The lines grow without a reload, and what is unfolded stays so."""
    task = arabic_task("sentiment")
    page = view()
    expect(page.get_by_text("No evaluation yet")).to_be_visible()
    write_probes(own(run), 0, task, every=2)
    curve = page.get_by_role("region", name="sentiment", exact=True).get_by_role("img")
    expect(curve).to_have_attribute("aria-label", re.compile(r"probe .* at step 0, TF-IDF 0\.500 .*, most"))
    expect(page.get_by_text("No evaluation yet")).to_have_count(0)
    page.get_by_text("Values (1)").click()
    canvas = page.locator("canvas").first
    drawn = canvas.evaluate("e => e.toDataURL()")
    write_probes(own(run), 10, task, every=3)
    (own(run) / "bert_evals/tasks.json").write_text("{")
    expect(curve).to_have_attribute("aria-label", re.compile(r"probe .* at step 10"))
    expect(page.get_by_text("Values (2)")).to_be_visible()
    expect(page.get_by_role("region", name="Probe of sentiment by step")).to_be_visible()
    while canvas.evaluate("e => e.toDataURL()") == drawn:  # It is drawn a moment later.
        pass
    expect(page.get_by_text("no results of fine-tuning")).to_be_visible()
    write_tuning(own(run), task, every=5)
    expect(page.get_by_role("region", name="Fine-tuning", exact=True)).to_be_visible()
    expect(page.get_by_text("no results of fine-tuning")).to_have_count(0)
