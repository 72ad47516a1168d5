"""The interface to a place that runs a `qarib` command: start it, get its status and log, stop it.

`machines/local.py` is the only one: a process on the machine of the Airflow worker. Cloud TPUs are managed by
`qarib_tasks.tpu` instead, because they outlive the task and are replaced when they are lost.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from qarib_tasks.errors import InputError, StoppedError, TrainingError

log = logging.getLogger(__name__)
# With what the log of a `qarib` command marks a line.
_TIME = re.compile(r"\d\d:\d\d:\d\d ")
# What TensorFlow's libraries tell while they are loaded. No setting of theirs turns it off.
_NOTICE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) is called|"
    r"I\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\] "
)

State = Literal["waiting", "running", "succeeded", "failed", "refused", "lost"]


@dataclass(frozen=True)
class Status:
    """The status of some work.

    Attributes:
        state: `lost` means that the process was killed or stopped on request: if you start the same work
            again, it resumes from the last checkpoint. `failed` means that the command itself failed, and
            `refused` that it refused a setting or a file, as it will the next time.
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
    backend: Backend,
    work: Work,
    *,
    on_line: Callable[[str], None] = log.info,
    asked_to_stop: Callable[[], str | None] = lambda: None,
    poll: float = 0.5,
) -> None:
    """Start the work (or adopt it), pass the lines of its log to `on_line`, and wait until it ends.

    The lines are those of `without_notices`.

    If the caller is interrupted (an exception in `on_line`, Ctrl-C), the work is stopped.

    Args:
        asked_to_stop: is called at each poll; returns why the work is to stop, or None.

    Raises:
        StoppedError: `asked_to_stop` gave a reason; the work has ended.
        InputError: the work refused a setting or a file.
        TrainingError: the work failed, or its machine was lost. Both messages have the last lines that it
            printed.
    """
    backend.start(work)
    offset = 0
    try:
        while True:
            # Get the status before the log: the log then has everything that was printed before the end.
            status = backend.status(work)
            text, offset = backend.log(work, offset)
            for line in without_notices(text):
                on_line(line)
            if status.state not in ("waiting", "running"):
                break
            if why := asked_to_stop():
                backend.stop(work)
                _show_rest(backend, work, offset, on_line)
                raise StoppedError(why, where=work.name, do="Clear the task: it resumes from what was saved")
            time.sleep(poll)
    except BaseException:
        backend.stop(work)
        raise
    if status.state == "lost":
        raise TrainingError(
            status.message, where=work.name, do="Run it again: it resumes from its last checkpoint"
        )
    if status.state in ("failed", "refused"):
        error = TrainingError if status.state == "failed" else InputError
        raise error(f"failed, its last lines:\n{status.message}", where=work.name)


def _show_rest(backend: Backend, work: Work, offset: int, on_line: Callable[[str], None]) -> None:
    for line in without_notices(backend.log(work, offset)[0]):
        on_line(line)


def without_notices(text: str) -> Iterator[str]:
    """Yield the lines of a command's log without their times, and without notices of its libraries."""
    for line in text.splitlines():
        if not _NOTICE.match(line):
            yield _TIME.sub("", line, count=1) if _TIME.match(line) else line
