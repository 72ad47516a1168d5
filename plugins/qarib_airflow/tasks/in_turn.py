"""Tasks that begin when their run has its turn, and steps that one process at a time does."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from qarib_airflow.defaults import TPU_POOL
from qarib_airflow.reporting import waits
from qarib_airflow.tasks.current_run import current_run
from qarib_airflow.tasks.turn_trigger import POLL_SECONDS, TurnTrigger
from qarib_airflow.tasks.turns import Turn, claim, of_dataset, waiting
from qarib_tasks import pipeline
from qarib_tasks.layout import TURNS
from qarib_tasks.runs.run import Run, save_settings
from qarib_tasks.storage.working_folder import only_one_with

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class InTurn:
    """An operator that waits for the turn of its run: deferred, without a worker."""

    def wait_for_turn(self, context: Context, run: Run, turn: Turn) -> None:
        """Claim the turn; unless the run has it, defer, and call `execute` again when it may have it."""
        place = claim(run, turn, context)
        if place.ahead:
            log.info("%s", waiting(turn.waits, place, place.ahead[-1].run_id))
            waits.keep(context["ti"], turn.kind, turn.waits, place.since)
            own = context["dag_run"].dag_id, context["dag_run"].run_id
            ahead = [one.key for one in place.ahead]
            trigger = TurnTrigger(turn.kind, own, ahead, turn.waits, run.config.workspace, turn.name)
            raise TaskDeferred(trigger=trigger, method_name="resume")
        if turn.kind == "tpu":
            log.info("First in the queue for the pool %s: %s", TPU_POOL, place)

    def resume(self, context: Context, event: Any) -> Any:
        """Claim again: meanwhile, another run can have its turn."""
        return self.execute(context)  # type: ignore[attr-defined]


class SourcesOperator(InTurn, BaseOperator):
    """Lists the sources, once no other run makes the dataset."""

    def execute(self, context: Context) -> list[str]:
        run = current_run()
        self.wait_for_turn(context, run, of_dataset(run))
        save_settings(run)  # The tasks of the shards read them: those of the run that has the turn.
        return pipeline.sources(run)


def look_again(ti: Any, kind: str, text: str) -> NoReturn:
    """End this task's process, and have Airflow start it again later.

    Unlike a deferred task, it has no slot of a pool meanwhile, which the run that it waits for may need.

    Raises:
        AirflowRescheduleException: always.
    """
    log.info("%s", text)
    waits.keep(ti, kind, text)
    at = datetime.now(UTC) + timedelta(seconds=3 * POLL_SECONDS)
    raise AirflowRescheduleException(at)  # type: ignore[no-untyped-call]


def step_alone(run: Run, step: str) -> AbstractContextManager[None]:
    """Let one process at a time do a step of the run's dataset.

    For what turns do not cover: a task that a person clears in a run that had its turn before.
    """
    return only_one_with(Path(run.config.workspace) / TURNS / f"{run.dataset_id}.{step}.lock", make=True)
