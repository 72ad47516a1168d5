"""Which month a run may train on: in order, each once, with a record that survives the runs.

Covers qarib_tasks/registry/presets.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from qarib_tasks.errors import ConfigError, CorruptError
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.months import Months, Turn, settled
from qarib_tasks.registry.promotion import record_of

LATER = datetime(2030, 1, 1, tzinfo=UTC)
NOVEMBER, DECEMBER, JANUARY = Month(2026, 11), Month(2026, 12), Month(2027, 1)


@pytest.fixture
def months(tmp_path: Path) -> Months:
    return with_model(Months(record_of(tmp_path, None), "demo", NOVEMBER))


def with_model(months: Months) -> Months:
    months.record.change(lambda values: {**values, "presets": {"demo": {"promoted": "x"}}})
    return months


def take(months: Months, month: Month, run: str = "a", **given: Any) -> Turn:
    values: dict[str, Any] = {"now": LATER, "is_active": {"a", "b"}.__contains__, "missing": list}
    return months.take(month, run, **values | given)


def entries(months: Months) -> dict[str, Any]:
    return dict(months.record.read()["presets"]["demo"]["months"])


def test_months_are_taken_in_order_also_at_a_year_s_end(months: Months) -> None:
    assert take(months, NOVEMBER).state == "due"
    waiting = take(months, JANUARY, "c")
    assert (waiting.state, waiting.ahead) == ("waiting", 2)
    assert waiting.reason == "2027-01 waits for 2026-11, 2026-12"
    months.settle(NOVEMBER, "trained", "x is promoted")
    assert take(months, JANUARY, "c").ahead == 1
    assert take(months, DECEMBER, "b").state == "due"
    months.settle(DECEMBER, "nothing new")
    assert take(months, JANUARY, "c").state == "due"


def test_a_month_that_is_done_is_not_given_again(months: Months) -> None:
    assert take(months, NOVEMBER).state == "due"
    months.settle(NOVEMBER, "trained", "x is promoted")
    held = entries(months)
    for run in ("a", "b"):
        assert take(months, NOVEMBER, run) == Turn("settled", "2026-11 is done: trained, x is promoted")
    months.settle(NOVEMBER, "nothing new", "later")
    assert entries(months) == held


def test_a_run_gets_its_month_again_and_another_only_when_it_has_ended(months: Months) -> None:
    assert take(months, NOVEMBER, "a").state == "due"
    assert take(months, NOVEMBER, "a").state == "due"
    other = take(months, NOVEMBER, "b")
    assert (other.state, other.reason) == ("waiting", "the run a trains on 2026-11")
    assert take(months, NOVEMBER, "b", is_active=lambda run: False).state == "due"
    assert entries(months)["2026-11"]["run"] == "b"


def test_of_two_runs_that_ask_at_once_one_gets_the_month(months: Months, tmp_path: Path) -> None:
    """Both find the month without a run, and write one after the other."""

    def between() -> Sequence[str]:
        assert take(months, NOVEMBER, "b").state == "due"
        return []

    turn = take(months, NOVEMBER, "a", missing=between)
    assert (turn.state, turn.reason) == ("waiting", "the run b trains on 2026-11")
    with ThreadPoolExecutor(8) as threads:
        turns = list(
            threads.map(
                lambda run: take(replace(months, first=JANUARY), JANUARY, run, is_active=lambda _: True),
                "abcdefgh",
            )
        )
    assert sorted(turn.state for turn in turns) == ["due", *["waiting"] * 7]


def test_a_month_that_was_settled_meanwhile_is_not_given(months: Months) -> None:
    def between() -> Sequence[str]:
        months.settle(NOVEMBER, "trained")
        return []

    assert take(months, NOVEMBER, missing=between).state == "settled"


def test_a_month_waits_for_its_end_by_the_clock_of_the_zone(months: Months) -> None:
    months = replace(months, timezone=ZoneInfo("Asia/Qatar"), first=DECEMBER)
    end = datetime(2026, 12, 31, 21, tzinfo=UTC)
    early = take(months, DECEMBER, now=end.replace(hour=20))
    assert (early.state, early.reason) == ("waiting", "2026-12 ends on 2027-01-01T00:00:00+03:00")
    assert take(months, DECEMBER, now=end).state == "due"


def test_a_month_waits_for_its_files_and_is_not_taken_before(months: Months) -> None:
    turn = take(months, NOVEMBER, missing=lambda: ["a: no such file", "b: no such file", "c", "d", "e"])
    assert turn.state == "waiting"
    assert turn.reason == "2026-11 is not complete: a: no such file; b: no such file; c; and 2 more"
    assert "months" not in months.record.read()["presets"]["demo"]
    asked: list[str] = []
    take(months, JANUARY, missing=lambda: asked)
    assert take(months, JANUARY, missing=lambda: pytest.fail("its turn is later")).state == "waiting"


def test_a_person_skips_a_month(months: Months) -> None:
    months = replace(months, skipped=frozenset({NOVEMBER}))
    assert take(months, NOVEMBER).reason == "2026-11 is in skip_months"
    assert take(months, DECEMBER).state == "due"


def test_the_first_month_waits_for_a_model(tmp_path: Path) -> None:
    months = Months(record_of(tmp_path, None), "demo", NOVEMBER)
    turn = take(months, NOVEMBER, missing=lambda: pytest.fail("there is no model yet"))
    assert (turn.state, turn.reason) == ("waiting", "no model of the preset demo is promoted yet")
    assert take(with_model(months), NOVEMBER).state == "due"


def test_a_month_before_the_first_one_is_refused(months: Months) -> None:
    with pytest.raises(ConfigError, match="the month 2026-10 is before the first one, 2026-11"):
        take(months, Month(2026, 10))


def test_the_record_is_kept_with_what_else_it_holds(months: Months) -> None:
    values = {
        "format": 1,
        "presets": {"demo": {"promoted": None, "judged": []}, "other": {"judged": []}},
        "x": 1,
    }
    assert settled(values, "demo", "", "trained") == values
    found = settled(values, "demo", "2026-11", "trained", "why")
    assert {name: found[name] for name in ("format", "x")} == {"format": 1, "x": 1}
    assert found["presets"]["other"] == {"judged": []}
    entry = found["presets"]["demo"]["months"]["2026-11"]
    assert (entry["state"], entry["why"]) == ("trained", "why")


def test_a_damaged_record_is_refused(months: Months, tmp_path: Path) -> None:
    take(months, NOVEMBER)
    path = tmp_path / "models" / "promoted.json"
    path.write_text(path.read_text().replace('"running"', '"walking"'))
    with pytest.raises(CorruptError, match=r"months\.2026-11\.state"):
        take(months, NOVEMBER)


def test_with_a_bucket_the_record_is_there(tmp_path: Path, bucket_name: str) -> None:
    here = with_model(Months(record_of(tmp_path / "a", f"gs://{bucket_name}/"), "demo", NOVEMBER))
    there = Months(record_of(tmp_path / "b", f"gs://{bucket_name}/"), "demo", NOVEMBER)
    assert take(here, NOVEMBER, "a").state == "due"
    assert take(there, NOVEMBER, "b").state == "waiting"
    there.settle(NOVEMBER, "trained")
    assert take(here, NOVEMBER, "a").state == "settled"
