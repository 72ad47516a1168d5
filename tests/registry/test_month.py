"""A month's key, its end, and the addresses of its files."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import Month, has_month


def month(key: str) -> Month:
    return Month.parse(key, "here")


@pytest.mark.parametrize("key", ["2026-01", "2026-12", "0001-01", "9999-12"])
def test_a_key_is_read_and_written_alike(key: str) -> None:
    assert str(month(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        *("", "2026", "2026-2", "2026-00", "2026-13", "26-02", "2026-02-01", "2026-02\n", " 2026-02"),
        *("٢٠٢٦-٠٢", "0000-01", "2026/02", "2026-W02", "02-2026", "2026-02T00:00:00"),
    ],
)
def test_what_is_not_a_key(key: str) -> None:
    with pytest.raises(ConfigError, match="is not a month") as caught:
        month(key)
    assert caught.value.where == "here"
    assert "2026-02" in str(caught.value.do)


def test_a_year_ends() -> None:
    assert str(month("2026-12").next) == "2027-01"
    assert str(month("2026-11").next) == "2026-12"
    assert [str(one) for one in month("2026-11").through(month("2027-02"))] == [
        *("2026-11", "2026-12", "2027-01", "2027-02")
    ]
    assert list(month("2026-11").through(month("2026-10"))) == []
    assert month("2026-12") < month("2027-01")


@pytest.mark.parametrize(
    ("key", "days"), [("2026-02", 28), ("2028-02", 29), ("2026-04", 30), ("2026-12", 31)]
)
def test_the_days_of_a_month(key: str, days: int) -> None:
    found = month(key).days
    assert (found[0], found[-1], len(found)) == (f"{key}-01", f"{key}-{days}", days)


def test_a_month_begins_by_the_clock_of_its_zone() -> None:
    def start(key: str, zone: str) -> datetime:
        return month(key).start(ZoneInfo(zone)).astimezone(UTC)

    assert start("2026-10", "Asia/Qatar") == datetime(2026, 9, 30, 21, tzinfo=UTC)
    # Before and after the clocks change in March and in November.
    assert start("2026-03", "America/New_York") == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert start("2026-04", "America/New_York") == datetime(2026, 4, 1, 4, tzinfo=UTC)
    assert start("2027-01", "America/New_York") == datetime(2027, 1, 1, 5, tzinfo=UTC)
    # On October 1, 2017, Paraguay's clocks went from midnight to one.
    assert start("2017-10", "America/Asuncion") == datetime(2017, 10, 1, 4, tzinfo=UTC)


def test_addresses() -> None:
    february = month("2026-02")
    assert february.address("gs://b/{year}/{month}/*.gz") == "gs://b/2026/2026-02/*.gz"
    assert february.addresses("gs://b/{year}/{month}/*.gz") == ["gs://b/2026/2026-02/*.gz"]
    assert february.address("/text/{day}.txt") == "/text/2026-02-[0-3][0-9].txt"
    assert february.addresses("/text/{day}.txt") == [f"/text/2026-02-{day:02}.txt" for day in range(1, 29)]
    assert february.address("/{other}") == "/{other}"
    assert february.address("https://a.org/{month}.txt") == "https://a.org/2026-02.txt"
    with pytest.raises(ConfigError, match=re.escape("all days of a month")):
        february.address("https://a.org/{day}.txt")
    assert [has_month(text) for text in ("/{month}", "/{day}", "/{year}", "/*")] == [True, True, False, False]
