"""The view *New run* in Chromium: what one types is kept, and starts nothing by chance.

It measures plugins/qarib_airflow/page/static/js/views/new-run.js.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import all_values
from qarib_tasks.config.run import RunConfig
from qarib_tasks.machines.planning.advice import advice
from qarib_tasks.machines.planning.options import plan
from qarib_tasks.machines.planning.text import table
from qarib_tasks.runs.disk_space import size_to_read
from tests.support.browser.in_process import Look
from tests.support.made_up_run import MadeUpRun

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def deployment(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QARIB_BUCKET", run.record.config["upload"]["bucket"])
    monkeypatch.setenv("QARIB_WORKSPACE", str(run.workspace))


def opened(look: Look, *, forgive: str = "", **values: str) -> Page:
    """The view with these values, on this machine and without a fault unless they say otherwise."""
    page = look("new", role="user", forgive=forgive)
    for name, value in {"preset": "demo", "machine": "local", **values}.items():
        box = page.locator(f"#new-{name}")
        if box.evaluate("box => box.tagName") == "SELECT":
            box.select_option(value)
        else:
            box.fill(value)
    return page


def require_ready(page: Page) -> None:
    expect(page.locator("button[type=submit]")).to_have_attribute("aria-disabled", "false")


def starts(page: Page) -> list[Any]:
    """What is sent to Airflow to start runs, from now on."""
    sent: list[Any] = []

    def started(route: Route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"dag_run_id": "made-up"})

    page.route("**/api/v2/dags/*/dagRuns", started)
    return sent


def test_the_plan_has_the_figures_of_the_command_and_of_the_advice(look: Look) -> None:
    page = opened(look, preset="qarib", machine="cloud_tpu")
    values = {"preset": "qarib", "tpu": {"machine": "cloud_tpu"}, "workspace": "-"}
    config = from_dict(RunConfig, all_values(values))
    made = plan(config, size_to_read(config, 0.0), None)
    page.locator("summary", has_text="All options").click()
    rows = page.get_by_role("region", name="All options").locator("tbody tr")
    expect(rows.first).to_be_visible()
    shown = [[cell.split("\n")[0] for cell in row.locator("th, td").all_inner_texts()] for row in rows.all()]
    printed = [re.split(r" {2,}", line)[:6] for line in table(made)[1:]]
    assert [[cell.replace("$", "") for cell in row] for row in shown] == printed
    assert page.locator(".advice li").all_inner_texts() == list(advice(config, made))
    assert any(re.search(r"\d\.\d hours", line) for line in advice(config, made))


def test_enter_in_a_field_starts_nothing(look: Look) -> None:
    page = opened(look)
    require_ready(page)
    sent = starts(page)
    page.locator("#search").fill("batch")
    page.keyboard.press("Enter")
    page.locator("#new-max_cost").fill("5")
    page.keyboard.press("Enter")
    # What was sent would be there before the answer to this.
    page.get_by_role("button", name="Start").dblclick()
    expect(page.get_by_text("Started: made-up")).to_be_visible()
    assert [one["conf"]["max_cost"] for one in sent] == [5]


def test_what_one_typed_is_there_again(look: Look) -> None:
    """After another view, after a reload, and until it was started or emptied."""
    page = opened(look, max_cost="5")
    require_ready(page)
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.locator("#new-max_cost")).to_have_count(0)
    page.go_back()
    expect(page.locator("#new-max_cost")).to_have_value("5")
    page.reload()
    expect(page.locator("#new-max_cost")).to_have_value("5")
    expect(page.locator("#new-preset")).to_have_value("demo")
    starts(page)
    require_ready(page)
    with page.expect_response("**/data/check"):
        page.get_by_role("button", name="Empty all fields").click()
    expect(page.locator("#new-max_cost")).to_have_value("")
    page.reload()
    expect(page.locator("#new-preset")).to_have_value("")


def test_a_check_that_fails_starts_nothing_and_is_forgotten_after_the_next_one(look: Look) -> None:
    page = opened(look, forgive="net::ERR_FAILED")
    require_ready(page)
    sent = starts(page)
    page.route("**/data/check", lambda route: route.abort())
    page.locator("#new-max_cost").fill("6")
    page.get_by_role("button", name="Start").press("Enter")
    expect(page.get_by_text("Not checked: Airflow does not answer. Try again")).to_be_visible()
    assert sent == []
    page.unroute("**/data/check")
    page.locator("#new-max_cost").fill("")
    expect(page.get_by_text("Not checked")).to_have_count(0)
    expect(page.locator(".plan")).to_contain_text("has no price")


def test_signed_out_what_one_typed_stays(look: Look) -> None:
    page = opened(look, forgive="status of 401", max_cost="7")
    fault = {"what": "Not authenticated", "where": "/qarib/data/check", "do": "Sign in to Airflow"}
    page.route("**/data/check", lambda route: route.fulfill(body=json.dumps(fault), status=401))
    page.get_by_role("button", name="Start").press("Enter")
    expect(page.get_by_text("Not checked: you are signed out.")).to_be_visible()
    link = page.locator(".plan").get_by_role("link", name="Sign in")
    expect(link).to_have_attribute("target", "_blank")
    expect(page.locator("#new-max_cost")).to_have_value("7")
