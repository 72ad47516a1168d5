"""The fine-tuning of a finished model: a mapped task for each labelled task and seed, and their table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from qarib_airflow.defaults import CORPUS_TIMEOUT, FINETUNE_AT_ONCE
from qarib_airflow.tasks.current_run import current_run
from qarib_airflow.tasks.training import TrainerOperator
from qarib_tasks import pipeline
from qarib_tasks.machines.backend import Work
from qarib_tasks.runs.run import Run

if TYPE_CHECKING:
    from airflow.sdk import Context


# A model that is not promoted is fine-tuned too. Without tasks, the downstream tasks are skipped.
@task.short_circuit(trigger_rule=TriggerRule.NONE_FAILED)
def finetunings() -> list[dict[str, Any]]:
    run = current_run()
    if not run.model.manifest.is_file():
        raise AirflowSkipException("There is no model to fine-tune")  # Its training was not approved.
    return pipeline.finetunings(run)


class FineTuneOperator(TrainerOperator):
    """Fine-tunes the run's model on one task with one seed, on the worker's machine.

    :param finetuning: the name of the task and the seed. (templated)
    """

    template_fields = ("finetuning",)

    def __init__(self, *, finetuning: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(command="finetune", **kwargs)
        self.finetuning = finetuning

    def work_of(self, run: Run) -> Work:
        return pipeline.finetuning_work(run, self.finetuning["name"], self.finetuning["seed"])


class FineTuningTableOperator(TrainerOperator):
    """Writes the table of the results and the model card, also if some have failed, and names those."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(command="finetune", **kwargs)

    def work_of(self, run: Run) -> Work:
        return pipeline.finetuning_table_work(run)

    def execute(self, context: Context) -> None:
        super().execute(context)
        pipeline.require_finetunings(current_run())


def fine_tune() -> Any:
    """Return the first of the tasks that fine-tune the model."""
    wanted = finetunings()
    each = FineTuneOperator.partial(
        task_id="finetune",
        map_index_template="{{ task.finetuning['name'] }}, seed {{ task.finetuning['seed'] }}",
        max_active_tis_per_dagrun=FINETUNE_AT_ONCE,
        execution_timeout=CORPUS_TIMEOUT,
    ).expand(finetuning=wanted)
    table = FineTuningTableOperator(
        task_id="finetuning_table", trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS
    )
    each >> table
    return wanted
