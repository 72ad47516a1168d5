"""What the time of a training goes to."""

from __future__ import annotations

import itertools

import pytest

from qarib_tasks.train.reporting import ledger
from qarib_tasks.train.reporting.ledger import Ledger


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between one look at the clock and the next."""
    seconds = itertools.count(100.0)
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(seconds))


def test_what_no_part_has_is_the_steps() -> None:
    made = Ledger({}, 0)
    for part in ("compiling", "waiting", "waiting", "steps", "evaluation"):
        with made.of(part):
            pass
    seconds = made.seconds(7)
    assert seconds == {
        "compiling": 1, "waiting": 2, "checkpoints": 0, "evaluation": 1, "redone": 0, "steps": 7, "count": 7,
    }  # fmt: skip


def test_a_resumed_training_goes_on_counting_and_redoes_steps() -> None:
    earlier = {"steps": 100.0, "waiting": 10.0, "checkpoints": 5.0, "count": 50}
    known = {"state": "training", "step": 50, "seconds": earlier}
    seconds = Ledger(known, 40).seconds(40)
    assert (seconds["steps"], seconds["redone"], seconds["count"]) == (81.0, 20.0, 40)
    assert (seconds["waiting"], seconds["checkpoints"]) == (10.0, 5.0)
    # Killed again before a step: no step is redone twice.
    again = Ledger({"state": "training", "step": 40, "seconds": seconds}, 40).seconds(40)
    assert (again["redone"], again["count"]) == (20.0, 40)


@pytest.mark.parametrize("known", [{}, {"state": "training", "step": 9}, {"state": "training", "seconds": 7}])
def test_what_earlier_versions_reported(known: dict[str, object]) -> None:
    assert Ledger(known, 3).seconds(5)["count"] == 2
