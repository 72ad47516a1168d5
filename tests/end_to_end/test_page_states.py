"""What the page says of runs in every state, in a real browser: made-up runs in a real Airflow's database."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from qarib_airflow.reporting.waits import NOT_THERE

from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.way import Reason
from tests.support.browser.page_site import PageStack, showing
from tests.support.browser.site import (
    GUEST,
    SECONDS,
    Site,
    require_accessible,
    require_no_overflow,
    undisturbed,
)
from tests.support.made_up_run import MadeUpRun, emulator_bucket, insert_run, make_run, write_training
from tests.views.test_way import steps

pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def page_site(
    tmp_path_factory: pytest.TempPathFactory, airflow_database: Path
) -> Iterator[tuple[PageStack, Site]]:
    with showing(tmp_path_factory.mktemp("stack"), airflow_database) as made:
        yield made


@pytest.fixture
def site(page_site: tuple[PageStack, Site]) -> Iterator[Site]:
    with undisturbed(page_site[1]):
        yield page_site[1]


@pytest.fixture
def stack(page_site: tuple[PageStack, Site]) -> PageStack:
    return page_site[0]


def insert(stack: PageStack, run_id: str, made: MadeUpRun | None = None, **values: Any) -> str:
    record = made.record if made else RunRecord(dag_id="qarib_pretrain", run_id=run_id, state="failed")
    record = replace(record, run_id=run_id, **values)
    tasks = made.tasks if made and not values.get("steps") else []
    insert_run(stack.database, MadeUpRun(stack.workspace, record, [], tasks))
    return run_id


def require_fits(page: Page) -> None:
    """In light and in dark, and on a phone."""
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)


def test_a_preflight_that_failed_is_said_everywhere(stack: PageStack, site: Site) -> None:
    reason = Reason(
        "preflight", -1, "failed", "failed", f"no such file {HOSTILE}", "/data/x.txt", "Check the path"
    )
    states = steps("upstream_failed", preflight={"failed": 1})
    run = insert(stack, "manual__with_under_scores", steps=states, reasons=[reason])
    page = site.open("runs")
    row = page.locator(".run", has_text=run)
    expect(row.get_by_role("listitem").nth(0)).to_have_text(re.compile("preflight: failed"))
    expect(row.get_by_role("listitem").nth(1)).to_have_text(re.compile("collect: not reached"))
    expect(row).to_contain_text(f"preflight failed: no such file {HOSTILE}")
    # The line below a link leaves its underscores in sight.
    expect(row.get_by_role("link", name=run)).to_have_css("text-underline-offset", "4px")
    assert page.get_by_text("The sources are").count() == 0
    page.close()
    for view in ("shards", "corpus", "training", "tasks", "model"):
        page = site.open(view, run)
        expect(page.locator("#notices")).to_contain_text("preflight failed: no such file")
        expect(page.locator("#notices")).to_contain_text("Check the path")
        expect(page.locator(".empty-title")).to_have_text(re.compile("^Not started|^Failed: no such"))
        link = page.locator("#notices").get_by_role("link", name="Log of preflight")
        assert str(link.get_attribute("href")).endswith(f"/dags/qarib_pretrain/runs/{run}/tasks/preflight")
        require_fits(page)
        page.close()
    assert site.open("runs").title() == "QARiB"


def test_a_skipped_retraining_has_no_green_ticks(stack: PageStack, site: Site) -> None:
    reason = Reason("preflight", -1, "success", "skipped", "Nothing new: every document is known")
    run = insert(
        stack, "scheduled__skipped", dag_id="qarib_retrain", state="success",
        steps=steps("skipped", preflight={"success": 1}), reasons=[reason],
    )  # fmt: skip
    page = site.open("runs")
    row = page.locator(".run", has_text=run)
    expect(row.locator(".way .done")).to_have_count(1)
    expect(row.locator(".way .skipped")).to_have_count(5)
    expect(row).to_contain_text("Nothing new: every document is known")
    require_fits(page)
    page.close()


def test_a_run_that_waits_says_for_what(stack: PageStack, site: Site) -> None:
    texts = {
        "waits-for-a-lock": ("sources", "deferred", "waits for another run that makes demo-00000000f1"),
        "waits-for-a-month": ("wait_for_month", "up_for_reschedule", "waits for its month: 2026-01 waits"),
        "waits-for-a-person": ("prepare_tpu", "awaiting_input", f"waits for an approval: {HOSTILE}"),
        "waits-for-a-pool": ("train", "scheduled", ""),
    }
    for run, (task, state, text) in texts.items():
        before = {} if task == "wait_for_month" else {"preflight": {"success": 1}}
        states = {**steps("none", **before), task: {state: 1}}
        insert(stack, run, state="running", steps=states, waits=text)
    with sqlite3.connect(stack.database, timeout=60) as connection:
        connection.execute("UPDATE task_instance SET pool = 'gone' WHERE run_id = 'waits-for-a-pool'")
    connection.close()
    gone = f"waits for a TPU, place 1 of 1: the pool gone {NOT_THERE}. Run"
    page = site.open("runs")
    for run, (_, _, text) in texts.items():
        row = page.locator(".run", has_text=run)
        said = text or gone
        expect(row).to_contain_text(f"W{said[1:]}")
        expect(row.locator(".way .running")).to_have_count(0)
    require_fits(page)
    page.close()
    for view in ("shards", "training"):
        page = site.open(view, "waits-for-a-pool")
        expect(page.locator("#notices")).to_have_text(re.compile(f"^W{gone[1:]} `qarib airflow-init`"))
        require_fits(page)
        page.close()


def test_an_example_is_read_from_right_to_left_with_chips(stack: PageStack, site: Site) -> None:
    made = make_run(stack.workspace, 2, dataset_id="demo-00000000e1")
    path = manifest_of(made.dataset.tfrecord("shards/shard_0001"))
    values = json.loads(path.read_text())
    values["sample"][0]["text"] = "[CLS] قال {رسول→[MASK]} الله {من→في} [SEP] نعم {هو→هو} [SEP]"
    path.write_text(json.dumps(values))
    made.upload_to(stack.emulator, stack.bucket)
    run = insert(stack, "with-examples", made)
    page = site.open("shards", run)
    page.get_by_role("option", name="shard_0001: complete").first.click()
    page.get_by_role("button", name="Examples").click()
    example = page.locator(".example").first
    expect(example).to_be_visible()
    assert example.evaluate("e => getComputedStyle(e).direction") == "rtl"
    expect(example.locator(".token")).to_have_text(["[CLS]", "في", "[SEP]", "=", "[SEP]"])
    expect(example.locator("mark")).to_have_text(["رسول", "منفي", "هو="])
    # The first words are on the right.
    first, last = (example.locator("bdi.token").nth(index).bounding_box() for index in (0, 4))
    assert first is not None
    assert last is not None
    assert first["x"] > last["x"]
    require_fits(page)
    page.close()


def test_a_filter_keeps_the_keyboard_s_focus(stack: PageStack, site: Site) -> None:
    page = site.open("shards", "with-examples")
    key = page.get_by_role("button", name=re.compile("^complete"))
    key.focus()
    page.keyboard.press("Enter")
    expect(key).to_have_attribute("aria-pressed", "true")
    expect(key).to_be_focused()
    page.keyboard.press("Enter")
    expect(key).to_have_attribute("aria-pressed", "false")
    expect(key).to_be_focused()
    page.close()


def test_all_tabs_are_in_sight_on_a_phone(stack: PageStack, site: Site) -> None:
    page = site.open("shards", "with-examples", width=360)
    for tab in page.locator("#tabs a").all():
        box = tab.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    require_no_overflow(page)
    page.close()


def test_the_log_of_a_training_and_its_stop(stack: PageStack, site: Site) -> None:
    made = make_run(stack.workspace, 1, dataset_id="demo-00000000e2")
    values = {**made.record.values, "model_id": "demo-00000000e3"}
    states = steps("success", train={"running": 1}, evaluate={"none": 1}, export={"none": 1})
    run = insert(stack, "training-now", made, state="running", values=values, steps=states)
    folder = stack.workspace / "models/demo-00000000e3"
    write_training(folder, steps=30, at="2026-11-30T10:00:00+00:00")
    (folder / "train.log").write_text(f"step 1\n{HOSTILE}\nstep 30, loss 6.0\n", encoding="utf-8")
    page = site.open("training", run)
    page.get_by_text("Log", exact=True).click()
    log = page.get_by_role("log")
    expect(log).to_have_text(f"step 1\n{HOSTILE}\nstep 30, loss 6.0")
    with (folder / "train.log").open("a", encoding="utf-8") as file:
        file.write("step 31, loss 5.9\n")
    expect(log).to_contain_text("step 31, loss 5.9")
    page.get_by_role("button", name="Stop and save").press("Enter")
    expect(page.get_by_role("button", name="Save and stop")).to_be_focused()
    require_accessible(page)
    page.get_by_role("button", name="Keep training").press("Enter")
    expect(page.get_by_role("button", name="Stop and save")).to_be_focused()
    assert not (folder / "stop").exists()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Asked. The training saves its state")).to_be_visible()
    assert json.loads((folder / "stop").read_text()) == {"by": "admin"}
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)
    page.close()
    # Who may only look sees the log, and no stop.
    page = site.as_guest("training", run)
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("step 31")
    expect(page.get_by_role("button", name="Stop and save")).to_be_hidden()
    # After the end of the session, what is shown stays.
    page.context.clear_cookies()
    expect(page.locator("#notices").get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.get_by_text("30 of 100 steps")).to_be_visible()
    page.get_by_role("link", name="Corpus and vocabulary").click()
    expect(page.locator(".empty-title")).to_have_text("You are signed out")
    require_fits(page)
    # The sign-in leads back.
    page.locator("#view").get_by_role("link", name="Sign in").click()
    page.locator("input[name=username]").fill(GUEST)
    page.locator("input[name=password]").fill(stack.password)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.wait_for_url(re.compile("/qarib/#/corpus.*run_id=training-now"))
    expect(page.get_by_text("Before and after cleaning")).to_be_visible()
    page.context.close()


def test_a_run_that_was_ended_neither_trains_nor_deletes(stack: PageStack, site: Site) -> None:
    made = make_run(stack.workspace, 1, dataset_id="demo-00000000e4")
    tpu = {"machine": "cloud_tpu", "zones": ["us-west4-a"], "accelerator_type": "v5litepod-8"}
    values = {
        **made.record.values,
        "config": {**made.record.config, "tpu": tpu},
        "model_id": "demo-00000000e4",
    }
    states = steps("upstream_failed", train={"failed": 1}, delete_tpu={"success": 1})
    run = insert(stack, "ended-by-hand", made, state="failed", values=values, steps=states)
    folder = "models/demo-00000000e4"
    write_training(stack.workspace / folder, steps=30, at="2026-11-30T10:00:00+00:00")
    made.upload_to(stack.emulator, stack.bucket)
    record = replace(made.record, run_id=run, values=values)
    assert record.model is not None
    blob = emulator_bucket(stack.emulator, stack.bucket).blob(record.model.tpu_job(run) + "memory.json")
    memory = {"phase": "failed", "deleted": 1_795_000_000.0, "zone": 0, "attempt": 1, "spent": 60.0}
    for state, note in (
        (
            {"answer": "READY", "answered": 1_795_000_000.0, "deleted": None, "phase": "running"},
            "as of 18 Nov",
        ),
        ({}, "at 18 Nov 2026"),
    ):
        blob.upload_from_string(json.dumps(memory | state))
        page = site.open("training", run)
        tile = page.locator(".tile", has=page.get_by_text("State", exact=True))
        expect(tile).to_contain_text(note)
        expect(tile).to_contain_text("READY" if state else "deleted")
        expect(page.locator(".row", has_text="30 of 100 steps")).to_have_text(
            re.compile("not finished.*last report at 30 Nov 2026")
        )
        assert page.get_by_text("deleting").count() == 0
        require_fits(page)
        page.close()


def test_a_run_on_an_emulated_tpu_is_planned_as_such(stack: PageStack, site: Site) -> None:
    """The preset alone would train on the worker; the stack sets an emulated Cloud TPU for all runs."""
    page = site.open("new")
    page.get_by_label("Preset").select_option("demo")
    expect(page.locator("#new-machine option").first).to_have_text("(cloud_tpu)")
    plan = page.get_by_role("complementary", name="Plan")
    expect(plan).to_contain_text(
        "The TPU is emulated, a process on this machine, and costs nothing. A real one:"
    )
    page.locator("#new-machine").select_option("local")
    expect(plan).to_contain_text("It trains on the Airflow worker's machine")
    expect(plan).not_to_contain_text("emulated")
    page.close()


def test_while_a_view_loads_and_when_it_cannot(stack: PageStack, site: Site) -> None:
    waiting: list[Route] = []
    page = site.context.new_page()
    page.set_default_timeout(SECONDS)
    page.route("**/data/*", lambda route: waiting.append(route))
    page.goto(f"{stack.url}/qarib/#/runs")
    expect(page.get_by_role("status").get_by_text("Loading")).to_be_attached()
    expect(page.locator("#view")).to_have_attribute("aria-busy", "true")
    require_fits(page)
    site.forgiven, before = "status of 500", site.forgiven
    fault = {"what": f"it is broken {HOSTILE}", "where": "here", "do": "Wait"}
    page.route("**/data/*", lambda route: route.fulfill(status=500, json=fault))
    waiting[0].fulfill(status=500, json=fault)
    expect(page.locator(".empty-title")).to_have_text("This view is not available")
    expect(page.locator("#view")).to_contain_text(f"it is broken {HOSTILE}. Wait.")
    require_fits(page)
    # It needs no reload.
    page.unroute("**/data/*")
    expect(page.locator(".runs tbody").first).to_be_visible()
    expect(page.locator("#notices")).to_be_empty()
    site.forgiven = before
    page.close()
    page = site.open("shards", HOSTILE)
    expect(page.locator(".empty-title")).to_have_text("Not a QARiB run")
    assert page.title() == "QARiB"
    require_fits(page)
    page.close()


def test_signed_out_a_link_leads_to_the_sign_in_and_back(stack: PageStack, site: Site) -> None:
    browser = site.signed_out.browser
    assert browser is not None
    page = browser.new_page()
    page.goto(f"{stack.url}/qarib/#/runs?text=with%20a%20%23&sort=-loss")
    page.locator("input[name=username]").fill(GUEST)
    page.locator("input[name=password]").fill("a-password")
    page.locator("button[type=submit], input[type=submit]").first.click()
    expect(page.get_by_label("Search")).to_have_value("with a #")
    assert page.url.endswith("/qarib/#/runs?text=with%20a%20%23&sort=-loss")
    page.close()
