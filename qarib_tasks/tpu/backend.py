"""What needs to be done to a machine that trains: start a command on it, look, stop it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

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


class TpuBackend(Protocol):
    """Starting is idempotent: work that runs already is adopted, not started twice."""

    def start(self, work: Work) -> None: ...

    def status(self, work: Work) -> Status: ...

    def stop(self, work: Work) -> None: ...

    def log(self, work: Work, offset: int) -> tuple[str, int]:
        """What the work printed after `offset` (bytes), and the offset to go on from."""
        ...
