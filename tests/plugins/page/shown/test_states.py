"""What views say of runs that have nothing to show, in Chromium: what happened, and nothing that did not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Page, expect
from qarib_airflow.page import answers, control, database, trial

from qarib_tasks.runs.stopping import request_name, request_text
from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.way import MOST_CHARACTERS, Reason
from tests.support.browser.in_process import Look
from tests.support.browser.many_runs import all_of
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import MadeUpRun, write_training
from tests.views.test_way import steps

pytestmark = pytest.mark.slow
RUN = "dag_id=qarib_pretrain&run_id=made-up"


def show(monkeypatch: pytest.MonkeyPatch, run: MadeUpRun, **values: Any) -> RunRecord:
    """Have the run be like this."""
    run.record = replace(run.record, **values)
    monkeypatch.setattr(database, "runs", lambda dag_ids, **_: [run.record] if dag_ids else [])
    answers.CACHE.age(1e9)
    return run.record


def require_fits(page: Page) -> None:
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)


def test_a_run_without_shards_has_no_figures_of_them(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.tasks.clear()
    show(monkeypatch, run, state="queued", values={}, steps=steps("none"))
    page = look(f"shards?{RUN}")
    expect(page.locator(".empty-title")).to_have_text("No shards yet")
    expect(page.locator(".tile")).to_have_count(0)
    expect(page.get_by_role("complementary", name="Selected shard")).to_be_hidden()
    require_fits(page)


def test_a_vocabulary_that_failed_is_not_to_be_built(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest_of(run.dataset.vocab).unlink()
    reason = Reason("vocab", -1, "failed", "failed", "only 20 different words", "data.txt", "Collect more")
    states = steps("upstream_failed", preflight={"success": 1}, collect={"success": 1}, vocab={"failed": 1})
    record = show(monkeypatch, run, state="failed", steps=states, reasons=[reason])
    record.values["config"]["upload"]["bucket"] = ""
    page = look(f"corpus?{RUN}")
    expect(page.get_by_text("Failed: only 20 different words", exact=True)).to_be_visible()
    expect(page.locator("#view")).not_to_contain_text("is built after the corpus")
    # An earlier version wrote no summary of what was dropped.
    expect(page.get_by_role("region", name="What was dropped, by rule")).to_contain_text("2 lines")
    expect(page.locator("#view")).not_to_contain_text("Nothing was dropped")
    require_fits(page)


def test_a_damaged_file_is_not_called_missing(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest_of(run.dataset.data).write_text("{ not json")
    show(monkeypatch, run, steps=all_of("success"))
    page = look(f"corpus?{RUN}")
    expect(page.locator(".empty-title")).to_have_text("This cannot be shown")
    expect(page.locator(".empty")).to_contain_text("the file is damaged")
    expect(page.locator("#view")).not_to_contain_text("neither in the workspace nor in the bucket")
    require_fits(page)


def test_a_model_that_will_not_be_made_is_not_yet_to_come(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trial.VARIABLE, "1")
    for state, yet in (("running", True), ("failed", False)):
        show(monkeypatch, run, state=state, steps=steps("success", train={state: 1}))
        page = look(f"model?{RUN}", role="user")
        expect(page.locator(".tiles")).to_contain_text(f"not exported{' yet' if yet else ''}")
        expect(page.get_by_text(re.compile("^The model has not been evaluated( yet)?.$"))).to_have_text(
            f"The model has not been evaluated{' yet' if yet else ''}."
        )
        # There is nothing to try, and no files.
        expect(page.get_by_role("heading", name="Try it")).to_be_hidden()
        expect(page.locator(".tiles")).not_to_contain_text("0 B")


def test_what_was_asked_of_a_training_ends_with_it(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "may_clear", lambda *_: True)
    model = run.record.model
    assert model is not None
    write_training(run.workspace / model.name, steps=30, at="2026-11-30T10:00:00+00:00")
    at_work = steps("success", train={"running": 1})
    show(monkeypatch, run, state="running", steps=at_work)
    page = look(f"training?{RUN}")
    page.get_by_role("button", name="Stop and save").click()
    page.get_by_role("button", name="Save and stop").click()
    expect(page.get_by_text("Asked. The training saves its state")).to_be_visible()
    # In another window, and by another person: it is asked already.
    (run.workspace / request_name(model)).write_text(request_text("Ana <b>"))
    other = look(f"training?{RUN}")
    expect(other.get_by_text("Ana <b> has asked the training to stop")).to_be_visible()
    expect(other.get_by_role("button", name="Stop and save")).to_be_hidden()
    show(monkeypatch, run, state="failed", steps=steps("success", train={"failed": 1}))
    for one in (page, other):
        expect(one.get_by_text(re.compile("^Asked|has asked"))).to_have_count(0)
    # The task is cleared, and the request is gone: one may ask again.
    (run.workspace / request_name(model)).unlink()
    show(monkeypatch, run, state="running", steps=at_work)
    expect(page.get_by_role("button", name="Stop and save")).to_be_visible()


def test_a_text_of_any_length_and_direction_breaks_no_view(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "\u202eevil \u2066" + "A" * 100_000
    reason = Reason("preflight", -1, "failed", "failed", long, f"/data/{'y' * 5000}", long)
    states = steps("upstream_failed", preflight={"failed": 1})
    show(monkeypatch, run, state="failed", steps=states, reasons=[reason])
    for view in ("shards", "corpus", "training", "tasks", "model"):
        page = look(f"{view}?{RUN}")
        expect(page.locator("#notices")).to_contain_text("preflight failed")
        assert len(page.locator("#notices").inner_text()) < 4 * MOST_CHARACTERS
        require_no_overflow(page)
        page.set_viewport_size({"width": 390, "height": 800})
        require_no_overflow(page)
        page.close()


def test_examples_that_cannot_be_read_are_not_called_absent(
    run: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(f"shards?{RUN}")
    fault = {"what": "the workspace or the bucket does not answer", "where": "here", "do": "Wait"}
    page.route("**/data/shard?*", lambda route: route.fulfill(status=200, json=fault))
    page.get_by_role("option", name="shard_0001: complete").first.click()
    page.get_by_role("button", name="Examples").click()
    expect(page.get_by_text("Not shown: the workspace or the bucket does not answer.")).to_be_visible()
    expect(page.get_by_text("This shard has no sample")).to_have_count(0)
    page.unroute("**/data/shard?*")
    page.get_by_role("button", name="Examples").click()
    expect(page.locator(".example").first).to_be_visible()


def test_one_line_is_not_lines(run: MadeUpRun, look: Look) -> None:
    place = manifest_of(run.dataset.data)
    values = json.loads(place.read_text())
    values["statistics"]["dropped"] = {"arabic_share": 1}
    values["statistics"]["lost"] = [
        {"rule": "duplicates", "number": 1, "total": 1, "unit": "documents", "share": 0.0001},
        {"rule": "empty", "number": 1, "total": 3, "unit": "lines", "share": 0.9999},
    ]
    place.write_text(json.dumps(values))
    page = look(f"corpus?{RUN}")
    table = page.get_by_role("region", name="What was dropped, by rule")
    expect(table.get_by_role("cell")).to_have_text(["1 of 1 document", "<0.1%", "1 of 3 lines", ">99.9%"])


def test_a_shard_is_backfilled_by_those_who_may(run: MadeUpRun, look: Look) -> None:
    for role, shown in (("user", 1), ("viewer", 0)):
        page = look(f"shards?{RUN}", role=role)
        detail = page.get_by_role("complementary", name="Selected shard")
        expect(detail).to_contain_text("to convert it again" if shown else "figures and logs.")
        page.get_by_role("option", name="shard_0001: complete").first.click()
        expect(detail.get_by_role("button", name="Examples")).to_be_visible()
        expect(page.get_by_role("button", name="Backfill this shard")).to_have_count(shown)


def test_a_view_continues_after_a_sign_in_in_another_window(run: MadeUpRun, look: Look) -> None:
    """The session ends while the page asks again and again: what it shows stays."""
    page = look(f"shards?{RUN}", forgive="status of 401")
    cells = page.get_by_role("option")
    expect(cells).to_have_count(4)
    fault = {"what": "Not authenticated", "where": "here", "do": "Sign in to Airflow"}
    page.route("**/data/*", lambda route: route.fulfill(status=401, json=fault))
    expect(page.locator("#notices")).to_contain_text("Not authenticated")
    link = page.locator("#notices").get_by_role("link", name="Sign in")
    assert quote(page.url, safe="") in str(link.get_attribute("href"))
    expect(cells).to_have_count(4)
    page.unroute("**/data/*")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#notices")).to_be_empty()


def test_signed_out_a_link_leads_to_the_sign_in_and_back_to_its_view(serve: Any, browser: Any) -> None:
    page = browser.new_page()
    page.route("**/auth/login?*", lambda route: route.fulfill(body="sign in"))
    view = f"{serve[0]}/qarib/?a=b#/compare?run=x%2Fy%20%25&logx=1"
    page.goto(view)
    page.wait_for_url("**/auth/login?*")
    assert parse_qs(urlsplit(page.url).query)["next"] == [view]
    page.close()


def test_an_address_that_is_none_leads_to_the_runs(run: MadeUpRun, look: Look) -> None:
    for name in ("constructor", "toString", "nonsense"):
        page = look(name)
        expect(page.locator("#tabs [aria-current]")).to_have_text("Runs")
        page.close()
