"""The checks and uploads before a run requests a TPU."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_tasks.errors import CorruptError
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.records.read import parse_record
from qarib_tasks.storage.records.schemas import Progress
from qarib_tasks.tpu.prepare import prepare_job

log = logging.getLogger(__name__)


def needs_tpu(run: Run, gcp_conn_id: str) -> bool:
    """Whether a run trains on a TPU: not on this machine, and not if it is already trained."""
    if run.config.tpu.machine == "local":
        return False
    assert run.address is not None
    name = run.model.name_of(run.model.progress)
    if _is_finished(Bucket(run.address, GCSHook(gcp_conn_id=gcp_conn_id).get_conn()), name):
        log.info("%s is already trained: no TPU is needed", run.model_id)
        return False
    return True


def prepare_tpu(run: Run, run_id: str, owner: str, gcp_conn_id: str) -> dict[str, Any]:
    """Upload everything that a run's TPU needs to the bucket.

    Returns:
        a `TpuJob` as a dictionary.
    """
    return prepare_job(run, run_id, owner, GCSHook(gcp_conn_id=gcp_conn_id).get_conn()).to_dict()


def _is_finished(bucket: Bucket, name: str) -> bool:
    """Whether a training's progress says that it has finished; a damaged one is written again."""
    try:
        text = bucket.read_text(name)
        if text is None:
            return False
        return bool(parse_record(text.encode(), Progress, bucket.address + name)["state"] == "finished")
    except CorruptError as error:
        log.warning("%s. The training writes it again", error)
        return False
