"""Converts and uploads the missing, failed and corrupt shards of a dataset, and no others.

**To repair a dataset**, press *Trigger* and enter its name: the `dataset_id` that the log of `preflight` and
the error of the task `dataset` give. Keep the other fields as they are.

1. `preflight` finds the settings that the dataset was made with.
2. `plan` audits every shard: its manifest, and the size and checksum of its file and of its object. The log
   lists the shards that are incomplete or damaged, and why.
3. `shard` runs `convert` and `upload` for each listed shard. A shard that proves to be intact is not changed.
4. When all of them have ended (`shards_ended`), `dataset` checks the dataset again and lists the shards that
   could not be repaired. When every shard is intact, `publish` uploads the dataset's manifest.

Then, in the run that failed, clear the task `dataset` and its downstream tasks: the run continues with the
training.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS, deadline
from qarib_airflow.forms.backfill import backfill_params
from qarib_airflow.preflight.backfill import find_run
from qarib_airflow.preflight.backfill import plan as make_plan
from qarib_airflow.preflight.pools import check_pools
from qarib_airflow.tasks.current_run import current_run
from qarib_airflow.tasks.shards import judged, publish, raw_shards, shard

from qarib_tasks.layout import shard_label


@task
def preflight() -> dict[str, Any]:
    context = get_current_context()
    check_pools(context["ti"])
    return find_run(context["params"]).to_dict()


@task
def plan() -> list[str]:
    run = current_run()
    return raw_shards(run, make_plan(run, get_current_context()["params"], CONNECTION))


@dag(
    dag_display_name="QARiB: repair shards",
    description="Converts and uploads the missing, failed and corrupt shards of a dataset",
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
    paths = plan()
    preflight() >> paths
    shards = shard.expand(path=paths)
    publish(judged(shards, needed=[paths]))


qarib_backfill_shards()
