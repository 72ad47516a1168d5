"""Progress in a log, where there is no terminal."""

from __future__ import annotations

import re

import pytest

from qarib_tasks import progress as module
from qarib_tasks.progress import progress


@pytest.mark.parametrize(
    ("total", "unit", "expected"),
    [
        (4000, "lines", r"reading: 3,000 of 4,000 lines, [\d,]+ lines/s"),
        (0, "lines", r"reading: 3,000 lines, [\d,]+ lines/s"),
        (2_999, "lines", r"reading: 3,000 lines, [\d,]+ lines/s"),
        (8_000_000_000, "bytes", r"reading: 0 of 8,000 MB, [\d,]+ MB/s"),
    ],
)
def test_the_last_line_has_everything(
    total: int, unit: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with progress("reading", total, unit) as advance:
        for _ in range(3):
            advance(1000)
    assert len(caplog.messages) == 1
    assert re.fullmatch(expected, caplog.messages[0])


def test_long_work_logs_on_its_way(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO")
    with progress("reading", 2) as advance:
        advance(1)
        advance(1)
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "reading: 1 of 2 lines",
        "reading: 2 of 2 lines",
        "reading: 2 of 2 lines",
    ]
