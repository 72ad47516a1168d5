"""Which share of a file a sample is, and how long a sample takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from qarib_tasks.corpus.preview.stream import Beginning
from qarib_tasks.corpus.reading.records import Reading

_MEASURED = 4 << 20  # bytes of a compressed file that show how well it compresses
_MEASURE_SECONDS = 1.0


class Pace:
    """How long the sample of a file has taken, without what is done once per file.

    Attributes:
        seconds: that as many lines take in the middle of the file.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._characters = 0

    def add(self, lines: list[str]) -> None:
        """Count lines that have been cleaned."""
        now = time.monotonic()
        self._characters += _characters(lines)
        if self._first is None:
            self._first = now, self._characters
        start, before = self._first
        if self._characters > 2 * before:
            self.seconds = (now - start) * self._characters / (self._characters - before)
        else:
            self.seconds = now - self._start


def _characters(lines: list[str]) -> int:
    return sum(map(len, lines)) + len(lines)


def share_of_sample(batches: Any, readings: Sequence[Reading], raw: Beginning) -> float:
    """Return the share of what is read of a file that is the sample; more of a compressed file is read.

    A decoder reads ahead, so that only from more than it holds the size of the rest can be estimated.
    """
    if not readings or not readings[-1].packed:
        return 1.0
    sample = sum(reading.given - reading.held or reading.passed for reading in readings)
    until = time.monotonic() + _MEASURE_SECONDS
    for _ in batches:
        if raw.passed >= _MEASURED or time.monotonic() > until:
            break
    total = sum(reading.given - reading.held or reading.passed for reading in readings)
    return sample / total if total else 1.0


def share_read(raw: Beginning, size: int, readings: Sequence[Reading]) -> float:
    """Return the share of a file whose lines were yielded, about."""
    if not readings:
        return 1.0
    last = readings[-1]
    if last.share is not None and not last.packed:
        return last.share
    # The reader is given more than it has yielded lines of, and the decoder reads ahead.
    passed = sum(reading.passed for reading in readings)
    used = sum(reading.given - reading.held or reading.passed for reading in readings)
    ahead = used / passed if passed else 1.0
    return ahead * min(1.0, raw.passed / size) if size else 1.0
