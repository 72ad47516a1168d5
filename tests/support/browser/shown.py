"""The figures that the page shows of a finished run, and that each is what the run's files give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import demo
from playwright.sync_api import Page, expect

from tests.support.browser.figures import changed, corpus, details, differences, row, shard, shards
from tests.support.browser.figures_of_models import compared, curves, model, tasks, tpu, training
from tests.support.browser.finished import Finished
from tests.support.browser.formats import counted
from tests.support.browser.site import Site

VIEWS = {"shards": shards, "corpus": corpus, "training": training, "tasks": tasks, "model": model}
# All texts with a digit, by where they are. Words of corpora, code, and what is under the pointer have none.
SHOWN = """() => {
  const view = document.querySelector("#view");
  const all = (selector, node = view) => [...node.querySelectorAll(selector)];
  const text = (node) => node ? node.textContent.trim() : "";
  const notes = ".note, .cell-note";
  const cell = (node) => {
    if (!node.querySelector(notes)) return text(node);
    const copy = node.cloneNode(true);
    all(notes, copy).forEach((one) => one.remove());
    return [text(copy), text(node.querySelector(notes))];
  };
  const named = all("dl > div").map((one) => [text(one.querySelector("dt")), cell(one.querySelector("dd"))]);
  const rows = (table) => [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.hidden);
  const cells = (row) => [...row.cells].filter((one) => !one.matches(".bar")).map(cell);
  const tables = all("table:not(.u-legend, .card-text table)")
    .map((table) => [text(table.caption), rows(table).map(cells)]);
  const charts = all("section:not([hidden]) > .plot").map((one) => one.getAttribute("aria-label"));
  const elsewhere = "dl, table, .arabic, code, pre, .plot, .card-text, .cells, .tip, select, svg";
  const rest = [];
  const walk = document.createTreeWalker(view, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (/\\d/.test(node.data) && !node.parentElement.closest(elsewhere)) rest.push(node.data.trim());
  }
  return { named, tables, charts, rest: rest.sort() };
}"""


def shown(page: Page) -> dict[str, Any]:
    """What a view shows: named figures, tables by caption, what charts say, and other texts with a digit.

    A figure with a note is a list of both.
    """
    found: dict[str, Any] = page.evaluate(SHOWN)
    return found


def require_right_figures(site: Site) -> None:
    """Every figure in the views of the site's finished run, its row, and its details is the right one."""
    run = Finished.of(site)
    for name, wanted in VIEWS.items():
        page = site.open(name)
        expect(page.locator(".card").first).to_be_visible()
        assert shown(page) == wanted(run), name
        if name in MORE:
            MORE[name](page, run)
        page.close()
    page = site.open("runs")
    page.get_by_role("button", name=f"Details of {run.run['dag_run_id']}").click()
    expect(page.locator(".run", has_text=site.run_id).locator(".is-loss")).not_to_have_text("…")
    found = shown(page)
    tables = dict(map(tuple, found["tables"]))
    rows = [cells for cells in tables["Runs"] if run.run["dag_run_id"] in cells[0]]
    assert rows[0][1:] == row(run)
    assert found["named"] == details(run)
    assert [cells[1:] for cells in tables["Settings that are not the preset's"]] == changed(run)
    assert found["rest"] == [counted(run.runs, "run")]
    query = urlencode({"run": f"{demo.DAG}/{run.run['dag_run_id']}", "all": 1})
    page.goto(f"{site.stack.url}/qarib/#/compare?{query}")
    expect(page.locator(".differences")).to_be_visible()
    found = shown(page)
    assert found["charts"] == compared(run)
    ((_, rows),) = found["tables"]
    assert rows[rows.index(["Data"]) :] == differences(run)
    page.close()


def require_right_figures_of_tpu(page: Page, *files: Mapping[str, Any]) -> None:
    """Every figure of the TPU in the view Training is the right one; for the files, see `tpu`."""
    found, wanted = shown(page), tpu(*files)
    names = [name for name, _ in found["named"]]
    assert found["named"][names.index("State") :] == wanted["named"]
    assert dict(map(tuple, found["tables"]))["Goodput"] == wanted["tables"]
    assert set(wanted["rest"]) <= set(found["rest"])


def _each_shard(page: Page, run: Finished) -> None:
    for name in run.shards:
        page.get_by_role("option", name=f"{name}: complete", exact=True).click()
        expect(page.locator(".detail h2")).to_have_text(name)
        assert page.evaluate(SHOWN)["named"][-len(shard(run, name)) :] == shard(run, name), name


def _all_points(page: Page, run: Finished) -> None:
    query = urlencode({"dag_id": demo.DAG, "run_id": run.run["dag_run_id"]})
    answer = page.evaluate("async (query) => (await fetch(`data/training?${query}`)).json()", query)
    assert answer["history"] == curves(run)
    assert answer["evaluations"] == [
        {key: value for key, value in one.items() if key in answer["evaluations"][0]}
        for one in run.evaluations
    ]


def _the_card(page: Page, run: Finished) -> None:
    card = page.get_by_role("region", name="Model card").inner_text()
    assert numbers(card) == numbers((run.model / "export/README.md").read_text(encoding="utf-8"))


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d.,]*", text)


MORE = {"shards": _each_shard, "training": _all_points, "model": _the_card}
