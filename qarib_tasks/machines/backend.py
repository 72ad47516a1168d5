"""What needs to be done to a machine that trains: start a command on it, look, stop it."""

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
    """What a machine that trains says of itself.

    Attributes:
        state: `lost` is a machine that went away (preempted, crashed): starting the same work again on
            another one continues from the last checkpoint. `failed` is the training's own fault.
        message: for a person; of a failed one, the last lines that the training printed.
    """

    state: State
    message: str = ""


@dataclass(frozen=True)
class Work:
    """A `qarib` command to run and the folder it keeps its files in.

    Attributes:
        name: unique within the folder; names the log and the record of the process.
        arguments: of the `qarib` command, such as ("train", "--config", "…/config.yaml").
        folder: where the log and the record go.
    """

    name: str
    arguments: Sequence[str]
    folder: Path


class Backend(Protocol):
    """Starting is idempotent: work that runs already is adopted, not started twice."""

    def start(self, work: Work) -> None: ...

    def status(self, work: Work) -> Status: ...

    def stop(self, work: Work) -> None: ...

    def log(self, work: Work, offset: int) -> tuple[str, int]:
        """What the work printed after `offset` (bytes), and the offset to go on from."""
        ...


def run_to_end(
    backend: Backend, work: Work, *, on_line: Callable[[str], None] = log.info, poll: float = 0.5
) -> None:
    """Start the work (or adopt it), give its log line by line to `on_line`, and wait for its end.

    A caller that is interrupted (an exception in `on_line`, Ctrl-C) stops the work.

    Raises:
        TrainingError: the work failed, or its machine was lost; with the last lines that it printed.
    """
    backend.start(work)
    offset = 0
    try:
        while True:
            # Asked before the log is read: what was printed before the end is then surely in it.
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
            status.message, where=work.name, do="Run it again: it continues from its last checkpoint"
        )
    if status.state == "failed":
        raise TrainingError(f"ended with an error, its last lines:\n{status.message}", where=work.name)
