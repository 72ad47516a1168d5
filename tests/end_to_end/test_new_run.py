"""The view *New run* in a real browser: a run planned and started by the keyboard alone."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import urlencode

import demo
import pytest
from local_stack import TINY_MODEL
from playwright.sync_api import Page, expect

from qarib_tasks.config.presets import SAMPLE
from tests.support.browser.site import (
    SECONDS,
    Site,
    require_accessible,
    require_no_overflow,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_leaves_and_nothing_is_refused")]
SECONDS_OF_CHECK = 120
TYPED = {
    "vocab_size": "1,000",
    "dupe_factor": "1",
    **{name: str(value) for name, value in TINY_MODEL.items()},
    "num_warmup_steps": "5",  # first: as many steps as the preset's warm-up are refused
    "train_steps": "2e1",
    "learning_rate": ".0001",
    "save_checkpoints_steps": "٢٠",
}


def press(page: Page, key: str, until: str) -> None:
    """Press a key until the element has the focus."""
    for _ in range(300):
        if page.evaluate("selector => document.activeElement.matches(selector)", until):
            return
        page.keyboard.press(key)
    raise AssertionError(f"the keyboard does not reach {until}")


def test_a_run_is_planned_and_started_by_the_keyboard_alone(site: Site) -> None:
    page = site.open("new")
    plan, fault = page.get_by_role("complementary", name="Plan"), page.locator(".fault:not(:empty)")
    press(page, "Tab", "#new-preset")
    page.keyboard.type("demo")
    expect(page.locator("#new-preset")).to_have_value("demo")
    expect(plan).to_contain_text("Calculated, without preemptions")
    press(page, "Tab", "#new-machine")
    page.keyboard.type("local")
    expect(plan).to_contain_text("has no price")
    press(page, "Tab", "#new-max_cost")
    page.keyboard.type("2,5")
    expect(fault.first).to_contain_text("is not a number that can be read in one way")
    expect(page.locator("#new-max_cost")).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    expect(fault).to_have_count(0)
    # A source, key by key.
    press(page, "Shift+Tab", "fieldset button")
    page.keyboard.press("Enter")
    page.keyboard.type("/etc/passwd")
    expect(fault.first).to_contain_text("sources may not be read from /etc/passwd")
    page.keyboard.press("Control+A")
    page.keyboard.type(str(SAMPLE / "tweets.txt"))
    expect(fault).to_have_count(0)
    press(page, "Tab", "fieldset li button")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Preview")).to_be_visible()
    # All other fields are found by their names.
    for name, value in TYPED.items():
        press(page, "Tab" if name == next(iter(TYPED)) else "Shift+Tab", "#search")
        page.keyboard.press("Control+A")
        page.keyboard.type(name)
        press(page, "Tab", f"#new-{name}")
        page.keyboard.type("-5")
        expect(page.locator(f"#new-{name}")).to_have_attribute("aria-invalid", "true")
        page.keyboard.press("Control+A")
        page.keyboard.type(value)
        expect(page.locator(f"#new-{name}")).to_have_attribute("aria-invalid", "false")
    expect(page.locator("button[type=submit]")).to_have_attribute("aria-disabled", "false")
    require_accessible(page)
    press(page, "Tab", "button[type=submit]")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Started:")).to_be_visible()
    (run,) = site.stack.api("GET", f"dags/{demo.DAG}/dagRuns")["dag_runs"]
    assert run["triggering_user_name"] == "admin"
    wanted = {"train_steps": 20, "learning_rate": 1e-4, "save_checkpoints_steps": 20, "vocab_size": 1000}
    assert {name: run["conf"][name] for name in wanted} == wanted
    assert run["conf"]["sources"] == [{"name": "tweets", "path": str(SAMPLE / "tweets.txt")}]
    # It leads to the run.
    press(page, "Tab", "[role=status] a")
    page.keyboard.press("Enter")
    expect(page.get_by_text(run["dag_run_id"])).to_be_visible()
    site.run_id = run["dag_run_id"]
    page.close()


def test_again_with_the_same_values(site: Site) -> None:
    page = site.open("runs")
    page.get_by_role("button", name="Details of").first.click()
    page.get_by_role("link", name="Run again with these values").click()
    expect(page.locator("#new-learning_rate")).to_have_value("0.0001")
    expect(page.locator("#new-train_steps")).to_have_value("20")
    expect(page.locator("#new-sources-1-path")).to_have_value(str(SAMPLE / "tweets.txt"))
    expect(page.get_by_text(re.compile("changed$")).first).to_be_visible()
    steps = page.locator(".field", has=page.locator("#new-train_steps"))
    expect(steps.get_by_text(re.compile(r"^In the preset: [\d,]+$"))).to_be_visible()
    page.close()


def test_again_with_what_airflow_s_form_and_api_send(site: Site) -> None:
    """Sources one path a line, a list of columns, and a sentence with a comma arrive as they were meant."""
    conf = {
        "sources": "/data/{a,b}.txt\n/data/c/",
        "tasks": [{"name": "t", "train": "/data/t.csv", "header": False}],
        "fill_mask_sentences": ["one, two [MASK]"],
        "train_steps": "-5",
    }
    run_id = site.stack.trigger(demo.DAG, conf)
    page = site.context.new_page()
    page.set_default_timeout(SECONDS)
    query = urlencode({"dag_id": demo.DAG, "run_id": run_id, "again": 1})
    with page.expect_request("**/data/check") as asked:
        page.goto(f"{site.stack.url}/qarib/#/new?{query}")
    sent = asked.value.post_data_json["values"]
    assert sent["sources"] == [{"name": "a_b", "path": "/data/{a,b}.txt"}, {"name": "c", "path": "/data/c/"}]
    assert sent["tasks"] == [{"name": "t", "train": "/data/t.csv", "header": "false"}]
    assert (sent["fill_mask_sentences"], sent["train_steps"]) == (["one, two [MASK]"], "-5")
    page.close()


def test_on_a_phone(site: Site) -> None:
    page = site.open("new", width=390)
    require_no_overflow(page)
    require_accessible(page)
    page.close()


def test_a_viewer_can_plan_but_not_start(site: Site) -> None:
    page = site.as_guest("new")
    expect(page.get_by_text("To start one, ask an administrator")).to_be_visible()
    assert page.get_by_role("button", name="Start").count() == 0
    expect(page.locator("#new-machine option").first).to_have_text("(cloud_tpu)")
    page.context.close()


def over(site: Site, run_id: str) -> None:
    """Wait for the end of a run."""
    while site.stack.run(demo.DAG, run_id)["state"] not in ("success", "failed"):
        site.stack.check()
        time.sleep(1)


def test_a_training_is_stopped_from_the_page_and_goes_on(site: Site) -> None:
    stack = site.stack
    over(site, site.run_id)
    known = stack.run(demo.DAG, site.run_id)["conf"]
    long = {"train_steps": 1_000_000, "save_checkpoints_steps": 500_000, "num_warmup_steps": 5}
    run_id = stack.trigger(demo.DAG, known | long)
    page = site.open("training", run_id)
    steps = page.get_by_text(re.compile(r"^[1-9][\d,]* of 1,000,000 steps"))
    expect(steps).to_be_visible(timeout=4 * SECONDS)
    page.get_by_role("button", name="Stop and save").click()
    page.get_by_role("button", name="Save and stop").click()
    expect(page.get_by_text("Asked.")).to_be_visible()
    expect(page.locator("#notices")).to_contain_text(
        "train failed: admin asked it to stop; its state is saved", timeout=4 * SECONDS
    )
    run = demo.read_run(stack, run_id)
    saved = json.loads(run.model.progress.read_text())["step"]
    assert 0 < saved < 1_000_000
    assert list(run.model.bert_model.glob(f"*-{saved}*.json"))
    assert not (run.model.root / "stop").exists()
    # Cleared, it goes on. Airflow 3.3's scheduler ends if tasks are cleared while it ends their run.
    over(site, run_id)
    clear = {
        "dry_run": False,
        "task_ids": ["train"],
        "dag_run_id": run_id,
        "only_failed": False,
        "include_downstream": True,
    }
    stack.api("POST", f"dags/{demo.DAG}/clearTaskInstances", json=clear)
    expect(page.locator("#notices")).to_be_empty(timeout=4 * SECONDS)
    while saved not in (json.loads(run.model.progress.read_text()).get("resumed") or []):
        stack.check()
        time.sleep(1)
    page.close()


def test_the_deployment_is_checked_by_a_button(site: Site) -> None:
    """The emulators have no fault, so the check's run succeeds."""
    page = site.open("new")
    page.get_by_role("button", name="Check the deployment").click()
    link = page.get_by_role("link", name="its run in Airflow")
    expect(link).to_be_visible()
    assert "/dags/qarib_check/runs/" in (link.get_attribute("href") or "")
    deadline = time.monotonic() + SECONDS_OF_CHECK
    while (run := site.stack.api("GET", "dags/qarib_check/dagRuns")["dag_runs"][0])["state"] != "success":
        assert run["state"] in ("queued", "running"), run
        assert time.monotonic() < deadline, run
        time.sleep(1)
    page.close()
