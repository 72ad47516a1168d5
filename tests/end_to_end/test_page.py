"""The page and the trigger form in a real browser (Debian's Chromium), on a real Airflow with a real run.

The tests share one stack and go on from each other: an empty installation, a run started from the form, its
training, its end, and what happens to shards afterwards.
"""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import replace
from urllib.parse import quote

import demo
import pytest
from local_stack import TINY_MODEL
from playwright.sync_api import Locator, Page, expect

from qarib_tasks.storage.manifest import manifest_of
from tests.support.browser.shown import require_right_figures
from tests.support.browser.site import (
    SECONDS,
    Site,
    require_accessible,
    require_no_overflow,
)
from tests.support.made_up_run import HOSTILE, emulator_bucket, insert_run, make_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_leaves_and_nothing_is_refused")]
VIEWS = {
    "runs": "Runs",
    "shards": "Shards",
    "corpus": "Corpus and vocabulary",
    "training": "Training",
    "tasks": "Tasks",
    "model": "Model",
}
STEPS = 1500
# The trigger form's sections, and what is typed there.
FORM = {
    "Vocabulary": {"vocab_size": 800},
    "Pre-training data": {"dupe_factor": 1},
    "Model": TINY_MODEL,
    "Training": {
        "train_batch_size": 16,
        "train_steps": STEPS,
        "num_warmup_steps": 50,
        "save_checkpoints_steps": 300,
    },
    "Evaluation": {"eval_batch_size": 16, "max_eval_steps": 4},
}


def test_an_empty_installation(site: Site) -> None:
    script = site.context.request.get(f"{site.stack.url}/qarib/static/js/main.js")
    assert script.headers["content-encoding"] == "gzip"  # As the size of the script is counted.
    for view in VIEWS:
        page = site.open(view)
        expect(page.get_by_text("No runs yet")).to_be_visible()
        require_accessible(page)
        page.close()


def test_signed_out_there_is_nothing(site: Site) -> None:
    page = site.signed_out.new_page()
    page.goto(f"{site.stack.url}/qarib/")
    expect(page.locator("input[name=password]")).to_be_visible()
    assert "next=" in page.url
    for path in ("static/js/main.js", "static/page.css", "data/runs", "data/shards?dag_id=a&run_id=b"):
        answer = page.goto(f"{site.stack.url}/qarib/{path}")
        assert answer is not None
        assert answer.status == 401
        assert set(answer.json()) == {"what", "where", "do"}
    page.goto(f"{site.stack.url}/plugin/qarib")
    expect(page.locator("input[name=password]")).to_be_visible()
    page.close()


def choose(page: Page, name: str, value: str) -> None:
    box = page.locator(f"#element_{name}").get_by_role("combobox")
    box.fill(value)
    box.press("Enter")


def test_the_form_refuses_a_bad_value_and_starts_a_run(site: Site) -> None:
    """The run's end is seen in `test_after_the_training`."""
    page = site.airflow(f"dags/{demo.DAG}")
    page.get_by_role("button", name="Trigger", exact=False).first.click()
    dialog = page.get_by_role("dialog")
    page.locator("#element_preset").wait_for()
    choose(page, "preset", "demo")

    def section(name: str) -> None:
        dialog.get_by_role("button", name=name, exact=True).click()

    for name, values in FORM.items():
        section(name)
        for key, value in values.items():
            typed = f"{value:,}" if isinstance(value, int) else str(value)
            page.locator(f"#element_{key}").press_sequentially(typed)
            expect(page.locator(f"#element_{key}")).to_have_value(typed)
    section("Where it trains")
    choose(page, "machine", "local")
    section("Corpus")
    page.locator("#element_dataset").fill("nonsense")
    (trigger := dialog.get_by_role("button", name="Trigger")).click()
    refusal = "Invalid input for param dataset: 'nonsense' does not match"
    expect(dialog.get_by_text(refusal, exact=False).first).to_be_visible()
    assert site.stack.api("GET", f"dags/{demo.DAG}/dagRuns")["total_entries"] == 0
    page.locator("#element_dataset").fill("")
    trigger.press("Enter")  # Airflow's word of the refusal may lie above the button.
    expect(dialog).to_be_hidden()
    (run,) = site.stack.api("GET", f"dags/{demo.DAG}/dagRuns")["dag_runs"]
    site.run_id = run["dag_run_id"]
    assert run["conf"]["train_steps"] == f"{STEPS:,}"
    assert run["conf"]["machine"] == "local"
    page.close()


