"""The checks before a run starts, and the settings that the run uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_airflow.errors import is_for_good
from qarib_airflow.forms.pretrain import read_params
from qarib_airflow.preflight.checks import check_size, check_tpu, check_writable, log_settings
from qarib_airflow.preflight.deployment import allowed_places, allowed_sources, deployment_defaults
from qarib_airflow.preflight.pools import check_pools
from qarib_airflow.preflight.sources import preview_sources
from qarib_tasks import pipeline
from qarib_tasks.config.presets import deployed
from qarib_tasks.config.run import RunConfig
from qarib_tasks.errors import ConfigError, Faults
from qarib_tasks.labelled.decontamination import TaskTexts
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.registry.comparison import check_rule
from qarib_tasks.runs import contamination
from qarib_tasks.runs.places import Places
from qarib_tasks.runs.prepare import prepare, prepare_training
from qarib_tasks.runs.run import FirstStep, Run

log = logging.getLogger(__name__)


def preflight(params: Mapping[str, Any], gcp_conn_id: str, ti: Any = None) -> Run:
    """Resolve the form, log the settings, check bucket, deployment and tasks, name dataset and model.

    One error reports all problems.

    Args:
        ti: the instance of the task, to check the run's pools.

    Raises:
        ConfigError: a setting is invalid or missing, a source is not allowed, a pool does not exist, or disk
            space is short.
        InputError: a source is missing or empty, a sample of it cannot be read, or the labels of a task
            cannot be used.
        StorageError: the bucket does not exist, or the connection cannot write to it.
        TpuError: no zone offers the TPU of the training.
    """
    defaults = deployment_defaults()
    config = in_place(read_params(params, defaults), allowed_places())
    log_settings(config, params, deployed(defaults, config.preset))
    faults = Faults()
    with faults.kept():
        check_writable(config, gcp_conn_id)
    with faults.kept():
        if ti:
            check_pools(ti)
    run: Run | None = None
    with faults.kept():
        run = prepared(config, params, gcp_conn_id)
    with faults.kept():
        check_rule(config)
    tasks: list[LabelledTask] = []
    with faults.kept():
        tasks = pipeline.read_tasks(config, allowed_sources())
    if run:
        with faults.kept():
            check_tpu(run, gcp_conn_id)
        with faults.kept():
            check_size(run, gcp_conn_id)
        with faults.kept():
            preview_sources(run, allowed_sources())
    faults.raise_all(is_for_good)
    assert run
    pipeline.warn_of_settings(run)
    pipeline.stage_tasks(run, tasks)
    for line in contamination.notes(run, TaskTexts.of(tasks)):
        log.warning("%s", line)
    log.info("dataset_id %s, model_id %s, publishes to %s", run.dataset_id, run.model_id, run.address)
    return run


def in_place(config: RunConfig, places: Places) -> RunConfig:
    """The settings, with the workspace as the deployment writes it.

    Raises:
        ConfigError: the deployment does not allow the workspace, the bucket, or the prefix.
    """
    faults = Faults()
    workspace = config.workspace
    with faults.kept():
        workspace = places.workspace(workspace)
    with faults.kept():
        places.check_prefix(config.upload.bucket, config.upload.prefix)
    faults.raise_all(is_for_good)
    return replace(config, workspace=workspace)


def first_step_of(params: Mapping[str, Any]) -> FirstStep:
    """The run's first step.

    Raises:
        ConfigError: it contradicts the dataset.
    """
    dataset = params.get("dataset")
    first_step: FirstStep = params.get("first_step") or ("train" if dataset else "collect")
    if (first_step == "collect") == bool(dataset):
        raise ConfigError(
            f"first_step '{first_step}' {'makes a new dataset' if dataset else 'needs an existing dataset'}",
            where="first_step",
            do="Clear dataset or first_step" if dataset else "Set dataset, or clear first_step",
        )
    return first_step


def prepared(config: RunConfig, params: Mapping[str, Any], gcp_conn_id: str) -> Run:
    """The run, starting at the form's first step; its settings are not saved yet.

    Raises:
        ConfigError: the first step contradicts the dataset.
        Exception: the errors of `prepare` and `prepare_training`.
    """
    dataset, first_step = params.get("dataset"), first_step_of(params)
    client = GCSHook(gcp_conn_id=gcp_conn_id).get_conn() if config.upload.bucket else None
    if first_step == "collect":
        return prepare(config, allowed_sources(), client, save=False)
    log.info("Starts with %s: the results of the earlier steps of %s are used unchanged", first_step, dataset)
    return prepare_training(config, str(dataset), allowed_sources(), first_step, client)
