"""What a TPU's paid time goes to: the steps of the training, and what holds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Phases of a TPU's memory that cost nothing; `clearing` deletes what was not granted.
UNPAID = ("asking", "queueing", "clearing")
# Of the training's own ledger, in progress.json.
LOSSES = ("compiling", "waiting", "checkpoints", "evaluation", "redone")


def goodput(memory: Mapping[str, Any], progress: Mapping[str, Any], now: float) -> dict[str, Any] | None:
    """The parts of a TPU's paid time.

    Args:
        memory: of the TPU (memory.json). progress: of the training (progress.json).
        now: seconds since 1970.

    Returns:
        paid: seconds. unpaid: seconds in which the run waited for a TPU. parts: seconds by name, which add up
        to `paid`: `steps` is productive; `starting` is what is left of the time with heartbeats: the start of
        the program, and what it did after its last report. productive: the share of `steps`. None for a
        memory of an earlier version, which has no times.
    """
    if "seconds" not in memory:
        return None
    phases = {name: float(value) for name, value in (memory.get("seconds") or {}).items()}
    phase, since, granted = memory.get("phase"), memory.get("since"), memory.get("granted")
    if isinstance(since, int | float) and since and phase not in ("succeeded", "failed"):
        name = "clearing" if phase == "deleting" and granted is None else str(phase)
        phases[name] = phases.get(name, 0.0) + max(0.0, now - since)
    unpaid = sum(phases.get(name, 0.0) for name in UNPAID)
    paid = sum(phases.values()) - unpaid
    alive = phases.get("running", 0.0) + phases.get("stopping", 0.0)
    own = {name: float((progress.get("seconds") or {}).get(name) or 0.0) for name in (*LOSSES, "steps")}
    # The two clocks start at different times; a training cannot use more than was paid for.
    total = sum(own.values())
    if total > alive:
        own = {name: value * alive / total for name, value in own.items()}
    parts = {
        "booting": phases.get("booting", 0.0),
        "starting": max(0.0, alive - total),
        **own,
        "deleting": phases.get("deleting", 0.0),
    }
    return {
        "paid": paid,
        "unpaid": unpaid,
        "parts": {name: round(value, 3) for name, value in parts.items()},
        "productive": parts["steps"] / paid if paid else None,
    }
