"""The table of all runs and their comparison in a real browser: made-up runs in a real Airflow's database."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser.many_runs import many_runs, write_evaluations, write_history
from tests.support.browser.page_site import PageStack, showing
from tests.support.browser.site import SECONDS, Site, require_accessible, require_no_overflow, undisturbed
from tests.support.made_up_run import arabic_task, insert_run, make_run, write_probes

pytestmark = pytest.mark.slow
RUNS = 60
LONG_RUN, LINES = 8, 20_000  # the ninth run has a long history
BEST, BASELINE = "run-0000", "run-0058"
Shown = tuple[PageStack, Site]
FAILURE = "× train failed: the disk is full\nLog: http://localhost/"
NOTE = "<img src=x onerror=\"document.title='taken'\">\n#baseline #قرآن\n[Look](javascript:alert(1))\nOf Ana."


@pytest.fixture(scope="module")
def page_site(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[Shown]:
    with showing(tmp_path_factory.mktemp("stack"), airflow_database) as (stack, site):
        runs = many_runs(make_run(stack.workspace, 2), RUNS)
        noted = [run for run in runs if run.record.run_id == BASELINE]
        for number, run in enumerate(runs[: LONG_RUN + 1]):
            assert run.record.model is not None
            folder = stack.workspace / run.record.model.name
            long = number == LONG_RUN
            write_history(folder, LINES if long else 800, peak=LINES // 2 if long else 0)
            write_probes(folder, 800, arabic_task("sentiment"), every=3 + number)
            write_evaluations(folder, 0, 400, 800, less=number / 10)
        insert_run(stack.database, *(run for run in runs if run not in noted))
        insert_run(stack.database, *noted, note=NOTE)
        # Airflow refuses a note on a run of a DAG that it does not know.
        assert stack._airflow("dags", "reserialize").wait() == 0
        yield stack, site


@pytest.fixture
def site(page_site: Shown) -> Iterator[Site]:
    with undisturbed(page_site[1]):
        yield page_site[1]


def names(page: Page) -> list[str]:
    return page.locator(".runs tbody .run-name").all_inner_texts()


def ready(page: Page) -> None:
    """All runs are read, and what was asked for last is shown."""
    expect(page.get_by_text("still being read")).to_have_count(0)
    expect(page.locator("#view")).to_have_attribute("aria-busy", "false")


def test_runs_are_filtered_and_sorted_and_the_address_says_how(site: Site) -> None:
    page = site.open("runs")
    ready(page)
    expect(page.locator(".runs tbody.run")).to_have_count(50)
    page.get_by_role("button", name="Held-out loss").click()
    expect(page.locator(".run-name").first).to_have_text(BEST)
    expect(page.get_by_role("columnheader", name="Held-out loss")).to_have_attribute("aria-sort", "ascending")
    assert names(page) == [f"run-{number:04}" for number in range(50)]
    page.get_by_role("button", name="Held-out loss").press("Enter")
    expect(page.locator(".run-name").first).to_have_text("run-0059")
    expect(page.get_by_role("button", name="Held-out loss")).to_be_focused()
    page.locator("#by-state").select_option("failed")
    expect(page.get_by_text("6 of 60 runs")).to_be_visible()
    assert names(page) == [f"run-00{tens}9" for tens in "543210"]
    # Why each failed is in sight, with what to do and the log.
    reasons = page.locator(".runs .notice")
    expect(reasons).to_have_count(6)
    expect(reasons.first).to_contain_text("train failed: the loss is not a number")
    expect(reasons.first.get_by_role("link", name="Log of train")).to_be_visible()
    search = page.get_by_label("Search")
    search.press_sequentially("run-0029")
    expect(page.get_by_text("1 of 60 runs")).to_be_visible()
    expect(search).to_be_focused()
    assert "text=run-0029" in page.url
    page.reload()
    ready(page)
    assert names(page) == ["run-0029"]
    expect(page.locator("#by-state")).to_have_value("failed")
    page.get_by_label("Search").fill("nothing like it")
    expect(page.get_by_text("No run is like this")).to_be_visible()
    require_accessible(page)
    page.get_by_role("button", name="Show all runs").click()
    expect(page.locator(".runs tbody.run")).to_have_count(50)
    page.close()


def test_the_table_by_the_keyboard(site: Site) -> None:
    page = site.open("runs")
    ready(page)
    page.get_by_role("button", name="Details of run-0059").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("button", name="Details of <img")).to_be_focused()
    page.keyboard.press("Enter")
    opened = page.locator("tbody.run", has_text=BASELINE)
    expect(opened.get_by_role("button", name="Details of")).to_have_attribute("aria-expanded", "true")
    expect(opened.get_by_role("button", name="Details of")).to_be_focused()
    for text in (
        "500 lines",
        "2 shards",
        "800 of 800 steps",
        "Learning rate",
        "0.0005",
        "[Look](javascript:alert(1))",
    ):
        expect(opened).to_contain_text(text)
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="Details of run-0059")).to_be_focused()
    assert page.title() == "QARiB"
    assert page.locator("main img, main a[href^=javascript]").count() == 0
    page.close()


def test_columns_are_chosen_and_kept(site: Site) -> None:
    page = site.open("runs")
    expect(page.get_by_role("columnheader", name="Preset")).to_be_visible()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Preset", exact=True).last.uncheck()
    page.get_by_label("Model", exact=True).check()
    expect(page.get_by_role("columnheader", name="Preset")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("columnheader", name="Model")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Preset")).to_have_count(0)
    page.evaluate("localStorage.clear()")
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_table_is_accessible_and_fits(site: Site, width: int) -> None:
    page = site.open("runs", width=width)
    ready(page)
    page.get_by_role("button", name="Details of <img").click()
    page.get_by_role("button", name="Edit name, tags, and note").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    require_accessible(page)
    require_no_overflow(page)
    page.close()


def test_a_name_is_given_and_what_others_write_is_kept(page_site: Shown, site: Site) -> None:
    stack, _ = page_site
    address = f"dags/qarib_pretrain/dagRuns/{BASELINE}"

    def note() -> str:
        return str(stack.api("GET", address)["note"])

    page = site.open("runs")
    ready(page)
    page.get_by_role("button", name="Details of <img").click()
    page.get_by_role("button", name="Edit name, tags, and note").click()
    expect(page.get_by_label("Tags")).to_have_value("baseline قرآن")
    page.get_by_label("Name", exact=True).fill("Low rate")
    # Meanwhile another person writes, in Airflow itself.
    stack.api("PATCH", address, json={"note": f"{NOTE}\nAnd of Ben.\n\n{FAILURE}"})
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Low rate")).to_be_visible()
    theirs = "[Look](javascript:alert(1))\nOf Ana.\nAnd of Ben."
    assert note() == f"Low rate\n#baseline #قرآن\n{theirs}\n\n{FAILURE}"
    page.get_by_role("button", name="Edit name, tags, and note").click()
    page.get_by_label("Tags").fill("#baseline, low-rate 12")
    page.get_by_label("Name", exact=True).fill("Lower")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Not a tag, which is a word with a letter: 12")).to_be_visible()
    page.get_by_label("Tags").fill("#baseline, low-rate")
    stack.api("PATCH", address, json={"note": "Lowest"})
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Another person has changed the name to “Lowest”")).to_be_visible()
    assert note() == "Lowest"
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Lower", exact=True)).to_be_visible()
    assert note() == "Lower\n#baseline #low-rate"
    page.get_by_label("Tag", exact=True).select_option("low-rate")
    expect(page.get_by_text("1 of 60 runs")).to_be_visible()
    page.close()


def test_a_viewer_sees_no_edit(site: Site) -> None:
    page = site.as_guest("runs")
    page.get_by_role("button", name=re.compile("Details of")).first.click()
    expect(page.get_by_role("link", name="Run again with these values")).to_be_visible()
    expect(page.get_by_role("button", name="Edit name")).to_have_count(0)
    page.context.close()


def compared(*numbers: int, **more: str) -> str:
    """The address of a comparison."""
    runs = [("run", f"qarib_pretrain/run-{number:04}") for number in numbers]
    return f"compare?{urlencode([*runs, *more.items()])}"


def opened(site: Site, address: str, width: int = 1280) -> Page:
    page = site.context.new_page()
    page.set_default_timeout(SECONDS)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{site.stack.url}/qarib/#/{address}")
    page.locator("#view[aria-busy=false]").wait_for()
    return page


def test_runs_are_chosen_in_the_table_and_compared(site: Site) -> None:
    page = opened(site, "runs?sort=loss")
    ready(page)
    box = page.get_by_label("Compare run-0000")
    box.focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("Choose another run to compare")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.get_by_role("link", name="Compare 2 runs")).to_be_visible()
    for number in range(2, 8):
        page.get_by_label(f"Compare run-000{number}").check()
    expect(page.get_by_label("Compare run-0008")).to_be_disabled()
    page.reload()  # The address has what is chosen.
    page.get_by_role("link", name="Compare 8 runs").click()
    expect(page.locator(".compared li")).to_have_count(8)
    chart = page.get_by_role(
        "img", name=re.compile("^Masked-LM loss: run-0000 4.000 at step 800, .*run-0007, held-out")
    )
    expect(chart).to_be_visible()
    expect(page.locator(".chart .u-legend").first).to_contain_text("word frequencies alone")
    for title in ("Next-sentence loss", "Learning rate", "Examples per second", "Probe of sentiment"):
        expect(page.get_by_role("img", name=re.compile(f"^{title}: .*run-0007"))).to_be_visible()
    table = page.locator(".differences")
    expect(table.get_by_role("row", name=re.compile("^Learning rate"))).to_contain_text("0.0001")
    expect(table.get_by_role("row", name=re.compile("^Held-out masked-LM loss"))).to_contain_text("4.300")
    assert table.get_by_text("Training steps").count() == 0
    page.get_by_label("Also what is the same").check()
    expect(table.get_by_role("row", name=re.compile("^Training steps"))).to_be_visible()
    page.get_by_role("button", name="Remove run-0007").click()
    expect(page.locator(".compared li")).to_have_count(7)
    page.go_back()
    expect(page.get_by_role("link", name="Compare 8 runs")).to_be_visible()
    page.close()


def test_the_link_of_a_comparison_has_all_of_it(site: Site) -> None:
    page = opened(site, compared(0, 1, 2))
    page.locator("#compare-x").select_option("hours")
    page.locator("#compare-smooth").select_option("0.05")
    page.get_by_label("Logarithmic values").check()
    page.get_by_label("Logarithmic axis").check()
    hide = page.get_by_role("button", name="run-0001", exact=True)
    hide.press("Enter")
    expect(hide).to_have_attribute("aria-pressed", "false")
    expect(hide).to_be_focused()
    expect(page.get_by_role("link", name="Link to this view")).to_have_attribute("href", page.url)
    other = opened(site, page.url.partition("#/")[2])
    expect(other.locator("#compare-x")).to_have_value("hours")
    expect(other.locator("#compare-smooth")).to_have_value("0.05")
    expect(other.get_by_label("Logarithmic values")).to_be_checked()
    expect(other.get_by_role("button", name="run-0001", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )
    # 800 steps of 32 examples, 100 a second, are 256 seconds.
    loss = other.get_by_role("img", name=re.compile("^Masked-LM loss"))
    expect(loss).to_have_attribute("aria-label", re.compile("run-0000 [^,]* at hours 0.07"))
    expect(loss).not_to_have_attribute("aria-label", re.compile("run-0001"))
    other.locator("#compare-x").select_option("dollars")
    expect(
        other.get_by_text("because there is no TPU with a price: run-0000, run-0001, run-0002")
    ).to_be_visible()
    other.locator("#compare-x").select_option("examples")
    expect(loss).to_have_attribute("aria-label", re.compile("at examples 25,600"))
    # A click on a name below a chart hides the line in all charts.
    other.locator(".u-legend .u-series", has_text="run-0002").first.click()
    expect(other.get_by_role("button", name="run-0002", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )
    assert "hide=1%2C2" in other.url
    page.close()
    other.close()


def test_charts_and_tables_are_downloaded(site: Site, tmp_path: Path) -> None:
    page = opened(site, compared(0, 1))
    made: dict[str, bytes] = {}

    def download(button: Locator) -> None:
        with page.expect_download() as download:
            button.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        made[path.name] = path.read_bytes()

    chart = page.locator(".chart", has=page.get_by_role("heading", name="Masked-LM loss"))
    chart.get_by_label("Download Masked-LM loss").click()
    for kind in ("CSV", "PNG", "SVG"):
        download(chart.get_by_role("button", name=kind))
    download(
        page.locator("section", has=page.get_by_role("heading", name="Differences")).get_by_role(
            "button", name="CSV"
        )
    )
    with page.expect_download() as found:  # A text is no formula, and stays in its cell.
        page.evaluate(
            "async (path) => (await import(path)).saveTable('any', [['=1+2', -1, 'a, \"b\"', null]])",
            f"{site.stack.url}/qarib/static/js/parts/save.js",
        )
    assert found.value.path().read_text(encoding="utf-8-sig") == '\'=1+2,-1,"a, ""b""",\n'
    rows = list(csv.reader(made["masked-lm-loss.csv"].decode("utf-8-sig").splitlines()))
    assert rows[0] == [
        "step",
        "word frequencies alone",
        "run-0000",
        "run-0001",
        "run-0000, held-out",
        "run-0001, held-out",
    ]
    assert [row[:3] for row in rows if row[0] == "800"] == [["800", "6.5", "4"]]
    assert made["masked-lm-loss.png"].startswith(b"\x89PNG")
    drawing = ElementTree.fromstring(made["masked-lm-loss.svg"])
    texts = [one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Masked-LM loss", "run-0000", "run-0001, held-out", "800"} <= set(texts)
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}polyline"))) == 3
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}circle"))) == 6
    rows = list(csv.reader(made["differences.csv"].decode("utf-8-sig").splitlines()))
    assert rows[0] == ["group", "name", "title", "run-0000", "run-0001"]
    assert ["Settings", "train.learning_rate", "Learning rate", "0.0005", "0.0001"] in rows
    page.close()
    page = site.open("runs")
    ready(page)
    download(page.get_by_role("button", name="CSV of these rows"))
    rows = list(csv.reader(made["runs.csv"].decode("utf-8-sig").splitlines()))
    assert len(rows) == 51
    assert rows[0][:4] == ["DAG", "run", "name", "State"]
    page.close()


