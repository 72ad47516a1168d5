"""What is checked before a run makes anything, and the settings it will run with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import Variable
from airflow.sdk.configuration import conf
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError

from qarib_airflow.defaults import SHARDS_AT_ONCE
from qarib_airflow.errors import is_for_good
from qarib_airflow.forms.pretrain import SECTIONS, read_params
from qarib_airflow.tpu.prepare import check_tpu
from qarib_tasks import pipeline
from qarib_tasks.config.run import RunConfig, to_dict
from qarib_tasks.corpus.sources import AllowedSources
from qarib_tasks.dataset.ledger import read_plan
from qarib_tasks.errors import ConfigError, Faults, StorageError
from qarib_tasks.runs import disk_space as disk
from qarib_tasks.runs.run import FirstStep

log = logging.getLogger(__name__)

# A low guess: the preflight then asks for too large a max_map_length rather than for too small a one.
BYTES_A_LINE = 60


def preflight(params: Mapping[str, Any], gcp_conn_id: str) -> pipeline.Run:
    """Resolve the form, log the settings, check bucket and deployment, name the dataset and the model.

    What is wrong is told all at once.

    Raises:
        ConfigError: a setting is wrong or missing, or a source may not be read here, or disk space is short.
        InputError: a source is missing or empty.
        StorageError: the bucket does not exist, or the connection may not write to it.
        TpuError: no zone has the TPU that the training asks for.
    """
    config = read_params(params, deployment_defaults())
    log.info("Settings, preset %s:\n%s", config.preset, settings_table(config, params))
    faults = Faults()
    with faults.kept():
        check_writable(config, gcp_conn_id)
    run: pipeline.Run | None = None
    with faults.kept():
        run = prepared(config, params)
    if run:
        with faults.kept():
            check_tpu(run, gcp_conn_id)
        with faults.kept():
            check_size(run)
    faults.raise_all(is_for_good)
    assert run
    pipeline.save_settings(run)
    log.info("dataset_id %s, model_id %s, publishes to %s", run.dataset_id, run.model_id, run.address)
    return run


def prepared(config: RunConfig, params: Mapping[str, Any]) -> pipeline.Run:
    """The run, from the first step that the form asks for; its settings are not saved yet.

    Raises:
        ConfigError: the step and the dataset do not go together. And as `pipeline.prepare` and
        `pipeline.prepare_training`.
    """
    dataset = params.get("dataset")
    first_step: FirstStep = params.get("first_step") or ("train" if dataset else "collect")
    if (first_step == "collect") == bool(dataset):
        raise ConfigError(
            f"a run that begins with {first_step} {'makes its own dataset' if dataset else 'needs one'}",
            where="first_step, dataset",
            do="Leave the dataset empty" if dataset else "Name the dataset",
        )
    if first_step == "collect":
        return pipeline.prepare(config, allowed_sources(), save=False)
    log.info("Begins with %s: what the steps before have made of %s is left as it is", first_step, dataset)
    return pipeline.prepare_training(config, str(dataset), allowed_sources(), first_step)


def check_size(run: pipeline.Run) -> None:
    """Whether the disk and Airflow are large enough for the run.

    Raises:
        ConfigError: they are not.
    """
    if run.first_step != "collect":
        return
    config = run.config
    files = [file.listed for file in read_plan(run.dataset.sources)]
    faults = Faults()
    with faults.kept():
        check_map_length(sum(file.bytes for file in files) // BYTES_A_LINE // config.split.shard_lines)
    with faults.kept():
        at_once = int(SHARDS_AT_ONCE or conf.getint("core", "max_active_tasks_per_dag"))
        need = disk.estimate(config, files, at_once)
        log.info("The run %s", disk.check_room(Path(config.workspace), need, run.dataset.root))
    faults.raise_all()


def deployment_defaults() -> dict[str, Any]:
    """What this Airflow sets for every run: an Airflow Variable wins over the environment."""
    values = {
        name: Variable.get(f"qarib_{name}", default=None) or os.environ.get(f"QARIB_{name.upper()}")
        for name in ("bucket", "workspace")
    }
    if values["workspace"]:
        values["workspace"] = str(Path(values["workspace"]).absolute())
    return {
        "workspace": values["workspace"],
        "upload": {"bucket": values["bucket"]},
        "tpu": yaml_mapping("qarib_tpu"),
    }


def yaml_mapping(variable: str) -> dict[str, Any]:
    """The settings in an Airflow Variable, or in the environment's variable of that name, as YAML or JSON.

    Raises:
        ConfigError: it holds anything but a mapping.
    """
    text = Variable.get(variable, default=None) or os.environ.get(variable.upper(), "")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=variable) from None
    if not isinstance(values, dict):
        raise ConfigError("must hold settings as `name: value`", where=variable)
    return values


def allowed_sources() -> AllowedSources:
    """What a run's sources may name: a person at the form must not read every file that Airflow can.

    The deployment's workspace and bucket count, never those that the form names.
    """
    defaults = deployment_defaults()
    return AllowedSources.of_deployment(defaults["workspace"] or "", defaults["upload"]["bucket"] or "")


def settings_table(config: RunConfig, params: Mapping[str, Any]) -> str:
    """The resolved settings, a line each; those that the form overrides are marked."""
    values = to_dict(config)
    lines = [f"  workspace = {config.workspace}"]
    for section, title in SECTIONS.items():
        lines.append(f"{title} ({section})")
        for name, value in values[section].items():
            mark = "   <- from the form" if params.get(name) is not None else ""
            shown = [source["path"] for source in value] if name == "sources" else value
            lines.append(f"  {name} = {shown}{mark}")
    return "\n".join(lines)


def check_map_length(shards: int) -> None:
    """Whether Airflow maps a task over so many shards.

    Raises:
        ConfigError: it does not.
    """
    limit = conf.getint("core", "max_map_length", fallback=1024)
    if shards > limit:
        raise ConfigError(
            f"the run has about {shards:,} shards and Airflow maps a task over {limit:,} at most",
            where="[core] max_map_length",
            do="Set AIRFLOW__CORE__MAX_MAP_LENGTH=10000 for every Airflow process, or raise shard_lines",
        )


def check_bucket(run: pipeline.Run, gcp_conn_id: str) -> None:
    """`check_writable` for a run."""
    check_writable(run.config, gcp_conn_id)


def check_writable(config: RunConfig, gcp_conn_id: str) -> None:
    """Write a small object through the connection and remove it again.

    Raises:
        ConfigError: no bucket is named. StorageError: with what to do about it.
    """
    upload = config.upload
    if not upload.bucket:
        raise ConfigError(
            "no bucket to publish to",
            where="bucket",
            do="Fill it in, or set the Airflow Variable qarib_bucket or the environment's QARIB_BUCKET",
        )
    name = f"{upload.prefix}datasets/.write-test"
    try:
        bucket = GCSHook(gcp_conn_id=gcp_conn_id).get_conn().bucket(upload.bucket)
        blob = bucket.blob(name)
        blob.upload_from_string(b"qarib")
        with suppress(NotFound):  # Another run looks at the same time.
            blob.delete()
    except (GoogleAPIError, GoogleAuthError, ValueError) as error:
        raise StorageError(
            f"cannot write to the bucket with the connection {gcp_conn_id}: {error}",
            where=f"gs://{upload.bucket}/{name}",
            do="Create the bucket, or give the connection's account the role Storage Object Admin on it",
        ) from error
