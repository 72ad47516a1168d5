"""The tasks from sources to a trained model and their dependencies, for all DAGs that run them."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import BaseOperator, TaskGroup, TriggerRule, get_current_context, task

from qarib_airflow.defaults import CONNECTION, CORPUS_TIMEOUT, TPU_POOL
from qarib_airflow.preflight.checks import check_map_length
from qarib_airflow.preflight.deployment import allowed_sources
from qarib_airflow.preflight.months import settle_month
from qarib_airflow.publishing.assets import MODEL
from qarib_airflow.publishing.published import incomplete_shards
from qarib_airflow.reporting import reasons
from qarib_airflow.reporting.lineage import report_lineage
from qarib_airflow.tasks.approval import PrepareTpuOperator, PromoteOperator
from qarib_airflow.tasks.current_run import current_run
from qarib_airflow.tasks.finetuning import fine_tune
from qarib_airflow.tasks.in_turn import SourcesOperator, step_alone
from qarib_airflow.tasks.shards import judged, publish, raw_shards, shard
from qarib_airflow.tasks.tracking import track
from qarib_airflow.tasks.training import TrainerOperator, TrainOperator
from qarib_airflow.tpu.operators import CloudTPUDeleteRunOperator
from qarib_tasks import pipeline
from qarib_tasks.config.deployment.tracking import deployment_tracking
from qarib_tasks.errors import NothingNewError
from qarib_tasks.runs.names import short_hash

log = logging.getLogger(__name__)


@task(map_index_template="{{ task.op_kwargs['name'] }}", execution_timeout=CORPUS_TIMEOUT)
def collect_source(name: str) -> None:
    run = current_run()
    with step_alone(run, f"source-{short_hash(name)}"):
        pipeline.collect_source(run, name, allowed_sources())


# There may be no source to collect, or the new files of a retraining may hold only duplicates.
@task.short_circuit(trigger_rule=TriggerRule.NONE_FAILED, execution_timeout=CORPUS_TIMEOUT)
def collect() -> bool:
    run = current_run()
    try:
        with step_alone(run, "collect"):
            pipeline.collect(run, allowed_sources())
    except NothingNewError as error:
        log.info("Nothing new: %s. Downstream tasks are skipped", error)
        settle_month(run, str(error), GCSHook(gcp_conn_id=CONNECTION).get_conn())
        reasons.keep(get_current_context()["ti"], f"Nothing new: {error}")
        return False
    pipeline.stage_free_tasks(run)
    report_lineage(run, "collect")
    return True


@task(execution_timeout=CORPUS_TIMEOUT)
def vocab() -> None:
    run = current_run()
    with step_alone(run, "vocab"):
        pipeline.build_vocab(run)
    report_lineage(run, "vocab")


@task(execution_timeout=CORPUS_TIMEOUT)
def split() -> list[str]:
    run = current_run()
    with step_alone(run, "split"):
        names = pipeline.split(run)
    if run.first_step == "convert":
        names = incomplete_shards(run, CONNECTION)
    check_map_length(len(names))
    return raw_shards(run, names)


def part(name: str, tooltip: str) -> TaskGroup:
    """A part of a run, which Airflow's graph shows folded. The tasks' names do not have its name."""
    return TaskGroup(name, prefix_group_id=False, tooltip=tooltip)


def from_sources_to_model(run: Any) -> None:
    """Set all tasks downstream of the one that returns the run as a dictionary, and their dependencies.

    Each reads the run from that task's XCom: only the first one has an edge to it.
    """
    with part("data", "From the sources to a vocabulary and shards of text"):
        listed = SourcesOperator(task_id="sources").output
        collected, vocabulary, paths = collect(), vocab(), split()
        run >> listed
        collect_source.expand(name=listed) >> collected >> [vocabulary, paths]
    with part("shards", "Pre-training data in the bucket"):
        shards = shard.expand(path=paths)
        [vocabulary, paths] >> shards
        published = publish(judged(shards, needed=[vocabulary, paths]))
    with part("training", "A Cloud TPU, and the training on it"):
        tpu: BaseOperator = PrepareTpuOperator(task_id="prepare_tpu")
        tpu.is_setup = True
        job: Any = tpu.output
        # It can take weeks: its own limits and the run's deadline apply.
        train = TrainOperator(task_id="train", job=job, execution_timeout=None, pool=TPU_POOL)
        delete_tpu = CloudTPUDeleteRunOperator(task_id="delete_tpu", job=job)
        published >> tpu >> train >> delete_tpu.as_teardown(setups=tpu, on_failure_fail_dagrun=True)
    with part("results", "Evaluation, export, promotion, and fine-tuning"):
        evaluate, export = (TrainerOperator(task_id=name, command=name) for name in ("evaluate", "export"))
        promote = PromoteOperator(task_id="promote", outlets=[MODEL])
        train >> evaluate >> export >> promote >> fine_tune()
        if deployment_tracking().is_on:
            export >> track()