def test_a_long_history_is_drawn_at_once_with_its_peak(site: Site) -> None:
    page = opened(site, compared(0, 1, 2, 3, 4, 5, 6, LONG_RUN))
    chart = page.get_by_role("img", name=re.compile("^Masked-LM loss"))
    expect(chart).to_be_visible()
    answer = page.evaluate(
        "async address => (await fetch(address)).json()", f"data/compare?run=qarib_pretrain/run-{LONG_RUN:04}"
    )
    curve = answer["runs"][0]["curves"]["masked_lm_loss"]
    assert len(curve["step"]) < 610
    assert curve["value"][curve["step"].index(LINES // 2)] == 50.0
    # The least of several, because the machine may be busy.
    for value in ("examples", "step", "hours"):
        page.locator("#compare-x").select_option(value)
    times = page.evaluate("performance.getEntriesByName('chart Masked-LM loss').map(one => one.duration)")
    assert len(times) >= 4
    assert min(times) < 200, times
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_comparison_is_accessible_and_fits(site: Site, width: int) -> None:
    page = opened(site, compared(0, 58, 1), width)
    expect(page.locator(".differences")).to_be_visible()
    page.locator(".download summary").first.click()
    require_accessible(page)
    require_no_overflow(page)
    page.goto(f"{site.stack.url}/qarib/#/compare")
    expect(page.get_by_text("No runs to compare")).to_be_visible()
    require_accessible(page)
    page.close()


def test_no_column_is_cut_in_airflow_on_a_wide_screen(site: Site) -> None:
    page = site.context.new_page()
    page.set_default_timeout(SECONDS)
    page.set_viewport_size({"width": 1600, "height": 900})
    page.goto(f"{site.stack.url}/plugin/qarib")
    table = page.frame_locator("iframe").get_by_role("region", name="Runs")
    expect(table.get_by_role("columnheader", name="Cost")).to_be_in_viewport(ratio=1)
    assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
    page.close()


def test_the_tab_of_a_run_on_a_phone_leads_to_the_page_itself(site: Site) -> None:
    """Airflow's own page is wider than a phone, and so is the tab."""
    page = site.context.new_page()
    page.set_default_timeout(SECONDS)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{site.stack.url}/dags/qarib_pretrain/runs/{BEST}/plugin/qarib-run")
    link = page.frame_locator("iframe").get_by_role("link", name="Full page")
    expect(link).to_be_in_viewport(ratio=1)
    box = link.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    link.click()
    page.wait_for_url(re.compile(f"/qarib/.*run_id={BEST}"))
    expect(page.get_by_role("link", name="Full page")).to_have_count(0)
    require_no_overflow(page)
    page.close()
