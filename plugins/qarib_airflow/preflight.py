"""What is checked before a run makes anything, and the settings it will run with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import Variable
from airflow.sdk.configuration import conf
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from qarib_airflow.form import SECTIONS, read_params
from qarib_airflow.tpu_preflight import check_tpu
from qarib_tasks import corpus, pipeline
from qarib_tasks.config import RunConfig, to_dict
from qarib_tasks.errors import ConfigError, StorageError
from qarib_tasks.sources import AllowedSources

log = logging.getLogger(__name__)

# A low guess: the preflight then asks for too large a max_map_length rather than for too small a one.
BYTES_A_LINE = 60


def preflight(params: Mapping[str, Any], gcp_conn_id: str) -> pipeline.Run:
    """Resolve the form, log the settings, check bucket and deployment, name the dataset and the model.

    Raises:
        ConfigError: a setting is wrong or missing, or a source may not be read here.
        InputError: a source is missing or empty.
        StorageError: the bucket does not exist, or the connection may not write to it.
        TpuError: no zone has the TPU that the training asks for.
    """
    config = read_params(params, deployment_defaults())
    log.info("Settings, preset %s:\n%s", config.preset, settings_table(config, params))
    if not config.upload.bucket:
        raise ConfigError(
            "no bucket to publish to",
            where="bucket",
            do="Fill it in, or set the Airflow Variable qarib_bucket or the environment's QARIB_BUCKET",
        )
    allowed = allowed_sources()
    if params.get("dataset"):
        run = pipeline.prepare_training(config, params["dataset"], allowed)
        log.info("Trains on %s as it is: the steps before are left out", run.dataset_id)
    else:
        run = pipeline.prepare(config, allowed)
        size = sum(f.bytes for files in corpus.list_sources(config.collect, allowed).values() for f in files)
        check_map_length(size // BYTES_A_LINE // config.split.shard_lines)
    check_bucket(run, gcp_conn_id)
    check_tpu(run, gcp_conn_id)
    log.info("dataset_id %s, model_id %s, publishes to %s", run.dataset_id, run.model_id, run.address)
    return run


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
    """Write a small object through the connection and remove it again.

    Raises:
        StorageError: with what to do about it.
    """
    upload = run.config.upload
    name = f"{upload.prefix}{run.dataset.name}.write-test"
    try:
        bucket = GCSHook(gcp_conn_id=gcp_conn_id).get_conn().bucket(upload.bucket)
        blob = bucket.blob(name)
        blob.upload_from_string(b"qarib")
        blob.delete()
    except (GoogleAPIError, GoogleAuthError, ValueError) as error:
        raise StorageError(
            f"cannot write to the bucket with the connection {gcp_conn_id}: {error}",
            where=f"gs://{upload.bucket}/{name}",
            do="Create the bucket, or give the connection's account the role Storage Object Admin on it",
        ) from error
