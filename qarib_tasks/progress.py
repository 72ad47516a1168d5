"""Progress of long work: a bar in a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(description: str, total: int, unit: str = "lines") -> Iterator[Callable[[int], None]]:
    """Show progress until the block ends.

    Args:
        total: total number of units; 0 if unknown.
        unit: name of the unit in the log line; "bytes" are shown as MB.

    Yields:
        a function that adds a number of units to those done.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        # Without markup: a name can have brackets.
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(description, total=total or None)
            yield lambda n: bar.advance(task, n)
        return
    started = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            log.info("%s: %s", description, _line(done, total, unit, now - started))

    yield advance
    log.info("%s: %s", description, _line(done, total, unit, time.monotonic() - started))


def _line(done: int, total: int, unit: str, seconds: float) -> str:
    scale, name = (1e6, "MB") if unit == "bytes" else (1, unit)
    # The total of packed text is an estimate.
    of = f" of {total / scale:,.0f}" if total and done <= total else ""
    return f"{done / scale:,.0f}{of} {name}, {done / scale / max(seconds, 1e-9):,.0f} {name}/s"
