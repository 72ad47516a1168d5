"""SIGTERM and SIGINT ask a training to end: it saves its state first and says so by its exit status.

Nothing heavy is imported here: whoever starts trainings imports `STOPPED` too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from qarib_tasks.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Termination:
    """While it is entered, a signal raises StoppedError, at once or, while `held`, when `end` is called.

    A second Ctrl-C does not wait. Entered in another thread than the main one, where Python handles no
    signals, it does nothing.
    """

    def __init__(self) -> None:
        self.asked_by: str | None = None
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Termination:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, a signal waits for `end`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def end(self, step: int | None = None) -> NoReturn:
        """Raises:
        StoppedError: a signal came, to this process or to another that trains with it. `step`: the one that
            is saved.
        """
        saved = "" if step is None else f", step {step} is saved"
        raise StoppedError(
            f"ended by {self.asked_by or 'a signal to another worker'}{saved}",
            do="Run it again: it goes on from its newest checkpoint",
        )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.asked_by is not None
        self.asked_by = signal.Signals(number).name
        if not self._held or (again and number == signal.SIGINT):
            self.end()
