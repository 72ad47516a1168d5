"""Converts and uploads the shards of a dataset that failed, are missing or are corrupt, and no others.

**To repair a dataset**, press *Trigger* and fill in its name: the `dataset_id` in the log of `preflight`, and
in the error of the task `dataset`. Leave the rest as it is.

1. `preflight` finds the settings that the dataset was made with.
2. `plan` audits every shard (its manifest, its file, its object's size and checksum), and its log names those
   that are not whole, and why.
3. `shard` for each of them: `convert`, `upload`. What turns out to be whole is left alone.
4. `dataset` judges the whole dataset again and names what could not be repaired; `publish` uploads the
   dataset's manifest once every shard is whole.

Then clear the task `dataset` of the run that failed, with its downstream tasks: it goes on to the training.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, deadline
from qarib_airflow.errors import fails_for_good
from qarib_airflow.forms.backfill import backfill_params
from qarib_airflow.preflight.backfill import find_run
from qarib_airflow.preflight.backfill import plan as make_plan
from qarib_airflow.tasks.shards import dataset, publish, raw_shards, shard

from qarib_tasks.layout import shard_label
from qarib_tasks.runs.run import Run


@task
@fails_for_good
def preflight() -> dict[str, Any]:
    return find_run(get_current_context()["params"]).to_dict()


@task
@fails_for_good
def plan(run: dict[str, Any]) -> list[str]:
    found = Run.from_dict(run)
    return raw_shards(found, make_plan(found, get_current_context()["params"], CONNECTION))


@dag(
    dag_display_name="QARiB: repair shards",
    description="Converts and uploads the shards of a dataset that failed, are missing or are corrupt",
    doc_md=__doc__,
    schedule=None,
    params=backfill_params(),
    max_active_runs=1,
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    deadline=deadline(),
    default_args=DEFAULT_ARGS,
)
def qarib_backfill_shards() -> None:
    run = preflight()
    paths = plan(run)
    shards = shard.expand(path=paths)
    complete = dataset(run, paths)
    shards >> complete
    publish(complete)


qarib_backfill_shards()
