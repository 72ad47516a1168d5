"""Decides what to do next with a run's TPU, from what a poll observes: a pure function and a saved memory.

    asking → queueing → booting → running → deleting → asking again, succeeded or failed
                                     ↓
                                  stopping

`decide` is called at each poll. Its memory is saved before each action: after a process is killed, the next
one continues from it. Requests and deletions can be repeated, so no TPU is created twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from qarib_tasks.tpu.api.errors import (
    TpuConflictError,
    TpuError,
    TpuPermissionError,
    TpuQuotaError,
    TpuRequestError,
    TpuStockOutError,
)
from qarib_tasks.tpu.api.request import resource_name
from qarib_tasks.tpu.api.service import QUEUED_STATES
from qarib_tasks.tpu.observation import Observation

Phase = Literal["asking", "queueing", "booting", "running", "stopping", "deleting", "succeeded", "failed"]
Action = Literal["ask", "wait", "stop", "delete", "succeed", "fail"]
Count = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=1e11)]
After = Literal["same_zone", "next_zone", "succeed", "fail"]

# The machines of a node in these states are lost, or soon will be, permanently or for too long. In any other
# state except READY the node can recover, and the limit on the heartbeat decides.
LOST_STATES = (
    "PREEMPTED", "TERMINATED", "STOPPED", "STOPPING", "REPAIRING", "DELETING", "HIDING", "HIDDEN",
)  # fmt: skip
# A single NOT_FOUND can be from a replica that lags.
MISSING_POLLS = 2
ASKING_SECONDS = 1800.0
# The same answer of the service is saved again after this long.
ANSWERED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a run, in seconds unless noted.

    Attributes:
        queueing: in each zone, from the request to the grant.
        booting: from the grant to the first heartbeat.
        running: of all attempts together, from the first heartbeat of the run; None: no limit.
        heartbeat: after this long without a new one, a READY node counts as lost.
        stopping: from asking the training to save and stop until its TPU is deleted.
        deleting: after this long, the run fails although the TPU still exists.
        max_preemptions: the number of lost TPUs that are replaced.
        price: of the TPU, per hour. max_cost: in the same currency.
    """

    queueing: float = 4 * 3600.0
    booting: float = 3600.0
    running: float | None = None
    heartbeat: float = 600.0
    stopping: float = 600.0
    deleting: float = 1800.0
    max_preemptions: int = 20
    price: float | None = None
    max_cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is saved between two polls; times in seconds since 1970.

    Attributes:
        run_id: names the TPUs.
        holder: the process that acts on it; a process that finds another name here does nothing.
        generation: of the holder. A new holder of the same generation adopts a live TPU; one of another
            generation deletes it.
        attempt: of the run, from 1; part of the TPU's name.
        zone: index in the list of zones. tried: the zones that this search for a TPU has tried.
        since: when the phase began. operation: of the create call.
        first_heartbeat: of the run. granted: when this attempt's TPU was granted.
        heartbeat, heartbeat_at: the mark of this attempt's newest heartbeat, and when it was first seen.
        spent: TPU seconds of earlier attempts.
        emulated: the TPU is one of the emulator's.
        answer, answered: the state of the TPU that the service last answered, and when.
        deleted: since when the attempt's TPU is known to exist no more.
        after: what follows the deletion. reason: why it is deleted.
        history: for people to read, one entry per ended attempt.
        stock_out: a zone of the current search had no capacity: another time may help.
        seconds: of all phases that have ended, by name; `clearing` is `deleting` of one that was not granted.
    """

    run_id: str
    holder: str = ""
    generation: Count = 0
    phase: Phase = "asking"
    attempt: Count = 1
    zone: Count = 0
    tried: tuple[Count, ...] = ()
    since: Seconds = 0.0
    operation: str | None = None
    preemptions: Count = 0
    missing: Count = 0
    first_heartbeat: Seconds | None = None
    heartbeat: str = ""
    heartbeat_at: Seconds = 0.0
    spent: Seconds = 0.0
    granted: Seconds | None = None
    after: After = "fail"
    reason: str = ""
    history: tuple[str, ...] = ()
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    emulated: bool = False
    answer: str = ""
    answered: Seconds = 0.0
    deleted: Seconds | None = None
    stock_out: bool = False

    __pydantic_config__ = ConfigDict(extra="forbid", defer_build=True)

    @property
    def name(self) -> str:
        """The name of the queued resource and of the node."""
        return resource_name(self.run_id, self.attempt)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def cost(self, now: float, price: float) -> float:
        """The estimated cost until `now`, on the high side: charged from the grant."""
        seconds = self.spent + (now - self.granted if self.granted is not None else 0.0)
        return seconds / 3600 * price


def decide(memory: Memory, seen: Observation, limits: Limits, zones: Sequence[str]) -> tuple[Memory, Action]:
    """The next action, and the memory to save before the action."""
    if seen.answer and (seen.answer != memory.answer or seen.time - memory.answered >= ANSWERED_SECONDS):
        memory = replace(memory, answer=seen.answer, answered=seen.time)
    after, action = _decided(memory, seen, limits, zones)
    return _counted(memory, after, seen.time), action


def _counted(before: Memory, after: Memory, now: float) -> Memory:
    """Add the seconds of a phase that has ended."""
    if (before.phase, before.attempt) == (after.phase, after.attempt) or not before.since:
        return after
    name = "clearing" if before.phase == "deleting" and before.granted is None else before.phase
    total = after.seconds.get(name, 0.0) + max(0.0, now - before.since)
    return replace(after, seconds={**after.seconds, name: round(total, 3)})


def _decided(
    memory: Memory, seen: Observation, limits: Limits, zones: Sequence[str]
) -> tuple[Memory, Action]:
    if memory.phase in ("succeeded", "failed"):
        return memory, "succeed" if memory.phase == "succeeded" else "fail"
    if memory.phase == "asking":
        # The TPU's lifetime starts here, not before a night without a triggerer.
        old = seen.time - memory.since > ASKING_SECONDS
        return (replace(memory, since=seen.time) if old else memory), "ask"
    if memory.phase == "deleting":
        return _deleting(memory, seen, limits, zones)
    memory = _with_heartbeat(memory, seen)
    if memory.phase == "queueing":
        return _queueing(memory, seen, limits)
    return _granted(memory, seen, limits)


def resumed(memory: Memory, now: float) -> Memory:
    """The memory that a new try of the task starts with.

    A live TPU is adopted. A run that has failed, or whose TPU is being deleted because a user ended it,
    starts again on a TPU of the next name, with its full limits.
    """
    if memory.phase == "failed":
        attempt, history = memory.attempt + 1, memory.history
        return Memory(run_id=memory.run_id, attempt=attempt, zone=memory.zone, since=now, history=history)
    if memory.phase == "deleting" and memory.after == "fail":
        # `spent` will have the seconds since the grant.
        used = {"deleting": now - memory.granted} if memory.granted is not None else {}
        fresh = replace(memory, first_heartbeat=None, spent=0.0, preemptions=0, seconds=used)
        return replace(fresh, after="same_zone", since=now)
    return memory


def ended(memory: Memory, now: float, reason: str) -> Memory:
    """The memory of a run that a user ended: its TPU is deleted, and the run fails."""
    if memory.phase in ("succeeded", "failed") or (memory.phase == "deleting" and memory.after == "fail"):
        return memory
    return _counted(memory, _delete(memory, now, "fail", reason)[0], now)


def all_deleted(memory: Memory, now: float) -> Memory:
    """The memory of a run that has ended, once none of its TPUs exists."""
    if memory.phase == "deleting" and memory.after == "fail":
        return decide(memory, Observation(time=now, gone=True), Limits(), ())[0]
    had_one = memory.answer or memory.granted is not None
    return _without_tpu(memory, now) if memory.phase in ("succeeded", "failed") and had_one else memory


def asked(memory: Memory, operation: str | None, now: float) -> Memory:
    """The memory after the API accepted a request, or already had it."""
    after = replace(memory, phase="queueing", operation=operation, since=now, missing=0, deleted=None)
    return _counted(memory, after, now)


def refused(memory: Memory, error: TpuError, now: float, zones: Sequence[str]) -> tuple[Memory, Action]:
    """The memory after a request was refused.

    If the zone has no quota, capacity or such type, or is not open to the project, the next zone follows.

    Raises:
        TpuError: the given error, if it is not about the zone.
    """
    if isinstance(error, TpuConflictError):
        # Another run's, or this run's own that is being deleted: never adopted. The next name is free.
        return replace(memory, attempt=memory.attempt + 1), "ask"
    about_the_zone = (TpuQuotaError, TpuStockOutError, TpuRequestError, TpuPermissionError)
    if not isinstance(error, about_the_zone):
        raise error
    after, action = _next_zone(_short(_noted(memory, str(error)), error), now, zones)
    return _counted(memory, after, now), action


def _short(memory: Memory, error: TpuError | None) -> Memory:
    return replace(memory, stock_out=memory.stock_out or isinstance(error, TpuStockOutError))


def _noted(memory: Memory, reason: str) -> Memory:
    text = f"attempt {memory.attempt} ({memory.name}): {reason}"
    return replace(memory, reason=reason, history=(*memory.history, text))


def _delete(memory: Memory, now: float, after: After, reason: str) -> tuple[Memory, Action]:
    """The TPU is deleted before any next step."""
    return replace(_noted(memory, reason), phase="deleting", since=now, after=after), "delete"


def _lost(memory: Memory, now: float, limits: Limits, reason: str) -> tuple[Memory, Action]:
    memory = replace(memory, preemptions=memory.preemptions + 1)
    if memory.preemptions > limits.max_preemptions:
        reason = f"{reason}; {memory.preemptions} TPUs lost, {limits.max_preemptions} are replaced"
        return _delete(memory, now, "fail", reason)
    return _delete(memory, now, "same_zone", reason)


def _with_heartbeat(memory: Memory, seen: Observation) -> Memory:
    """Record a heartbeat with a new mark, timed by this process: the machine's clock may be wrong."""
    beat = seen.heartbeat
    if beat is None or beat.name != memory.name or beat.mark == memory.heartbeat:
        return memory
    first = memory.first_heartbeat if memory.first_heartbeat is not None else seen.time
    return replace(memory, heartbeat=beat.mark, heartbeat_at=seen.time, first_heartbeat=first)