SHARDS = "shards/shard_0003\nheldout/shards/shard_0000"


@pytest.mark.parametrize(
    ("dag", "typed"),
    [
        ("qarib_clean_up", {"older_than_days": "1,000"}),
        ("qarib_reap_tpus", {}),
        ("qarib_retrain", {"retrain_steps": "2.000", "sources": "/data/{month}/*.txt\ngs://a-bucket/[new]/"}),
        ("qarib_backfill_shards", {"dataset": "demo-0123456789", "shards": SHARDS}),
    ],
)
def test_the_other_forms_take_what_is_typed(site: Site, dag: str, typed: dict[str, str]) -> None:
    page = site.airflow(f"dags/{dag}")
    page.get_by_role("button", name="Trigger", exact=False).first.click()
    for key, value in typed.items():
        page.locator(f"#element_{key}").fill("")
        page.locator(f"#element_{key}").press_sequentially(value)
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    (run,) = site.stack.api("GET", f"dags/{dag}/dagRuns?run_type=manual")["dag_runs"]
    lists = {"shards": SHARDS.splitlines()}
    assert {key: run["conf"][key] for key in typed} == typed | {
        key: lists[key] for key in typed.keys() & lists
    }
    page.close()


def number(place: Locator) -> int:
    """The first number in a text, `1,234 of 1,500 steps`."""
    found = re.search(r"[\d,]+", place.inner_text())
    assert found
    return int(found[0].replace(",", ""))


def step_at(plot: Locator, share: float) -> int:
    """The step that the legend shows for a place on a chart, `share` of its width from the left."""
    box = plot.bounding_box()
    assert box
    plot.hover(position={"x": share * box["width"], "y": box["height"] / 2})
    return number(plot.page.locator(".chart .u-legend .u-value").first)


