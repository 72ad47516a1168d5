"""The schedule and the checks of the DAG qarib_retrain."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pendulum
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import Asset, CronDataIntervalTimetable

from qarib_airflow.errors import is_for_good
from qarib_airflow.forms.retrain import read_retrain_params
from qarib_airflow.preflight.checks import check_size, check_tpu, check_writable, log_settings
from qarib_airflow.preflight.deployment import (
    allowed_places,
    allowed_sources,
    deployment_defaults,
    yaml_mapping,
)
from qarib_airflow.preflight.sources import preview_sources
from qarib_airflow.publishing.assets import CORPUS
from qarib_airflow.publishing.published import published_objects
from qarib_airflow.reporting import reasons
from qarib_tasks import pipeline
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import merged
from qarib_tasks.errors import ConfigError, Faults, NothingNewError
from qarib_tasks.labelled.decontamination import TaskTexts
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.registry.comparison import check_rule
from qarib_tasks.registry.retraining import RetrainConfig, prepare_retraining
from qarib_tasks.runs import contamination
from qarib_tasks.runs.completion import require_published
from qarib_tasks.runs.run import Run, save_settings

log = logging.getLogger(__name__)
VARIABLE = "qarib_retrain"
ON_ASSET = "asset"


def timezone() -> Any:
    """The time zone of the schedule: `QARIB_TIMEZONE` in the environment, UTC by default."""
    return pendulum.timezone(os.environ.get("QARIB_TIMEZONE", "UTC"))


def schedule() -> CronDataIntervalTimetable | list[Asset] | None:
    """The schedule, from `QARIB_RETRAIN_SCHEDULE` in the environment of the DAG processor.

    A cron expression; `asset` for events of the asset qarib_corpus; empty to run only when triggered. A plain
    cron string would give each run a data interval of zero length, but a month's files need a month.
    """
    text = os.environ.get("QARIB_RETRAIN_SCHEDULE", "")
    if not text:
        return None
    return [CORPUS] if text == ON_ASSET else CronDataIntervalTimetable(text, timezone=timezone())


def preflight(params: Mapping[str, Any], date: datetime | None, gcp_conn_id: str, ti: Any) -> Run | None:
    """Find the promoted model and its new text, log the settings, check bucket and deployment.

    Args:
        date: the start of the run's data interval, if it has one.
        ti: the task instance, which keeps why there is nothing to do.

    Returns:
        the run; None if there is no new text.

    Raises:
        ConfigError: a setting is invalid or missing, or a source is not allowed.
        InputError: no promoted model exists, objects of a dataset that is extended are missing, a sample of
            the new text cannot be read, or the labels of a task cannot be used.
        StorageError: the bucket does not exist, or the connection cannot write to it.
        TpuError: no zone offers the TPU of the training.
    """
    defaults = deployment_defaults()
    for name, value in (("workspace", defaults["workspace"]), ("bucket", defaults["upload"]["bucket"])):
        if not value:
            raise ConfigError(
                f"no {name} is set",
                where=name,
                do=f"Set the Airflow Variable qarib_{name} or the environment variable QARIB_{name.upper()}",
            )
    values = merged(yaml_mapping(VARIABLE), read_retrain_params(params))
    config = from_dict(RetrainConfig, values, where=f"the form and the Airflow Variable {VARIABLE}")
    allowed_places().check_prefix(defaults["upload"]["bucket"], config.prefix)
    date = date.astimezone(timezone()) if date else None
    client = GCSHook(gcp_conn_id=gcp_conn_id).get_conn()
    try:
        run = prepare_retraining(config, defaults, date, allowed_sources(), client)
    except NothingNewError as error:
        log.info("Nothing new: %s. Downstream tasks are skipped", error)
        reasons.keep(ti, f"Nothing new: {error}")
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
