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

**If a task fails**, its log ends with what was wrong and what to do. Correct it and clear the task, or
trigger the DAG again with the same settings: whatever is finished is found again and left alone.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath
from typing import Any

from airflow.sdk import TriggerRule, WeightRule, dag, get_current_context, setup, task, task_group
from qarib_airflow.errors import fails_for_good
from qarib_airflow.form import build_params
from qarib_airflow.preflight import allowed_sources, check_map_length
from qarib_airflow.preflight import preflight as run_preflight
from qarib_airflow.published import check_published
from qarib_airflow.tpu_operator import CloudTPUDeleteRunOperator
from qarib_airflow.tpu_preflight import prepare_tpu as run_prepare_tpu
from qarib_airflow.trainer import TrainerOperator, TrainOperator
from qarib_airflow.upload import VerifiedUploadOperator

from qarib_tasks import pipeline
from qarib_tasks.errors import InputError
from qarib_tasks.pipeline import Run

CONNECTION = "google_cloud_default"
CONFIG = "ti.xcom_pull(task_ids='preflight')['config']"
TO_BUCKET = {
    "bucket": f"{{{{ {CONFIG}['upload']['bucket'] }}}}",
    "dst": f"{{{{ {CONFIG}['upload']['prefix'] }}}}",
    "relative_to": f"{{{{ {CONFIG}['workspace'] }}}}",
    "gcp_conn_id": CONNECTION,
}


@task
@fails_for_good
def preflight() -> dict[str, Any]:
    return run_preflight(get_current_context()["params"], CONNECTION).to_dict()


@task
@fails_for_good
def sources(run: dict[str, Any]) -> list[str]:
    names = [source.name for source in Run.from_dict(run).config.collect.sources]
    check_map_length(len(names))
    return names


@task(map_index_template="{{ task.op_kwargs['name'] }}")
@fails_for_good
def collect_source(run: dict[str, Any], name: str) -> None:
    pipeline.collect_source(Run.from_dict(run), name, allowed_sources())


@task
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


@task(map_index_template="{{ shard_label(task.op_kwargs['name']) }}")
@fails_for_good
def convert(run: dict[str, Any], name: str) -> list[str]:
    pipeline.convert(Run.from_dict(run), name)
    return [str(path) for path in pipeline.shard_files(Run.from_dict(run), name)]


@task_group
def shard(run: dict[str, Any], name: str) -> None:
    VerifiedUploadOperator(
        task_id="upload",
        src=convert(run=run, name=name),
        map_index_template="{{ shard_label(task.src[0]) }}",
        **TO_BUCKET,
    )


def shard_label(path: str) -> str:
    """`shard_0000`, or `heldout/shard_0000`, of a raw shard or of its TFRecords."""
    shard = PurePath(path)
    return f"heldout/{shard.stem}" if shard.parent.parent.name == "heldout" else shard.stem


@task(trigger_rule=TriggerRule.ALL_DONE)
@fails_for_good
def dataset(run: dict[str, Any] | None, names: list[str] | None) -> list[str]:
    if run is None or names is None:
        raise InputError("there are no shards to judge", do="See the log of the first task that failed")
    pipeline.finish_dataset(Run.from_dict(run), names)
    check_published(Run.from_dict(run), CONNECTION)
    return [str(path) for path in pipeline.dataset_files(Run.from_dict(run))]


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
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        # A converted shard is uploaded before the next one is converted.
        "weight_rule": WeightRule.UPSTREAM,
    },
)
def qarib_pretrain() -> None:
    run = preflight()
    read = collect_source.partial(run=run).expand(name=sources(run))
    collected = collect(run)
    vocabulary = vocab(run)
    names = split(run)
    shards = shard.partial(run=run).expand(name=names)
    complete = dataset(run, names)
    publish = VerifiedUploadOperator(task_id="publish", src=complete, **TO_BUCKET)
    tpu = prepare_tpu(run)
    train = TrainOperator(task_id="train", run_values=run, job=tpu)
    delete_tpu = CloudTPUDeleteRunOperator(task_id="delete_tpu", job=tpu)
    evaluate, export = (
        TrainerOperator(task_id=command, run_values=run, command=command)
        for command in ("evaluate", "export")
    )

    read >> collected >> [vocabulary, names]
    [vocabulary, names] >> shards >> complete
    publish >> tpu >> train >> delete_tpu.as_teardown(setups=tpu, on_failure_fail_dagrun=True)
    train >> evaluate >> export


qarib_pretrain()
