"""One poll of a run's TPU and the action that follows: what the operator's trigger does each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from qarib_tasks.tpu.api.errors import TpuError
from qarib_tasks.tpu.api.service import Service
from qarib_tasks.tpu.lifecycle import Limits, Memory, asked, decide, refused
from qarib_tasks.tpu.observation import Heartbeat, Observation

NOT_FOUND = "NOT_FOUND"


class Training(Protocol):
    """What the lifecycle needs of the training. The two communicate through the bucket."""

    def heartbeat(self, name: str) -> Heartbeat | None:
        """The newest heartbeat of the training on the TPU of that name; None before the first."""
        ...

    def stop(self, name: str) -> None:
        """Ask the training to save and stop."""
        ...


@dataclass(frozen=True, kw_only=True)
class TpuRun:
    """A training on one TPU after another.

    Args:
        request: makes the request from the memory and the zone; the same memory gives the same request.
        save: stores the memory where another process finds it; called before each action.
    """

    client: Service
    training: Training
    request: Callable[[Memory, str], Any]
    zones: Sequence[str]
    limits: Limits
    save: Callable[[Memory], None]

    def step(self, memory: Memory, now: float) -> Memory:
        """Poll once and act once.

        Args:
            now: seconds since 1970.

        Returns:
            the memory to pass to the next call; its phase says whether the run has `succeeded` or `failed`.

        Raises:
            TpuError: the API does not answer, or refuses a request that no other zone would allow. The
                memory that was saved last is still valid.
        """
        before = memory.phase
        memory, action = decide(memory, self.observe(memory, now), self.limits, self.zones)
        self.save(memory)
        if action == "ask":
            memory = self._ask(memory, now)
            self.save(memory)
        elif action == "stop":
            self.training.stop(memory.name)
        elif action == "delete" and before != "deleting":  # Otherwise the poll itself was a step.
            self.client.delete_step(self._zone(memory), memory.name)
        return memory

    def observe(self, memory: Memory, now: float) -> Observation:
        zone, name = self._zone(memory), memory.name
        if memory.phase in ("asking", "succeeded", "failed"):
            return Observation(time=now)
        if memory.phase == "deleting":
            gone = self.client.delete_step(zone, name)
            return Observation(time=now, gone=gone, answer=NOT_FOUND if gone else "DELETING")
        # Read the heartbeat before the machines: its final state can then not be newer than their state.
        heartbeat = self.training.heartbeat(name)
        found = self.client.look(zone, name, memory.operation, silent=heartbeat is None)
        return Observation(
            time=now,
            queued=found.state,
            nodes=found.nodes,
            error=found.error,
            heartbeat=heartbeat,
            problem=found.problem,
            answer=", ".join(sorted({one or NOT_FOUND for one in found.nodes or [found.state]})),
        )

    def delete_stray(self, memory: Memory, saved: Memory | None, *, poll: float = 10.0) -> None:
        """Delete a TPU that was requested with an outdated memory, unless the saved one still refers to it.

        The API can answer a request minutes after a user ended the run, or cleared it and started it again.
        At that time the TPU did not exist yet, so nothing else deletes it.
        """
        still_used = saved is not None and saved.phase not in ("deleting", "succeeded", "failed")
        if not (still_used and saved and (saved.name, saved.zone) == (memory.name, memory.zone)):
            self.client.delete(self._zone(memory), memory.name, poll=poll)

    def _zone(self, memory: Memory) -> str:
        return self.zones[memory.zone]

    def _ask(self, memory: Memory, now: float) -> Memory:
        try:
            operation = self.client.create_queued_resource(self.request(memory, self._zone(memory)))
        except TpuError as error:
            return refused(memory, error, now, self.zones)[0]
        return replace(asked(memory, operation, now), emulated=self.client.emulated)
