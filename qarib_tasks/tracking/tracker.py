"""The interface to an experiment tracker. `mlflow.py` and `wandb_offline.py` implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

# running: also one that ended and resumes. killed: a person stopped it.
State = Literal["running", "finished", "failed", "killed"]


@dataclass(frozen=True)
class Point:
    """The metrics of a step.

    Attributes:
        seconds: for which the training has trained up to this step.
    """

    step: int
    seconds: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Credentials:
    """What a server asks for: a user and a password, or only a token. Neither is ever shown."""

    user: str = ""
    secret: str = field(default="", repr=False)


class Tracker(Protocol):
    """One tracker, for one run at a time. `start` is called first. The calls raise TrackerError.

    Attributes:
        name: for people.
    """

    name: str

    def start(self, run_id: str, parameters: Mapping[str, str], began: float) -> Mapping[str, int]:
        """Find or create the run of a model, and add the parameters that it lacks.

        Args:
            began: when the training began, in seconds since 1970. An existing run keeps its time.

        Returns:
            the last step of each metric, as the tracker has it.
        """
        ...

    def metrics(self, points: Sequence[Point]) -> None:
        """Add points. Each metric's steps are above the last one that the tracker has."""
        ...

    def artefacts(self, addresses: Mapping[str, str]) -> None:
        """Say where what was made is."""
        ...

    def state(self, state: State, at: float) -> None:
        """Say what became of the run, and since when, in seconds since 1970. The last call."""
        ...
