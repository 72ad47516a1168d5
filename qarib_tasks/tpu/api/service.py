"""The interface to a service that gives machines: what the lifecycle, the operators, and the reaper call."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qarib_tasks.tpu.api.errors import TpuError, TpuUnavailableError

# A request in these states has no machines yet.
QUEUED_STATES = ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "STATE_UNSPECIFIED")


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a service answers about one request, in the words of Cloud TPU.

    Attributes:
        state: of the request, as of a queued resource; None: NOT_FOUND.
        nodes: the state of each of its nodes; None: NOT_FOUND.
        error: why the request failed.
        problem: what a machine reports that cannot reach the bucket.
    """

    state: str | None = None
    nodes: Sequence[str | None] = ()
    error: TpuError | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A request, or a machine without one.

    Attributes:
        state: in the service's words, for people to read.
    """

    zone: str
    name: str
    state: str
    labels: Mapping[str, str]


class Service(ABC):
    """Requests machines, reads their state, and deletes them. Every method raises a `TpuError` on failure.

    Attributes:
        emulated: it is an emulator, which costs nothing.
    """

    emulated: bool

    @abstractmethod
    def create_queued_resource(self, request: Any) -> str | None:
        """Request machines, unless this request was already made.

        Returns:
            the name of the operation, for `look`; None if there is none.

        Raises:
            TpuConflictError: another run's request has the name.
        """

    @abstractmethod
    def look(self, zone: str, name: str, operation: str | None = None, *, silent: bool = False) -> Machines:
        """Return the state of a request and its machines.

        Args:
            operation: of the request.
            silent: no machine has reported yet, so read a `problem`, too.
        """

    @abstractmethod
    def delete_step(self, zone: str, name: str) -> bool:
        """Take the next step to delete a request and its machines; True once nothing of them exists."""

    @abstractmethod
    def listed(self, labels: Mapping[str, str]) -> list[Listed]:
        """Return what has these labels, in all zones."""

    @abstractmethod
    def command(self, zone: str, name: str) -> str:
        """Return the command that deletes a request."""

    def check(self) -> None:
        """Check that the service answers.

        Raises:
            TpuError: it does not, or refuses.
        """
        self.listed({"made-by": "qarib"})

    def delete(self, zone: str, name: str, *, within: float = 1800.0, poll: float = 10.0) -> None:
        """Delete a request and its machines, and wait until nothing of them exists.

        Raises:
            TpuUnavailableError: something still exists after `within` seconds.
        """
        deadline = time.monotonic() + within
        while not self.delete_step(zone, name):
            if time.monotonic() >= deadline:
                raise TpuUnavailableError(
                    f"the TPU still exists after {within:g} s of deleting",
                    where=f"{name} in {zone}",
                    do=f"It may cost money. Run: {self.command(zone, name)}",
                )
            time.sleep(poll)

    def delete_labelled(self, labels: Mapping[str, str]) -> list[str]:
        """Call `delete_step` for everything that has these labels.

        Returns:
            the names, as `zone/name`, of those that still existed.
        """
        places = dict.fromkeys((one.zone, one.name) for one in self.listed(labels))
        return [f"{zone}/{name}" for zone, name in places if not self.delete_step(zone, name)]
