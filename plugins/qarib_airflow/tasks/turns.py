"""What runs at once have one after another: to make a dataset, to train a model, to be next for a TPU.

Whether another run still needs it is what Airflow says of that run's tasks, so no lock is left by a run that
failed, was marked, or was deleted, or by a process that was killed. See docs/adr/0018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from qarib_airflow.defaults import NO_POOL, TPU_POOL
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.turns import Claim, Place, take

if TYPE_CHECKING:
    from airflow.sdk import Context

ACTIVE_RUN = ["queued", "running"]
ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
NOT_STARTED = (None, "scheduled", "queued")


@dataclass(frozen=True)
class Turn:
    """What one run at a time can have.

    Attributes:
        kind: `dataset`, `model`, or `tpu`.
        name: of its record, see `qarib_tasks.runs.turns`.
        waits: what a run that has to wait for it does, in words.
    """

    kind: str
    name: str
    waits: str


def of_dataset(run: Run) -> Turn:
    """To make the dataset: until it is published, or its run has ended."""
    return Turn("dataset", run.dataset_id, f"waits for another run that makes {run.dataset_id}")


def of_model(run: Run) -> Turn:
    """To train the model: until its last file is made and its TPU is deleted, or its run has ended."""
    return Turn("model", run.model_id, f"waits for another run that trains {run.model_id}")


def of_tpu(run: Run) -> Turn | None:
    """To be the next in the pool of trainings: until the training has started. None without such a pool."""
    if TPU_POOL == NO_POOL or run.config.tpu.machine == "local":
        return None
    return Turn("tpu", "tpu", "waits for a TPU")


def claim(run: Run, turn: Turn, context: Context) -> Place:
    """Claim the turn for the run of the task that calls this, and return its place."""
    dag_run = context["dag_run"]
    start = (dag_run.start_date or dag_run.run_after).astimezone(UTC)
    own = Claim(dag_id=dag_run.dag_id, run_id=dag_run.run_id, started=start.isoformat())
    return take(Path(run.config.workspace), turn.name, own, OVER[turn.kind])


def waiting(waits: str, place: object, after: str) -> str:
    """What a run waits for, for its log: "Waits for a TPU, place 2 of 3: after <run>"."""
    return f"{waits[0].upper()}{waits[1:]}, {place}: after {after}"


def _states(claim: Claim, *tasks: str) -> dict[str, str | None]:
    # It takes seconds to import, and a DAG file does not need it.
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    found = RuntimeTaskInstance.get_task_states(claim.dag_id, task_ids=list(tasks), run_ids=[claim.run_id])
    states: dict[str, str | None] = found.get(claim.run_id, {})
    return states


def _is_active(claim: Claim) -> bool:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    found = RuntimeTaskInstance.get_dr_count(claim.dag_id, run_ids=[claim.run_id], states=ACTIVE_RUN)
    return found > 0


def _until(*tasks: str) -> Callable[[Claim], bool]:
    """Over when these tasks have ended. A task without a state can still start."""

    def is_over(claim: Claim) -> bool:
        states = _states(claim, *tasks).values()
        if _is_active(claim):
            return all(state in ENDED for state in states)
        # A run that was marked: what it started can still be ending.
        return not any(state in ("running", "deferred") for state in states)

    return is_over


def _is_started(claim: Claim) -> bool:
    return _states(claim, "train").get("train") not in NOT_STARTED or not _is_active(claim)


# When a claim is over, by the kind of the turn. Each asks Airflow.
OVER: dict[str, Callable[[Claim], bool]] = {
    "dataset": _until("publish"),
    "model": _until("train", "delete_tpu", "finetuning_table"),
    "tpu": _is_started,
}