def _queueing(memory: Memory, seen: Observation, limits: Limits) -> tuple[Memory, Action]:
    now = seen.time
    if seen.error is not None:
        return _delete(_short(memory, seen.error), now, "next_zone", str(seen.error))
    if seen.queued is None:
        memory = replace(memory, missing=memory.missing + 1)
        if memory.missing < MISSING_POLLS:
            return memory, "wait"
        return _lost(memory, now, limits, "the queued resource no longer exists")
    if seen.queued in ("SUSPENDED", "DELETING"):
        return _lost(memory, now, limits, f"the queued resource is {seen.queued}")
    # SUSPENDING is not conclusive: it ends in FAILED (nothing was granted) or in SUSPENDED (preempted).
    if seen.queued in (*QUEUED_STATES, "SUSPENDING"):
        if now - memory.since <= limits.queueing:
            return replace(memory, missing=0), "wait"
        reason = f"not granted within {limits.queueing:g} s (limit of queueing)"
        return _delete(replace(memory, stock_out=True), now, "next_zone", reason)
    memory = replace(memory, phase="booting", since=now, granted=now, missing=0, stock_out=False)
    return _granted(memory, seen, limits)


def _granted(memory: Memory, seen: Observation, limits: Limits) -> tuple[Memory, Action]:
    """Booting, running or stopping."""
    now, beat = seen.time, seen.heartbeat
    if beat is not None and beat.name == memory.name:
        # The training's own final report counts first: its machines may no longer exist, and that is fine.
        if beat.state == "succeeded":
            return _delete(memory, now, "succeed", "the training succeeded")
        if beat.state == "failed":
            return _delete(
                memory, now, "fail", f"the training failed, the last lines of its log:\n{beat.message}"
            )
        if beat.state == "stopped" or (beat.state == "lost" and memory.phase == "stopping"):
            why = memory.reason if memory.phase == "stopping" else "the training was asked to stop"
            return _delete(memory, now, "fail", why)
        if beat.state == "preempted" and memory.phase != "stopping":
            return _lost(memory, now, limits, "the machine received a preemption notice")
        if beat.state == "lost":
            last = beat.message.rstrip("\n").rpartition("\n")[2]
            return _lost(memory, now, limits, f"a machine of the slice is lost: {last}")
        if memory.phase == "booting":
            memory = replace(memory, phase="running", since=now)
    elif seen.problem:
        return _delete(memory, now, "fail", seen.problem)
    lost, memory = _what_is_lost(memory, seen)
    if memory.phase == "stopping":
        if lost or now - memory.since > limits.stopping:
            return _delete(memory, now, "fail", memory.reason)
        return memory, "wait"
    if memory.phase == "booting" and seen.queued == "FAILED":
        return _delete(_short(memory, seen.error), now, "next_zone", str(seen.error))
    # See `_queueing`; a lost node is conclusive.
    unsettled = memory.phase == "booting" and seen.queued == "SUSPENDING" and not _lost_node(seen)
    if lost and not unsettled:
        return _lost(memory, now, limits, lost)
    if memory.phase == "booting" and now - memory.since > limits.booting:
        return _lost(memory, now, limits, f"no heartbeat within {limits.booting:g} s (limit of booting)")
    if memory.phase == "running" and now - memory.heartbeat_at > limits.heartbeat:
        return _lost(memory, now, limits, f"no heartbeat for {limits.heartbeat:g} s (limit of the heartbeat)")
    return _within_budget(memory, now, limits)


