"""Time between the tries of Google's clients that passes at once."""

from __future__ import annotations

import threading

import pytest
from google.api_core.retry import retry_base, retry_unary


class Clock(threading.local):
    """Time that passes only between the tries of a request; each thread has its own: a client has some."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def moved_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have Google's clients look at this clock, which stands at 0."""
    clock = Clock()
    for module in (retry_base, retry_unary):
        monkeypatch.setattr(module, "time", clock)
    return clock
