"""What a TPU's paid time goes to: the steps of the training, and what holds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Phases of a TPU's memory that cost nothing; `clearing` deletes what was not granted.
UNPAID = ("asking", "queueing", "clearing")
PAID = ("booting", "running", "stopping", "deleting")
MOST_SECONDS = 1e10  # three centuries; the file is wrong
# Of the training's own ledger, in progress.json.
LOSSES = ("compiling", "waiting", "checkpoints", "evaluation", "redone")
# The parts, in the order in which they are shown.
TITLES = {
    "steps": "steps of the training",
    "redone": "steps that were redone",
    "compiling": "compiling",
    "waiting": "waiting for data",
    "checkpoints": "checkpoints",
    "evaluation": "evaluation",
    "booting": "booting",
    "starting": "starting the training, or not reported",
    "deleting": "deleting",
}


def goodput(memory: Mapping[str, Any], progress: Mapping[str, Any], now: float) -> dict[str, Any] | None:
    """The parts of a TPU's paid time.

    Args:
        memory: of the TPU (memory.json). progress: of the training (progress.json).
        now: seconds since 1970.

    Returns:
        paid: seconds. unpaid: seconds in which the run waited for a TPU. parts: seconds by name, which add up
        to `paid`: `steps` is productive; `starting` is what is left of the time with heartbeats: the start of
        the program, and what it did after its last report. titles: of the parts. productive: the share of
        `steps`. None for a memory of an earlier version, which has no times.
    """
    if "seconds" not in memory:
        return None
    phases = {name: _seconds(memory.get("seconds"), name) for name in (*UNPAID, *PAID)}
    phase, since, granted = memory.get("phase"), memory.get("since"), memory.get("granted")
    if isinstance(since, int | float) and since and phase not in ("succeeded", "failed"):
        name = "clearing" if phase == "deleting" and granted is None else str(phase)
        phases[name] = phases.get(name, 0.0) + _seconds({name: now - since}, name)
    unpaid, paid = (sum(phases[name] for name in names) for names in (UNPAID, PAID))
    alive = phases["running"] + phases["stopping"]
    own = {name: _seconds(progress.get("seconds"), name) for name in (*LOSSES, "steps")}
    # The two clocks start at different times; a training cannot use more than was paid for.
    total = sum(own.values())
    if total > alive:
        own = {name: value * alive / total for name, value in own.items()}
    parts = {
        "booting": phases["booting"],
        "starting": max(0.0, alive - total),
        **own,
        "deleting": phases["deleting"],
    }
    return {
        "paid": paid,
        "unpaid": unpaid,
        "parts": {name: round(value, 3) for name, value in parts.items()},
        "titles": TITLES,
        "productive": parts["steps"] / paid if paid else None,
    }


def _seconds(values: Mapping[str, Any] | None, name: str) -> float:
    """One of the times in a file, which all who may write to the bucket can have written; 0: it is none."""
    value = (values or {}).get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < MOST_SECONDS else 0.0
