"""Trains the promoted model further on new text, and promotes the result unless it is worse.

**You need** a promoted model: `qarib_pretrain` promotes the first model of a preset after exporting it. The
Airflow Variable `qarib_retrain` sets the model to train and the sources of the text; the form overrides it
for one run. The environment of the DAG processor sets the schedule (`QARIB_RETRAIN_SCHEDULE`: a cron
expression, or `asset`; or `QARIB_RETRAIN_FIRST_MONTH` for each month as a partition; `QARIB_TIMEZONE`). See
docs/retraining.md.

The steps, from left to right:

1. `preflight` finds the source files that the promoted model's dataset does not contain, comparing contents.
   If there are no such files, all downstream tasks are skipped, and the log says so. If the new files hold
   nothing but duplicates, the tasks downstream of `collect` are skipped in the same way.
2. `sources`, `collect_source`, `collect`, `vocab`, `split`, `shard` (`convert` and `upload`), `shards_ended`,
   `dataset` and `publish` make a dataset of the new text alone, with the existing vocabulary. The shards of
   the datasets that it extends are not changed.
3. `prepare_tpu`, `train` and `delete_tpu` train the promoted model's weights on all shards, old and new, with
   a new warm-up and decay.
4. `evaluate` and `export` use the held-out part of the first dataset, as for every earlier model.
5. `promote` makes the result the promoted model, unless it is worse by more than the margin: by its loss, by
   the probe of a task, or by both (*Promote by*). In that case the task is skipped, the model stays a
   candidate, and the log shows the figures of both models. With *Approval*, it asks a person first.
6. `finetunings`, `finetune`, and `finetuning_table` fine-tune the model on labelled tasks, if the promoted
   model's settings have any; otherwise they are skipped.

**To use one month's files per run**, put {month} in a source's address: each run reads the files of its data
interval, or of its partition. To process past months, run `airflow backfill create --dag-id qarib_retrain`.

With months as partitions, `wait_for_month` is the first step. It waits until the month has ended, its files
are there, and all months before it are done. To skip a month, add it to `skip_months`. A month that is done
is not trained again: `preflight` says so, and the tasks downstream are skipped.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, deadline
from qarib_airflow.forms.retrain import retrain_params
from qarib_airflow.preflight.retrain import preflight as run_preflight
from qarib_airflow.preflight.schedule import first_month, scheduling
from qarib_airflow.tasks.month import MonthSensor
from qarib_airflow.tasks.pipeline import from_sources_to_model

from qarib_tasks.layout import shard_label


@task.short_circuit
def preflight() -> dict[str, Any] | None:
    run = run_preflight(get_current_context(), CONNECTION)
    return run.to_dict() if run else None


@dag(
    dag_display_name="QARiB: train further on new text",
    description="Trains the promoted model on new text and promotes the result unless it is worse",
    doc_md=__doc__,
    **scheduling(),
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    deadline=deadline(),
    default_args=DEFAULT_ARGS,
)
def qarib_retrain() -> None:
    checked = preflight()
    if first_month():
        MonthSensor(task_id="wait_for_month") >> checked
    from_sources_to_model(checked)


DAG = qarib_retrain()
# The form comes last: Airflow copies the params that a DAG has for each new task.
DAG.params = retrain_params()
