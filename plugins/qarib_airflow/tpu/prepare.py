"""What is checked and uploaded before a run asks for a TPU."""

from __future__ import annotations

import json
import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_airflow.tpu.hook import CloudTPUHook
from qarib_tasks.pipeline import Run
from qarib_tasks.storage.files import Bucket
from qarib_tasks.tpu.api.errors import TpuPermissionError, TpuRequestError
from qarib_tasks.tpu.prepare import plan, prepare_job

log = logging.getLogger(__name__)


def check_tpu(run: Run, gcp_conn_id: str) -> None:
    """Log what the training is expected to take and cost, and ask each zone whether it has such a TPU.

    Raises:
        ConfigError: the type is not known, or the estimate is above what may be spent.
        TpuError: no zone has it, or the connection may not ask.
    """
    tpu = run.config.tpu
    if tpu.machine == "local":
        return
    log.info("%s", plan(run))
    hook = CloudTPUHook(gcp_conn_id=gcp_conn_id)
    problems: list[TpuRequestError | TpuPermissionError] = []
    for zone in tpu.zones:
        try:
            hook.check_offered(
                zone=zone, accelerator_type=tpu.accelerator_type, runtime_version=tpu.runtime_version
            )
        except (TpuRequestError, TpuPermissionError) as error:  # So Google answers for zones that are closed.
            problems.append(error)
            log.warning("%s", error)
    if len(problems) == len(tpu.zones):
        raise type(problems[0])(
            "; ".join(str(problem) for problem in problems), where="zones", do="Name other zones"
        )


def prepare_tpu(run: Run, run_id: str, owner: str, gcp_conn_id: str) -> dict[str, Any] | None:
    """What a run's TPU is given, as a `TpuJob`'s dictionary, once everything it needs is in the bucket.

    Returns:
        None for a run that trains on this machine, or has nothing left to train.
    """
    if run.config.tpu.machine == "local":
        return None
    client = GCSHook(gcp_conn_id=gcp_conn_id).get_conn()
    assert run.address is not None
    progress = Bucket(run.address + run.model.name, client).read_text("progress.json")
    if progress and json.loads(progress)["state"] == "finished":
        log.info("%s is trained already: no TPU is needed", run.model_id)
        return None
    return prepare_job(run, run_id, owner, client).to_dict()
