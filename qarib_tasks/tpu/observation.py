"""What one poll of a run's TPU finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qarib_tasks.tpu.api.errors import TpuError


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What the training reports.

    Attributes:
        name: of the TPU that it runs on; a heartbeat of another TPU is ignored.
        mark: differs from heartbeat to heartbeat.
        state: `preempted`: it received a preemption notice and has saved. `stopped`: it was asked to save and
            stop. `lost`: one of several machines is lost, and the others have ended.
        message: the last lines of the log if the training failed.
    """

    name: str
    mark: str
    state: Literal["running", "succeeded", "failed", "preempted", "stopped", "lost"] = "running"
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The result of one poll of an attempt's TPU.

    Attributes:
        queued: state of the queued resource; None: NOT_FOUND.
        nodes: state of each of its nodes; None: NOT_FOUND.
        error: of the create operation, or of a FAILED queued resource.
        gone: the deletion is complete.
        problem: the report of a machine that cannot reach the bucket.
        answer: the state of the TPU in the service's words; empty if the service was not asked.
    """

    time: float
    queued: str | None = None
    nodes: Sequence[str | None] = ()
    error: TpuError | None = None
    heartbeat: Heartbeat | None = None
    gone: bool = False
    problem: str = ""
    answer: str = ""
