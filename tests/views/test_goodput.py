"""What a TPU's paid time goes to."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qarib_tasks.views.goodput import goodput

MEMORY: dict[str, Any] = {
    "phase": "succeeded",
    "since": 5000.0,
    "granted": None,
    "seconds": {
        "asking": 1.0,
        "queueing": 50.0,
        "clearing": 9.0,
        "booting": 60.0,
        "running": 900.0,
        "deleting": 40.0,
    },
}
PROGRESS = {
    "seconds": {
        "steps": 600.0,
        "redone": 50.0,
        "compiling": 30.0,
        "waiting": 20.0,
        "checkpoints": 40.0,
        "evaluation": 60.0,
        "count": 1200,
    }
}


def test_the_parts_add_up_to_the_paid_time() -> None:
    found = goodput(MEMORY, PROGRESS, 9999.0)
    assert found
    assert set(found["titles"]) == set(found["parts"])
    assert (found["paid"], found["unpaid"]) == (1000.0, 60.0)
    assert sum(found["parts"].values()) == pytest.approx(1000.0)
    assert (found["parts"]["starting"], found["productive"]) == (100.0, 0.6)


def test_a_tpu_at_work_is_paid_for_until_now() -> None:
    memory = MEMORY | {"phase": "running", "granted": 4000.0}
    found = goodput(memory, PROGRESS, 5100.0)
    assert found
    assert found["paid"] == 1100.0
    assert sum(found["parts"].values()) == pytest.approx(1100.0)
    clearing = goodput(MEMORY | {"phase": "deleting"}, PROGRESS, 5100.0)
    assert clearing
    assert (clearing["paid"], clearing["unpaid"]) == (1000.0, 160.0)


def test_a_training_cannot_use_more_than_was_paid_for() -> None:
    memory = MEMORY | {"seconds": {"booting": 10.0, "running": 400.0}}
    found = goodput(memory, PROGRESS, 9999.0)
    assert found
    assert sum(found["parts"].values()) == pytest.approx(410.0)
    assert found["parts"]["starting"] == 0.0


def test_what_earlier_versions_and_damaged_files_have() -> None:
    assert goodput({"phase": "running"}, PROGRESS, 1.0) is None
    found = goodput({"phase": "asking", "seconds": {}}, {}, 1.0)
    assert found
    assert (found["paid"], found["productive"]) == (0.0, None)


@pytest.mark.parametrize("wrong", [-5.0, math.nan, math.inf, 1e308, 2**62])
@pytest.mark.parametrize("name", ["running", "stopping", "booting", "queueing", "a phase of the future"])
def test_times_that_cannot_be_are_none(wrong: float, name: str) -> None:
    memory = {"phase": "running", "since": 10.0, "granted": 1.0, "seconds": {"booting": 10.0, name: wrong}}
    for progress in ({}, {"seconds": {"steps": 5.0, "waiting": wrong}}):
        found = goodput(memory, progress, 40.0)
        assert found
        assert sum(found["parts"].values()) == pytest.approx(found["paid"])
        assert 30 <= found["paid"] <= 40
        assert 0 <= found["productive"] < 1
    nothing = goodput({"phase": "asking", "seconds": {"stopping": wrong}}, {}, 1.0)
    assert nothing
    assert (nothing["paid"], nothing["productive"]) == (0.0, None)