def _what_is_lost(memory: Memory, seen: Observation) -> tuple[str, Memory]:
    if state := _lost_node(seen):
        return f"the node is {state}", memory
    if seen.queued in ("SUSPENDING", "SUSPENDED", "FAILED", "DELETING"):
        return f"the queued resource is {seen.queued}", memory
    # Until the resource is ACTIVE, a node may not exist yet.
    missing = seen.queued is None or (seen.queued == "ACTIVE" and (not seen.nodes or None in seen.nodes))
    memory = replace(memory, missing=memory.missing + 1 if missing else 0)
    return ("the TPU was not found" if memory.missing >= MISSING_POLLS else ""), memory


def _lost_node(seen: Observation) -> str | None:
    return next((state for state in seen.nodes if state in LOST_STATES), None)


def _within_budget(memory: Memory, now: float, limits: Limits) -> tuple[Memory, Action]:
    """Ask the training to save and stop if its time or money is used up."""
    reason = ""
    started = memory.first_heartbeat
    if limits.running is not None and started is not None and now - started > limits.running:
        reason = f"not finished within {limits.running:g} s (limit of running)"
    if limits.max_cost is not None and limits.price is not None:
        cost = memory.cost(now, limits.price)
        if cost > limits.max_cost:
            of = ", as a real TPU would cost" if memory.emulated else ""
            reason = f"stopped: about {cost:.2f} spent{of}, max_cost is {limits.max_cost:.2f}"
    if not reason:
        return memory, "wait"
    return replace(memory, phase="stopping", since=now, reason=reason), "stop"


