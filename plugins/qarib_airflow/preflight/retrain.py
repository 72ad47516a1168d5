"""The checks of the DAG qarib_retrain."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_airflow.errors import is_for_good
from qarib_airflow.preflight.asked import asked
from qarib_airflow.preflight.checks import check_size, check_tpu, check_writable, log_settings
from qarib_airflow.preflight.deployment import allowed_sources
from qarib_airflow.preflight.months import month_of, take_month
from qarib_airflow.preflight.pools import check_pools
from qarib_airflow.preflight.schedule import first_month, timezone
from qarib_airflow.preflight.sources import preview_sources
from qarib_airflow.publishing.published import published_objects
from qarib_airflow.reporting import reasons
from qarib_tasks import pipeline
from qarib_tasks.errors import Faults, InputError, NothingNewError
from qarib_tasks.labelled.decontamination import TaskTexts
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.registry.comparison import check_rule
from qarib_tasks.registry.retraining import months_of, prepare_retraining
from qarib_tasks.runs import contamination
from qarib_tasks.runs.completion import require_published
from qarib_tasks.runs.run import Run, save_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
WAIT_TASK = "wait_for_month"


def date_of(context: Context) -> datetime | None:
    """The start of the run's data interval. None where months are partitions: a run has no other date."""
    date = context.get("data_interval_start")
    return date.astimezone(timezone()) if date and not first_month() else None


def _nothing(ti: Any, why: str) -> None:
    log.info("Nothing new: %s. Downstream tasks are skipped", why)
    reasons.keep(ti, f"Nothing new: {why}")


def preflight(context: Context, gcp_conn_id: str) -> Run | None:
    """Find the promoted model and its new text, log the settings, check bucket and deployment.

    Args:
        context: of the task, whose instance keeps why there is nothing to do.

    Returns:
        the run; None if there is no new text, or if the run's month is done.

    Raises:
        ConfigError: a setting is invalid or missing, a source is not allowed, or a pool does not exist.
        InputError: it is not the turn of the run's month, no promoted model exists, objects of a dataset that
            is extended are missing, a sample of the new text cannot be read, or the labels of a task cannot
            be used.
        StorageError: the bucket does not exist, or the connection cannot write to it.
        TpuError: no zone offers the TPU of the training.
    """
    config, defaults = asked(context["params"])
    ti, client = context["ti"], GCSHook(gcp_conn_id=gcp_conn_id).get_conn()
    month = month_of(context)
    if month:
        turn = take_month(context, month, client)
        if turn.state == "waiting":
            raise InputError(turn.reason, where=context["run_id"], do=f"Clear the task {WAIT_TASK}")
        if turn.state == "settled":
            _nothing(ti, turn.reason)
            return None
    try:
        run = prepare_retraining(config, defaults, date_of(context), allowed_sources(), client, month)
    except NothingNewError as error:
        if month:
            months_of(config, defaults, month, timezone(), client).settle(month, "nothing new", str(error))
        _nothing(ti, str(error))
        return None
    log_settings(run.config, {}, defaults)
    faults = Faults()
    with faults.kept():
        check_size(run, gcp_conn_id)
    with faults.kept():
        preview_sources(run, allowed_sources())
    with faults.kept():
        check_writable(run.config, gcp_conn_id)
        for earlier in run.earlier:
            with faults.kept():
                require_published(earlier, published_objects(earlier, gcp_conn_id))
    with faults.kept():
        check_tpu(run, gcp_conn_id)
    with faults.kept():
        check_pools(ti)
    with faults.kept():
        check_rule(run.config)
    tasks: list[LabelledTask] = []
    with faults.kept():
        tasks = pipeline.read_tasks(run.config, allowed_sources())
    faults.raise_all(is_for_good)
    pipeline.warn_of_settings(run)
    save_settings(run)
    pipeline.stage_tasks(run, tasks)
    for line in contamination.notes(run, TaskTexts.of(tasks)):
        log.warning("%s", line)
    log.info("dataset_id %s extends %s, model_id %s", run.dataset_id, run.config.extends, run.model_id)
    return run
