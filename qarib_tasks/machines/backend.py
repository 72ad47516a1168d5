"""The interface to a place that runs a `qarib` command: start it, get its status and log, stop it.

`machines/local.py` is the only one: a process on the machine of the Airflow worker. Cloud TPUs are managed by
`qarib_tasks.tpu` instead, because they outlive the task and are replaced when they are lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from qarib_tasks.errors import TrainingError

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "succeeded", "failed", "lost"]


@dataclass(frozen=True)
class Status:
    """The status of some work.

    Attributes:
        state: `lost` means that the process was killed or stopped on request: if you start the same work
            again, it resumes from the last checkpoint. `failed` means that the command itself failed.
        message: a message for the user; for failed work, the last lines that the command printed.
    """

    state: State
    message: str = ""


@dataclass(frozen=True)
class Work:
    """A `qarib` command to run, and the folder for its files.

    Attributes:
        name: unique within the folder; part of the names of the log and the process record.
        arguments: of the `qarib` command, such as ("train", "--config", "…/config.yaml").
        folder: where to write the log and the process record.
    """

    name: str
    arguments: Sequence[str]
    folder: Path


class Backend(Protocol):
    """Starts, follows, and stops work. `local.LocalProcessBackend` implements it."""

    def start(self, work: Work) -> None:
        """Start the work, or adopt it if it is already running."""
        ...

    def status(self, work: Work) -> Status:
        """Return the status. Work stops if it is not polled, see `LocalProcessBackend.lease`."""
        ...

    def stop(self, work: Work) -> None:
        """Stop the work. If it is not running, do nothing."""
        ...

    def log(self, work: Work, offset: int) -> tuple[str, int]:
        """Return what the work printed after `offset` (bytes), and the offset for the next call."""
        ...


def run_to_end(
    backend: Backend, work: Work, *, on_line: Callable[[str], None] = log.info, poll: float = 0.5
) -> None:
    """Start the work (or adopt it), pass each line of its log to `on_line`, and wait until it ends.

    If the caller is interrupted (an exception in `on_line`, Ctrl-C), the work is stopped.

    Raises:
        TrainingError: the work failed, or its machine was lost. The message has the last lines that it
            printed.
    """
    backend.start(work)
    offset = 0
    try:
        while True:
            # Get the status before the log: the log then has everything that was printed before the end.
            status = backend.status(work)
            text, offset = backend.log(work, offset)
            for line in text.splitlines():
                on_line(line)
            if status.state not in ("waiting", "running"):
                break
            time.sleep(poll)
    except BaseException:
        backend.stop(work)
        raise
    if status.state == "lost":
        raise TrainingError(
            status.message, where=work.name, do="Run it again: it resumes from its last checkpoint"
        )
    if status.state == "failed":
        raise TrainingError(f"failed, its last lines:\n{status.message}", where=work.name)
