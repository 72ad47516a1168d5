"""The view Corpus in Chromium: what cleaning changed and dropped, and a search in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from qarib_airflow.page import database

from qarib_tasks.storage.manifest import manifest_of
from tests.support.browser.in_process import Look
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import HOSTILE, make_run
from tests.support.page_server import allow

pytestmark = pytest.mark.slow
LONG = "جميييييل جدا"


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Look) -> Callable[..., Page]:
    """The view of a run whose manifest has hostile texts."""
    made = make_run(tmp_path, 1, hostile=True)
    made.record.values["config"]["upload"]["bucket"] = ""
    allow(monkeypatch, tmp_path, "")
    monkeypatch.setattr(database, "runs", lambda *_, **__: [made.record])
    place = manifest_of(made.dataset.data)
    values = json.loads(place.read_text(encoding="utf-8"))
    figures: dict[str, Any] = values["statistics"]
    figures["changed_texts"] = {
        "elongation": [["tweets", LONG, "جميل جدا"], [HOSTILE, "a\u200bb", "ab"]],
        "urls": [["tweets", "انظر https://t.co/x الآن", "انظر URL الآن"]],
    }
    figures["dropped_texts"] = {"arabic_share": [["tweets", f"spam {HOSTILE}"]]}
    figures["sources"][HOSTILE]["samples"] = [["قَالَ", "قال"], [HOSTILE, ""]]
    place.write_text(json.dumps(values), encoding="utf-8")
    return lambda **more: look("corpus?dag_id=qarib_pretrain&run_id=made-up", **more)


def test_differences_are_marked_by_rule(view: Callable[..., Page]) -> None:
    page = view()
    # Nothing is drawn before it is opened.
    expect(page.locator(".pairs-of-text li")).to_have_count(2)
    first = page.locator(".pairs-of-text li").first
    expect(first.locator("del")).to_have_text("يييي")
    expect(first.locator("ins")).to_have_count(0)
    expect(first.locator(".arabic")).to_have_text([LONG, "جميل جدا"])
    assert first.locator(".arabic").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    # Marks set nothing apart: the letters before and after are where they would be.
    assert first.locator("del").evaluate("e => getComputedStyle(e).unicodeBidi") == "normal"
    unseen = page.locator(".pairs-of-text li").nth(1).locator("del")
    expect(unseen).to_have_attribute("data-code", "U+200B")
    page.get_by_text("Changed by urls").click()
    changed = page.locator("details", has_text="Changed by urls").locator("li")
    expect(changed.locator("del")).to_have_text("https://t.co/x")
    expect(changed.locator("ins")).to_have_text("URL")
    page.get_by_text("Dropped: arabic share").click()
    dropped = page.locator("details", has_text="Dropped: arabic share").locator("li")
    expect(dropped).to_contain_text(f"spam {HOSTILE}")
    assert page.title() == "QARiB"
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)
    page.close()


def test_a_search_in_the_texts(view: Callable[..., Page]) -> None:
    page = view()
    search = page.get_by_role("searchbox", name="Search in these texts")
    card = page.locator(".card", has=search)
    expect(card.get_by_role("status")).to_have_text("6 texts")
    search.fill("قال")  # Written with diacritics in the text.
    expect(card.get_by_role("status")).to_have_text("1 of 6 texts")
    expect(card.locator("details:visible")).to_have_count(1)
    expect(card.locator("li:visible .arabic")).to_have_text(["قَالَ", "قال"])
    search.fill("HTTPS://")
    expect(card.locator("li:visible ins")).to_have_text("URL")
    search.fill("nothing like this")
    expect(card.get_by_role("status")).to_have_text("0 of 6 texts")
    expect(card.locator("details:visible")).to_have_count(0)
    require_accessible(page)
    search.fill("")
    expect(card.locator("details:visible")).to_have_count(4)
    page.close()
