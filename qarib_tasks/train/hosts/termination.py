"""SIGTERM and SIGINT end a training after it saves its state; its exit status reports that.

This module imports nothing heavy.
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
    """A context in which a signal raises StoppedError, at once or, while `held`, when `end` is called.

    A second Ctrl-C does not wait. Once the training ends, another SIGTERM does nothing: a machine that is
    preempted sends more than one, and the first has said what is saved. Outside the main thread, where Python
    handles no signals, the context does nothing.
    """

    def __init__(self) -> None:
        self.asked_by: str | None = None
        self._held = self._ending = False
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
        """Hold signals in the block until `end` is called."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def end(self, step: int | None = None) -> NoReturn:
        """End the training.

        Args:
            step: the saved step.

        Raises:
            StoppedError: always; this process or another rank has received a signal.
        """
        self._ending = True
        saved = "" if step is None else f", step {step} is saved"
        raise StoppedError(
            f"ended by {self.asked_by or 'a signal to another rank'}{saved}",
            do="Run the command again to resume from the newest checkpoint",
        )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._ending and number == signal.SIGTERM:
            return
        again = self.asked_by is not None
        self.asked_by = signal.Signals(number).name
        if not self._held or (again and number == signal.SIGINT):
            self.end()
