"""The tasks that make a dataset from its shards: convert, upload, check, publish."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TriggerRule, XComArg, task, task_group

from qarib_airflow.defaults import AT_ONCE, CONVERT_POOL
from qarib_airflow.publishing.assets import DATASET, VOCABULARY, describe_dataset
from qarib_airflow.publishing.published import is_published, published_objects
from qarib_airflow.publishing.upload import VerifiedUploadOperator
from qarib_airflow.reporting.lineage import report_lineage
from qarib_airflow.reporting.metrics import report_shards
from qarib_airflow.reporting.settings_link import SavedSettingsLink
from qarib_airflow.tasks.current_run import current_run
from qarib_tasks import pipeline
from qarib_tasks.layout import shard_label
from qarib_tasks.runs.completion import dataset_files, finish_dataset
from qarib_tasks.runs.run import Run, run_of_shard
from qarib_tasks.storage.working_folder import only_one_with

if TYPE_CHECKING:
    from airflow.sdk import Context
from qarib_airflow.defaults import CONNECTION, RUN_TASK

log = logging.getLogger(__name__)
CONFIG = f"ti.xcom_pull(task_ids='{RUN_TASK}')['config']"
TO_BUCKET = {
    "bucket": f"{{{{ {CONFIG}['upload']['bucket'] }}}}",
    "dst": f"{{{{ {CONFIG}['upload']['prefix'] }}}}",
    "relative_to": f"{{{{ {CONFIG}['workspace'] }}}}",
    "gcp_conn_id": CONNECTION,
}


def raw_shards(run: Run, names: Sequence[str]) -> list[str]:
    """The raw shards' paths, the only argument of the shards' tasks.

    Such a task reads the run's settings from the same folder. Passing the run as an argument, or asking
    Airflow for it, can cost more than the conversion: see docs/adr/0005.
    """
    return [str(run.dataset.shard(name)) for name in names]


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Log the time of a task's own function; benchmarks/fan_out.py and benchmarks/workers.py read it."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    log.info("%s took %.3f s, %.3f of the processor", name, wall, processor)


@task(
    map_index_template="{{ shard_label(task.op_kwargs['shard']) }}",
    do_xcom_push=False,
    pool=CONVERT_POOL,
    **AT_ONCE,
)
def convert(shard: str) -> None:
    with timed("convert"):
        run, name = run_of_shard(Path(shard))
        # A repair, or a run whose task was cleared, can convert it at the same time.
        with only_one_with(Path(shard)):
            if not is_published(run, name, CONNECTION):
                pipeline.convert(run, name)
        report_shards(run)


class ShardUploadOperator(VerifiedUploadOperator):
    """Uploads a converted shard: the TFRecords, then their manifest.

    It has no templated fields, and sends its label when it ends: each would cost a request (docs/adr/0005).

    :param shard: the raw shard's file, as a mapped task group passes it on.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, shard: Any, **kwargs: Any) -> None:
        super().__init__(src=[], dst="", bucket="", gcp_conn_id=CONNECTION, do_xcom_push=False, **kwargs)
        self.shard = shard

    def execute(self, context: Context) -> list[str]:
        shard: str = self.shard.resolve(context)
        context["ti"].rendered_map_index = shard_label(shard)
        with timed("upload"):
            run, name = run_of_shard(Path(shard))
            upload = run.config.upload
            self.src = [str(path) for path in pipeline.shard_files(run, name)]
            self.bucket, self.dst, self.keep_local = upload.bucket, upload.prefix, upload.keep_local
            self.relative_to = run.config.workspace
            return super().execute(context)


@task_group
def shard(path: str) -> None:
    upload = ShardUploadOperator(
        task_id="upload", shard=path, map_index_template="{{ ti.rendered_map_index or '' }}"
    )
    convert(shard=path) >> upload


@task
def dataset() -> list[str]:
    run = current_run()
    finish_dataset(run, published_objects(run, CONNECTION))
    report_shards(run)
    pipeline.record_sources(run, GCSHook(gcp_conn_id=CONNECTION).get_conn())
    report_lineage(run, "dataset")
    return [str(path) for path in dataset_files(run)]


def judged(shards: Any, needed: Sequence[Any]) -> XComArg:
    """The task `dataset`, which judges the shards when the tasks of all have ended, also if some have failed.

    If one of the tasks that all shards need has failed, none can be converted, and `dataset` doesn't run. No
    trigger rule says both. So an empty task, which the scheduler marks as done itself, waits for the shards.

    Args:
        shards: the mapped task group.
        needed: the tasks that all shards need.
    """
    ended = EmptyOperator(task_id="shards_ended", trigger_rule=TriggerRule.ALL_DONE)
    complete: XComArg = dataset()
    shards >> ended >> complete
    for one in needed:
        one >> complete
    return complete


class PublishOperator(VerifiedUploadOperator):
    """Uploads a dataset's files other than its shards, and links to the settings that it was made with."""

    operator_extra_links = (SavedSettingsLink(),)


def publish(files: XComArg) -> BaseOperator:
    """Upload a dataset's files other than its shards, the manifest last."""
    return PublishOperator(
        task_id="publish",
        src=files,
        outlets=[DATASET, VOCABULARY],
        post_execute=describe_dataset,
        **TO_BUCKET,
    )
