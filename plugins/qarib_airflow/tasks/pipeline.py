"""The tasks from sources to a trained model and their dependencies, for all DAGs that run them."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import TriggerRule, get_current_context, setup, task
from airflow.sdk.exceptions import AirflowSkipException

from qarib_airflow.defaults import CONNECTION, CORPUS_TIMEOUT
from qarib_airflow.errors import fails_for_good
from qarib_airflow.preflight.checks import check_map_length
from qarib_airflow.preflight.deployment import allowed_sources
from qarib_airflow.publishing.assets import MODEL, describe_model
from qarib_airflow.publishing.published import incomplete_shards
from qarib_airflow.tasks.finetuning import fine_tune
from qarib_airflow.tasks.shards import dataset, publish, raw_shards, shard
from qarib_airflow.tasks.training import TrainerOperator, TrainOperator
from qarib_airflow.tpu.operators import CloudTPUDeleteRunOperator
from qarib_airflow.tpu.prepare import prepare_tpu as run_prepare_tpu
from qarib_tasks import pipeline
from qarib_tasks.errors import NothingNewError
from qarib_tasks.registry import promotion
from qarib_tasks.runs.run import Run

log = logging.getLogger(__name__)


@task
@fails_for_good
def sources(run: dict[str, Any]) -> list[str]:
    return pipeline.sources(Run.from_dict(run))


@task(map_index_template="{{ task.op_kwargs['name'] }}", execution_timeout=CORPUS_TIMEOUT)
@fails_for_good
def collect_source(run: dict[str, Any], name: str) -> None:
    pipeline.collect_source(Run.from_dict(run), name, allowed_sources())


# There may be no source to collect, or the new files of a retraining may hold only duplicates.
@task.short_circuit(trigger_rule=TriggerRule.NONE_FAILED, execution_timeout=CORPUS_TIMEOUT)
@fails_for_good
def collect(run: dict[str, Any]) -> bool:
    found = Run.from_dict(run)
    try:
        pipeline.collect(found, allowed_sources())
    except NothingNewError as error:
        log.info("Nothing new: %s. Downstream tasks are skipped", error)
        return False
    pipeline.stage_free_tasks(found)
    return True


@task(execution_timeout=CORPUS_TIMEOUT)
@fails_for_good
def vocab(run: dict[str, Any]) -> None:
    pipeline.build_vocab(Run.from_dict(run))


@task(execution_timeout=CORPUS_TIMEOUT)
@fails_for_good
def split(run: dict[str, Any]) -> list[str]:
    found = Run.from_dict(run)
    names = pipeline.split(found)
    if found.first_step == "convert":
        names = incomplete_shards(found, CONNECTION)
    check_map_length(len(names))
    return raw_shards(found, names)


@setup
@task
@fails_for_good
def prepare_tpu(run: dict[str, Any]) -> dict[str, Any] | None:
    context = get_current_context()
    return run_prepare_tpu(Run.from_dict(run), context["run_id"], context["dag"].owner, CONNECTION)


@task(outlets=[MODEL])
@fails_for_good
def promote(run: dict[str, Any]) -> None:
    found = Run.from_dict(run)
    model = promotion.promote(found, GCSHook(gcp_conn_id=CONNECTION).get_conn())
    if model.state != "promoted":
        raise AirflowSkipException(f"{model.model_id} stays a candidate: {model.reason}")
    describe_model(get_current_context(), model, found.model.manifest)


def from_sources_to_model(run: Any) -> None:
    """Set the dependencies of all tasks downstream of the one that returns the run as a dictionary."""
    read = collect_source.partial(run=run).expand(name=sources(run))
    collected = collect(run)
    vocabulary = vocab(run)
    paths = split(run)
    shards = shard.expand(path=paths)
    complete = dataset(run, paths)
    published = publish(complete)
    tpu = prepare_tpu(run)
    # It can take weeks: its own limits and the run's deadline apply.
    train = TrainOperator(task_id="train", run_values=run, job=tpu, execution_timeout=None)
    delete_tpu = CloudTPUDeleteRunOperator(task_id="delete_tpu", job=tpu)
    evaluate, export = (
        TrainerOperator(task_id=command, run_values=run, command=command)
        for command in ("evaluate", "export")
    )

    read >> collected >> [vocabulary, paths]
    [vocabulary, paths] >> shards >> complete
    published >> tpu >> train >> delete_tpu.as_teardown(setups=tpu, on_failure_fail_dagrun=True)
    train >> evaluate >> export >> promote(run) >> fine_tune(run)
