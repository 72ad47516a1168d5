"""How the page writes figures and times, in Chromium: what differs looks different, what is unknown is no 0.

It measures plugins/qarib_airflow/page/static/js/parts/dom.js.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.browser.in_process import Look
from tests.support.made_up_run import MadeUpRun

pytestmark = pytest.mark.slow
CALL = """async ([name, values]) => {
  const all = await import(new URL("static/js/parts/dom.js", location.href.split("#")[0]).href);
  return values.map((given) => all[name](...given));
}"""
FIGURES: dict[str, dict[tuple[Any, ...], str]] = {
    "count": {(0,): "0", (1234.4,): "1,234", (None,): "–"},
    "short": {
        (0,): "0", (0.4,): "0.4", (3.64,): "3.6", (0.0123,): "0.012", (3,): "3", (99.4,): "99",
        (9_999,): "9,999", (9_999.6,): "10K", (27_000,): "27K", (1.5e6,): "1.5M", (None,): "–",
    },
    "percent": {
        (0,): "0.0%", (0.0004,): "<0.1%", (0.001,): "0.1%", (0.9996,): ">99.9%", (1,): "100.0%",
        (0.5, 0): "50%", (0.0001, 0): "<1%", (1e-7, 3): "<0.001%", (None,): "–",
    },
    "money": {(0,): "$0.00", (0.001,): "<$0.01", (0.006,): "$0.01", (1234.5,): "$1,234.50", (None,): "–"},
    "bytes": {
        (999,): "999 B", (999_499,): "999 KB", (999_500,): "1.0 MB", (99_960,): "100 KB", (1_500,): "1.5 KB",
        (None,): "–",
    },
    "duration": {
        (0.04,): "0.0 s", (9.96,): "10 s", (89,): "89 s", (61 * 60,): "61 min", (-3,): "0.0 s",
        (50 * 3600,): "2 d 2 h", (None,): "–",
    },
    "counted": {(1, "run"): "1 run", (0, "run"): "0 runs", (2000, "run"): "2,000 runs"},
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures(run: MadeUpRun, look: Look, name: str) -> None:
    page = look("runs")
    given = [list(arguments) for arguments in FIGURES[name]]
    assert page.evaluate(CALL, [name, given]) == list(FIGURES[name].values())


def test_figures_that_differ_are_written_differently(run: MadeUpRun, look: Look) -> None:
    page = look("runs")
    told = """async () => {
      const all = await import(new URL("static/js/parts/dom.js", location.href.split("#")[0]).href);
      const loss = (value, more = 0) => all.decimal(value, 3 + more);
      const pairs = [
        ["short", 999_990, 1_000_000], ["short", 2, 2], ["bytes", 5_040_000, 5_000_000],
        ["duration", 61, 61.2], ["money", 0.001, 0.002],
      ];
      return [
        all.apart([4.1, 4.1002, null], loss), ...pairs.map(([name, ...pair]) => all.apart(pair, all[name])),
        ...[[4.0001, 4.0004], [4, 4], [4, null], [0.1 + 0.2, 0.3]].map((pair) => all.against(...pair, loss)),
      ];
    }"""
    assert page.evaluate(told) == [
        ["4.1000", "4.1002", "–"],
        ["999.99K", "1M"],
        ["2", "2"],
        ["5.04 MB", "5.00 MB"],
        ["61 s", "61.2 s"],
        ["$0.001", "$0.002"],
        ["4.0001", "4.0004", "0.0003"],
        ["4.000", "4.000", ""],
        ["4.000", "–", ""],
        ["0.300000000", "0.300000000", ""],
    ]


def test_a_time_has_its_zone_which_is_the_one_of_airflow(run: MadeUpRun, look: Look) -> None:
    """Airflow keeps the zone that one chooses there in the browser."""
    page = look("runs")
    times = [["2026-07-01T12:30:00+00:00"], ["2026-12-31T23:30:00Z"], [None], ["nonsense"]]
    for zone, expected in {
        "Asia/Qatar": ["1 Jul 2026, 15:30 GMT+3", "1 Jan 2027, 02:30 GMT+3"],
        "UTC": ["1 Jul 2026, 12:30 UTC", "31 Dec 2026, 23:30 UTC"],
    }.items():
        page.evaluate("zone => localStorage.setItem('timezone', JSON.stringify(zone))", zone)
        assert page.evaluate(CALL, ["when", times]) == [*expected, "–", "–"]
    # Without one, or with none that exists, it is the browser's.
    page.evaluate("localStorage.removeItem('timezone')")
    own = page.evaluate(CALL, ["when", times])
    for zone in ('"Nowhere/None"', "broken"):
        page.evaluate("zone => localStorage.setItem('timezone', zone)", zone)
        assert page.evaluate(CALL, ["when", times]) == own


def test_the_table_of_runs_uses_a_wide_screen(run: MadeUpRun, look: Look) -> None:
    """The header and the filters stay in the column of the text."""
    page = look("compare", width=1600)
    expect(page.locator(".top")).to_be_visible()
    parts = "<section class=card></section><section class='card wide'></section>"
    # At once, so that the page does not draw its view again before it is measured.
    widths = """parts => {
        document.querySelector('#view').innerHTML = parts
        return [...document.querySelectorAll('.top, #view > *')].map(one => one.getBoundingClientRect().width)
    }"""
    assert page.evaluate(widths, parts) == [1240, 1240, 1560]
    assert page.evaluate("document.documentElement.scrollWidth") == 1600
    page.set_viewport_size({"width": 1200, "height": 900})
    assert page.evaluate(widths, parts) == [1160, 1160, 1160]
