"""One line, two lines."""

from __future__ import annotations

from qarib_tasks.counting import counted


def test_one_and_more() -> None:
    assert [counted(number, "undecodable byte") for number in (0, 1, 1200)] == [
        "0 undecodable bytes",
        "1 undecodable byte",
        "1,200 undecodable bytes",
    ]
    assert counted(2, "entry", "entries") == "2 entries"