def test_while_it_trains(site: Site) -> None:
    page = site.open("training")
    steps = page.get_by_text(re.compile(f" of {STEPS:,} steps"))
    expect(steps).to_be_visible(timeout=2 * SECONDS)
    first = number(steps)
    # Without a reload: the page asks again by itself.
    expect(steps).not_to_have_text(steps.inner_text())
    assert number(steps) > first
    expect(page.get_by_role("img", name=re.compile("^Masked-LM loss: training .* at step"))).to_be_visible()
    expect(page.locator(".chart").first.get_by_text("like parity")).to_be_visible(timeout=2 * SECONDS)
    expect(page.locator("canvas").nth(3)).to_be_attached()
    # What is unfolded and what is zoomed into stay so when there is news.
    page.get_by_text(re.compile(r"^Evaluations \(")).click(timeout=SECONDS)
    plot = page.locator(".chart .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    middle, first = box["y"] + box["height"] / 2, step_at(plot, 0.02)
    for _ in range(100):  # News in the middle of a drag ends it.
        page.mouse.move(box["x"] + 0.5 * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.8 * box["width"], middle)
        page.mouse.up()
        if (beginning := step_at(plot, 0.02)) > first:
            break
    assert beginning > first
    evaluations = page.get_by_text(re.compile(r"^Evaluations \("))
    expect(evaluations).not_to_have_text(evaluations.inner_text(), timeout=SECONDS)
    expect(page.get_by_role("region", name="Evaluations")).to_be_visible()
    assert step_at(plot, 0.02) == beginning
    plot.dblclick()
    assert step_at(plot, 0.02) < beginning
    page.close()
    for view in ("runs", "shards", "corpus", "tasks", "model"):
        page = site.open(view)
        # Not the text: the list of runs has it among the choices of its filter, too.
        expect(page.locator(".badge.running").first).to_be_visible()
        expect(page.locator("#notices")).to_be_empty()
        if view == "tasks":
            expect(
                page.get_by_role("img", name=re.compile(r"^Probe: macro-F1: probe .* at step"))
            ).to_be_visible()
        page.close()


def test_after_the_training(site: Site) -> None:
    """Airflow's own page sees the run end, and each view shows what it made."""
    run = f"{site.stack.url}/dags/{demo.DAG}/runs/{quote(site.run_id, safe='')}"
    page = site.context.new_page()
    page.goto(run)
    while (state := site.stack.run(demo.DAG, site.run_id)["state"]) not in ("success", "failed"):
        time.sleep(1)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    assert state == "success", demo.failure(site.stack, site.stack.task_instances(demo.DAG, site.run_id))
    page.close()
    texts = {
        "runs": [f"{STEPS:,} of {STEPS:,}", "no TPU", "Vocabulary size 800"],
        "shards": ["of 8 shards", "Held-out part"],
        "corpus": [
            "muwatta",
            "What was kept",
            "What was dropped",
            "Wordpieces per word",
            "Before and after cleaning",
        ],
        "training": [
            "finished",
            "Fill-mask predictions at step",
            "checkpoints: .*1,500",
            "Held-out masked-LM loss",
        ],
        "tasks": ["Which source is a line from", "Confusion matrix: evaluation at step 1,500"],
        "model": ["Masked-LM accuracy", "gs://qarib/models/", "Model card", "no previous model"],
    }
    for view, patterns in texts.items():
        page = site.open(view)
        for pattern in patterns:
            expect(page.get_by_text(re.compile(pattern)).first).to_be_visible()
        expect(page.locator("#notices")).to_be_empty()
        require_accessible(page)
        page.set_viewport_size({"width": 390, "height": 800})
        require_no_overflow(page)
        page.close()
    page = site.open("corpus")
    assert (
        page.locator(".pairs-of-text .arabic").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    )
    page.close()


def test_every_figure_is_that_of_the_run_s_files(site: Site) -> None:
    require_right_figures(site)


def test_within_airflow(site: Site) -> None:
    """From the navigation and from the run; a shard's log opens around the frame."""
    page = site.airflow()
    # Links with the names of DAGs and assets can come before the navigation.
    page.locator("a[href$='plugin/qarib']").first.click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("link", name=site.run_id)).to_be_visible()
    page.goto(f"{site.stack.url}/dags/{demo.DAG}/runs/{quote(site.run_id, safe='')}")
    page.locator("a[href*='plugin/qarib-run']").click()  # The tab; it comes after the navigation.
    frame.get_by_role("link", name="Shards").click()
    frame.get_by_role("option", name="shard_0001").click()
    frame.get_by_role("link", name="Log of convert").click()
    page.wait_for_url(re.compile(r"/tasks/shard\.convert/mapped/1"))
    page.close()


def test_a_damaged_shard_is_backfilled_from_the_page(site: Site) -> None:
    """By the keyboard alone: arrow keys to the cell, Enter, and the buttons."""
    dataset = demo.read_run(site.stack, site.run_id).dataset
    place = f"{dataset.name}pretraining_data/shard_0001.tfrecord"
    emulator_bucket(site.stack.emulator, site.stack.bucket).blob(place).upload_from_string(b"x")
    page = site.open("shards")
    expect(page.get_by_role("option", name="shard_0001: corrupt")).to_be_visible()
    page.get_by_role("option", name="shard_0000: complete").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tooltip")).to_contain_text("does not match its manifest")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Backfill this shard").press("Enter")
    expect(page.get_by_text("This triggers the DAG")).to_be_visible()
    page.get_by_role("button", name="Convert and upload it").press("Enter")
    expect(page.get_by_text("Started:")).to_be_visible()
    # There is also the one that was typed in its form.
    runs = site.stack.api("GET", "dags/qarib_backfill_shards/dagRuns")["dag_runs"]
    (run,) = [one for one in runs if one["conf"]["shards"] == ["shards/shard_0001"]]
    assert run["conf"]["workspace"] == str(site.stack.workspace)
    expect(page.get_by_role("option", name="shard_0001: complete")).to_be_visible(timeout=3 * SECONDS)
    page.close()


