"""What the time of a training goes to: steps, and what holds them up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PARTS = ("compiling", "waiting", "checkpoints", "evaluation", "redone", "steps")


class Ledger:
    """Adds up the seconds of each part, those of earlier processes of the training included.

    Args:
        known: the progress that the last process reported; empty if there is none.
        step: the step that this process resumes from. What the last process did after it is done again.

    Attributes:
        compiling: the first calls of the device, in which the step is compiled. waiting: for data. redone:
            steps after the checkpoint that the next process resumed from. steps: all the rest.
    """

    def __init__(self, known: Mapping[str, Any], step: int) -> None:
        earlier = known.get("seconds") if known.get("state") in ("training", "stopped") else None
        earlier = earlier if isinstance(earlier, Mapping) else {}
        self._earlier = {part: float(earlier.get(part) or 0.0) for part in PARTS}
        self._steps_before = int(earlier.get("count") or 0)
        lost = int(known.get("step") or 0) - step if earlier else 0
        if lost > 0 and self._steps_before:
            again = self._earlier["steps"] * min(1.0, lost / self._steps_before)
            self._earlier["steps"] -= again
            self._earlier["redone"] += again
            self._steps_before -= min(lost, self._steps_before)
        self._own = dict.fromkeys(PARTS, 0.0)
        self._first, self._started = step, time.monotonic()

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count the time of the block as a part's."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._own[part] += time.monotonic() - started

    def seconds(self, step: int) -> dict[str, float]:
        """Return the seconds of each part until now, and the `count` of the steps that `steps` is of."""
        own = {**self._own, "steps": 0.0}
        own["steps"] = max(0.0, time.monotonic() - self._started - sum(own.values()))
        total = {part: round(self._earlier[part] + own[part], 3) for part in PARTS}
        return total | {"count": self._steps_before + step - self._first}
