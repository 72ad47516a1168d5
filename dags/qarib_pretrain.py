"""Raw Arabic text to a trained, evaluated and exported BERT.

**To try it**, press *Trigger*, choose the preset `demo`, leave everything else empty. It takes some minutes.

**For your own text**, choose the preset `qarib`, put your files under *Sources*, and a bucket under *Bucket*
if your administrator has not set one. Every field that you leave empty has the preset's value; the log of
`preflight` shows all of them.

What happens, from left to right:

1. `preflight` checks the settings, the sources and the bucket, before anything is made.
2. `sources` names the sources, `collect_source` reads and cleans each of them, and `collect` joins them into
   one text without repeats and puts a small part of it aside for evaluation; `report.html` beside the text
   shows what came of it.
3. `vocab` learns the vocabulary; `split` cuts the text into shards. Both at once.
4. `shard` for each shard: `convert` makes the pre-training data, `upload` brings it to the bucket.
5. `dataset` judges whether all shards are there and names those that are not; `publish` uploads the
   vocabulary, `bert_config.json` and the dataset's manifest.
6. `train`: on a Cloud TPU that `prepare_tpu` prepares and `delete_tpu` removes, whatever happens; or on the
   worker's machine (*Machine*: `local`). Its log shows step and loss. A TPU that is lost is replaced.
7. `evaluate`, `export`: the model ends up below `models/`.

**To train again on a dataset that is there**, with another model or longer, give its name under *Train on a
dataset that is there*: the steps before the training are left out.

**If a task fails**, its log ends with what was wrong and what to do. Correct it and clear the task, or
trigger the DAG again with the same settings: whatever is finished is found again and left alone.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, WeightRule, dag, get_current_context, setup, task
from qarib_airflow.errors import RETRIES, fails_for_good
from qarib_airflow.form import build_params
from qarib_airflow.preflight import allowed_sources, check_map_length
from qarib_airflow.preflight import preflight as run_preflight
from qarib_airflow.shard_tasks import CONNECTION, dataset, publish, shard, shard_label
from qarib_airflow.tpu_operator import CloudTPUDeleteRunOperator
from qarib_airflow.tpu_preflight import prepare_tpu as run_prepare_tpu
from qarib_airflow.trainer import TrainerOperator, TrainOperator

from qarib_tasks import pipeline
from qarib_tasks.pipeline import Run


@task
@fails_for_good
def preflight() -> dict[str, Any]:
    return run_preflight(get_current_context()["params"], CONNECTION).to_dict()


@task
@fails_for_good
def sources(run: dict[str, Any]) -> list[str]:
    return pipeline.sources(Run.from_dict(run))


@task(map_index_template="{{ task.op_kwargs['name'] }}")
@fails_for_good
def collect_source(run: dict[str, Any], name: str) -> None:
    pipeline.collect_source(Run.from_dict(run), name, allowed_sources())


# There may be no source to collect.
@task(trigger_rule=TriggerRule.NONE_FAILED)
@fails_for_good
def collect(run: dict[str, Any]) -> None:
    pipeline.collect(Run.from_dict(run), allowed_sources())


@task
@fails_for_good
def vocab(run: dict[str, Any]) -> None:
    pipeline.build_vocab(Run.from_dict(run))


@task
@fails_for_good
def split(run: dict[str, Any]) -> list[str]:
    names = pipeline.split(Run.from_dict(run))
    check_map_length(len(names))
    return names


@setup
@task
@fails_for_good
def prepare_tpu(run: dict[str, Any]) -> dict[str, Any] | None:
    context = get_current_context()
    return run_prepare_tpu(Run.from_dict(run), context["run_id"], context["dag"].owner, CONNECTION)


@dag(
    dag_display_name="QARiB: pre-train a BERT",
    description="Raw Arabic text to a trained, evaluated and exported BERT",
    doc_md=__doc__,
    schedule=None,
    params=build_params(),
    max_active_runs=1,
    tags=["qarib"],
    user_defined_macros={"shard_label": shard_label},
    # A converted shard is uploaded before the next one is converted.
    default_args=RETRIES | {"weight_rule": WeightRule.UPSTREAM},
)
def qarib_pretrain() -> None:
    run = preflight()
    read = collect_source.partial(run=run).expand(name=sources(run))
    collected = collect(run)
    vocabulary = vocab(run)
    names = split(run)
    shards = shard.partial(run=run).expand(name=names)
    complete = dataset(run, names)
    published = publish(complete)
    tpu = prepare_tpu(run)
    train = TrainOperator(task_id="train", run_values=run, job=tpu)
    delete_tpu = CloudTPUDeleteRunOperator(task_id="delete_tpu", job=tpu)
    evaluate, export = (
        TrainerOperator(task_id=command, run_values=run, command=command)
        for command in ("evaluate", "export")
    )

    read >> collected >> [vocabulary, names]
    [vocabulary, names] >> shards >> complete
    published >> tpu >> train >> delete_tpu.as_teardown(setups=tpu, on_failure_fail_dagrun=True)
    train >> evaluate >> export


qarib_pretrain()