def test_1200_shards_and_hostile_text(site: Site) -> None:
    made = make_run(site.stack.workspace, 1200, hostile=True)
    made.upload_to(site.stack.emulator, site.stack.bucket)
    broken = manifest_of(made.dataset.tfrecord("shards/shard_0700"))
    broken.write_text(json.dumps({"kind": "shard", "id": "x", "state": "failed", "reason": HOSTILE}))
    insert_run(site.stack.home / "airflow.db", made)
    page = site.open("shards", made.record.run_id)
    cells = page.get_by_role("option")
    expect(cells).to_have_count(1201)
    failed = page.get_by_role("option", name="shard_0700: failed")
    failed.hover()
    expect(page.get_by_role("tooltip")).to_contain_text(HOSTILE)
    failed.click()
    expect(page.locator(".reason")).to_have_text(HOSTILE)
    # Not by colour alone.
    assert failed.inner_text() == "×"
    require_accessible(page)
    page.get_by_role("option", name="shard_0003: complete").first.click()
    page.get_by_role("button", name="Examples").click()
    expect(page.locator(".examples .arabic").first).to_have_text(HOSTILE)
    page.get_by_role("button", name=re.compile("^. ?failed 1$|failed 1$")).click()
    expect(page.locator(".cell.dim[role=option]")).to_have_count(1200)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)
    page.goto("about:blank")
    page.close()
    page = site.open("corpus", made.record.run_id)
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    assert page.title() == "QARiB"
    page.close()


def test_a_bucket_that_does_not_answer(site: Site) -> None:
    """Every view stays up and says so; it goes when the bucket is back."""
    emulator = site.stack._processes["emulator"]
    page = site.open("shards")
    emulator.send_signal(signal.SIGSTOP)
    try:
        # What was listed before is out of date by then.
        expect(page.locator("#notices")).to_contain_text("the bucket does not answer")
        for view in VIEWS:
            other = site.open(view)
            if view not in ("runs", "corpus"):  # The workspace has all that these show.
                expect(other.locator("#notices")).to_contain_text("the bucket does not answer")
            expect(other.get_by_role("navigation")).to_be_visible()
            other.close()
        expect(page.get_by_role("option").first).to_be_visible()
        page.reload()
        expect(page.get_by_role("option")).to_have_count(8)
        require_accessible(page)
    finally:
        emulator.send_signal(signal.SIGCONT)
    expect(page.locator("#notices")).to_be_empty()
    page.close()


def test_airflow_that_does_not_answer(site: Site) -> None:
    """What is shown stays, with a word about it."""
    page = site.open("training")
    expect(page.get_by_text("finished")).to_be_visible()
    site.forgiven = "status of 500"
    page.route(
        "**/data/*", lambda route: route.fulfill(status=500, json={"what": "broken", "where": "w", "do": "d"})
    )
    expect(page.locator("#notices")).to_contain_text("broken")
    expect(page.get_by_text("finished")).to_be_visible()
    page.unroute("**/data/*")
    expect(page.locator("#notices")).to_be_empty()
    page.close()


def test_older_runs(site: Site) -> None:
    made = make_run(site.stack.workspace, 1, dataset_id="demo-00000000ab")
    names = [f"newer-{number:02}" for number in range(60)]  # More than a page.
    newer = [replace(made, record=replace(made.record, run_id=name), tasks=[]) for name in names]
    insert_run(site.stack.home / "airflow.db", *newer)
    page = site.open("runs")
    oldest, newest = (page.get_by_role("link", name=names[index], exact=True) for index in (0, -1))
    expect(newest).to_be_visible()
    assert oldest.count() == 0
    page.get_by_role("button", name="Next").click()
    expect(oldest).to_be_visible()
    assert newest.count() == 0
    page.get_by_role("button", name="Previous").click()
    expect(newest).to_be_visible()
    page.close()
