"""What became of each part of a run, by the states of its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed", "skipped", "not reached"]
# The tasks of each part, in the order in which they run.
PARTS: Mapping[str, tuple[str, ...]] = {
    "preflight": ("wait_for_month", "preflight"),
    "collect": ("sources", "collect_source", "collect"),
    "vocabulary": ("vocab",),
    "shards": ("split", "shard.convert", "shard.upload", "dataset", "publish"),
    "training": ("prepare_tpu", "train", "delete_tpu"),
    "model": ("evaluate", "export", "promote", "finetunings", "finetune", "finetuning_table"),
}
AT_WORK = (
    *("running", "deferred", "awaiting_input", "restarting", "queued", "scheduled"),
    *("up_for_retry", "up_for_reschedule"),
)
# A task in one of these states waits for people, for a month, or for a turn.
WAITS = ("awaiting_input", "up_for_reschedule")
# Tasks that, in this state, wait for the turn of their run or for a slot of their pool.
IN_TURN = {"sources": "deferred", "prepare_tpu": "deferred", "train": "scheduled"}
# States of a run that has ended.
ENDED = ("success", "failed")
MOST_CHARACTERS = 1000  # of a reason; the log has all of it
SEE_LOG = "no reason is known, for example because its process was killed or a person marked it as failed"


@dataclass(frozen=True)
class Reason:
    """Why a task failed or was skipped, as the task kept it.

    Attributes:
        state: of the task instance, in Airflow's words.
        kind: what the task kept it for: it failed, or it or those after it are skipped.
    """

    task: str
    map_index: int
    state: str | None
    kind: str
    what: str
    where: str | None = None
    do: str | None = None

    def to_dict(self) -> dict[str, Any]:
        names = ("task", "map_index", "what", "where", "do")
        return {name: cut(getattr(self, name)) for name in names}


def cut(value: Any) -> Any:
    """A text as far as the page shows it; another value as it is."""
    is_long = isinstance(value, str) and len(value) > MOST_CHARACTERS
    return value[: MOST_CHARACTERS - 1] + "…" if is_long else value


def way(
    steps: Mapping[str, Mapping[str, int]], reasons: Sequence[Reason] = (), run_state: str = ""
) -> list[dict[str, Any]]:
    """The parts of a run, in order: name, state, and reason.

    Args:
        steps: number of task instances by task and state.
        reasons: as the tasks kept them.
        run_state: of the run.

    Returns:
        name, state, and reason: `Reason.to_dict`, or None. A part that failed always has a reason. One that
        was not reached has `because`, the part that failed. A part that was skipped has the reason of the
        task that made Airflow skip it, if that task kept one. A part of which a task waits for its next try
        has that task's reason.
    """
    found: list[dict[str, Any]] = []
    failed: str | None = None
    skipped: Reason | None = None
    for name, tasks in PARTS.items():
        counts = Counter[str]()
        for task in tasks:
            own_counts = dict(steps.get(task) or {})
            if waiting := own_counts.pop(IN_TURN.get(task, ""), 0):
                own_counts[WAITS[0]] = waiting
            counts.update(own_counts)
        state = state_of(counts, run_state, upstream_failed=failed is not None)
        own = [one for one in reasons if one.task in tasks]
        reason = because = None
        if state == "failed":
            reason = next((one for one in own if one.state == one.kind == "failed"), None) or _unknown(
                tasks, steps
            )
            failed = failed or name
        elif state == "not reached":
            because = failed
        else:
            # A task that succeeded can keep a reason too: there was nothing to do for those after it.
            kept = [one for one in own if one.kind == "skipped" and one.state in ("skipped", "success")]
            skipped = kept[0] if kept else skipped
            if state == "skipped":
                reason = skipped
            elif kept and kept[0].state == "skipped":
                reason = kept[0]
            elif waits := next((one for one in own if one.state == "up_for_retry"), None):
                reason = replace(waits, what=f"{waits.task} failed and is tried again: {waits.what}")
        found.append(
            {"name": name, "state": state, "reason": reason and reason.to_dict(), "because": because}
        )
    return found


def state_of(counts: Mapping[str, int], run_state: str, *, upstream_failed: bool = False) -> State:
    """The state of a part, by the states of its task instances.

    Args:
        counts: by state; "none" counts those that Airflow has not decided on.
        upstream_failed: whether an earlier part failed.
    """
    if counts.get("failed"):
        return "failed"
    total = sum(counts.values()) - counts.get("removed", 0)  # Of a mapped task that has fewer instances now.
    done = counts.get("success", 0)
    settled = done + counts.get("skipped", 0)
    if total and settled == total:
        return "done" if done else "skipped"
    if counts.get("upstream_failed") or (run_state in ENDED and upstream_failed):
        return "not reached"
    if run_state in ENDED:
        return "done" if done else "skipped"
    at_work = any(counts.get(state) for state in AT_WORK if state not in WAITS)
    waits = any(counts.get(state) for state in WAITS)
    return "running" if at_work or (done and not waits) else "waiting"


def _unknown(tasks: Sequence[str], steps: Mapping[str, Mapping[str, int]]) -> Reason:
    task = next(task for task in tasks if (steps.get(task) or {}).get("failed"))
    return Reason(task, -1, "failed", "failed", SEE_LOG, do="See the log of the task")
