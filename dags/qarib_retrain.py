"""Trains the promoted model further on text that is new, and promotes the result unless it is worse.

**It needs** a promoted model: `qarib_pretrain` promotes the first one of a preset when it has exported it.
What it trains and where it looks for text stands in the Airflow Variable `qarib_retrain`; the form below
overrides it for one run. When it runs by itself is set in the environment of the DAG processor
(`QARIB_RETRAIN_SCHEDULE`: a cron expression, or `asset`; `QARIB_TIMEZONE`). See docs/retraining.md.

What happens, from left to right:

1. `preflight` looks which source files the promoted model's dataset has not taken, by their contents. If
   there is none, everything behind is skipped, and its log says so. So it is behind `collect` if the new
   files hold nothing but repeats.
2. `sources`, `collect_source`, `collect`, `vocab`, `split`, `shard` (`convert` and `upload`), `dataset` and
   `publish` make a dataset of the new text alone, with the vocabulary that is there. The shards of the
   datasets that it extends are not touched.
3. `prepare_tpu`, `train`, `delete_tpu`: the promoted model's weights are trained on all shards, old and new,
   with a warm-up and decay of their own.
4. `evaluate`, `export`: on the held-out part of the first dataset, as every model before.
5. `promote` makes it the promoted model, unless its loss is above that one's by more than the margin. Then
   the task is skipped, the model stays a candidate, and the task's log has the figures.

**A month's files**: with {month} in a source's address each run takes the files of its data interval, and
`airflow backfill create --dag-id qarib_retrain` goes over past months.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, deadline
from qarib_airflow.errors import fails_for_good
from qarib_airflow.forms.retrain import retrain_params
from qarib_airflow.preflight.retrain import preflight as run_preflight
from qarib_airflow.preflight.retrain import schedule, timezone
from qarib_airflow.tasks.pipeline import from_sources_to_model

from qarib_tasks.layout import shard_label


@task.short_circuit
@fails_for_good
def preflight() -> dict[str, Any] | None:
    context = get_current_context()
    run = run_preflight(context["params"], context.get("data_interval_start"), CONNECTION)
    return run.to_dict() if run else None


@dag(
    dag_display_name="QARiB: train further on new text",
    description="Trains the promoted model on new text and promotes the result unless it is worse",
    doc_md=__doc__,
    schedule=schedule(),
    start_date=pendulum.datetime(2015, 1, 1, tz=timezone()),
    catchup=False,
    params=retrain_params(),
    max_active_runs=1,
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    deadline=deadline(),
    default_args=DEFAULT_ARGS,
)
def qarib_retrain() -> None:
    from_sources_to_model(preflight())


qarib_retrain()