def _deleting(
    memory: Memory, seen: Observation, limits: Limits, zones: Sequence[str]
) -> tuple[Memory, Action]:
    now = seen.time
    if not seen.gone:
        if now - memory.since > limits.deleting:
            reason = f"the TPU still exists after {limits.deleting:g} s of deleting and may cost money"
            reason = f"{reason}; {memory.reason}"
            return replace(_noted(memory, reason), phase="failed"), "fail"
        return memory, "delete"
    memory = _without_tpu(memory, now)
    if memory.after == "succeed":
        return replace(memory, phase="succeeded"), "succeed"
    if memory.after == "fail":
        return replace(memory, phase="failed"), "fail"
    if memory.after == "next_zone":
        return _next_zone(memory, now, zones)
    # The zone that worked is tried first again, then all others.
    again = replace(memory, phase="asking", attempt=memory.attempt + 1, tried=(), since=now)
    return replace(again, stock_out=False), "ask"


def _without_tpu(memory: Memory, now: float) -> Memory:
    """The attempt's TPU does not exist any more."""
    spent = memory.spent + (now - memory.granted if memory.granted is not None else 0.0)
    memory = replace(memory, spent=spent, granted=None, heartbeat="", missing=0, operation=None)
    return replace(memory, answer="", answered=0.0, deleted=now)


def _next_zone(memory: Memory, now: float, zones: Sequence[str]) -> tuple[Memory, Action]:
    tried = (*memory.tried, memory.zone)
    order = [(memory.zone + i) % len(zones) for i in range(len(zones))]
    untried = [zone for zone in order if zone not in tried]
    if not untried:
        names = ", ".join(zones[zone] for zone in dict.fromkeys(tried))
        reason = f"no TPU in any of the zones tried ({names}): {memory.reason}"
        return replace(memory, phase="failed", tried=tried, reason=reason), "fail"
    changed = replace(
        memory, phase="asking", attempt=memory.attempt + 1, zone=untried[0], tried=tried, since=now
    )
    return changed, "ask"
