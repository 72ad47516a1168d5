"""The checks that several preflights share."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk.configuration import conf
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from qarib_airflow.defaults import SHARDS_AT_ONCE
from qarib_airflow.forms.pretrain import SECTIONS, field_names
from qarib_airflow.preflight.deployment import require_bucket
from qarib_airflow.tpu.emulated import is_emulated
from qarib_airflow.tpu.hook import CloudTPUHook, service_of
from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.dataset.ledger import read_plan
from qarib_tasks.errors import ConfigError, Faults, StorageError, masked
from qarib_tasks.layout import DATASETS
from qarib_tasks.runs.data_cost import data_cost
from qarib_tasks.runs.disk_space import BYTES_PER_LINE, check_room, estimate, text_bytes
from qarib_tasks.runs.run import Run
from qarib_tasks.tpu.api.errors import TpuPermissionError, TpuRequestError
from qarib_tasks.tpu.prepare import options, plan

log = logging.getLogger(__name__)
# The Airflow Variables that set defaults.
DEPLOYED = {"upload": "qarib_bucket", "tpu": "qarib_tpu"}
STORAGE_EMULATOR = "STORAGE_EMULATOR_HOST"


def check_size(run: Run, gcp_conn_id: str) -> None:
    """Check that the disk and Airflow's limits suffice for the run, and log what its data take.

    Raises:
        ConfigError: they do not.
    """
    if run.first_step != "collect":
        return
    config = run.config
    files = [file.listed for file in read_plan(run.dataset.sources)]
    faults = Faults()
    with faults.kept():
        check_map_length(sum(file.bytes for file in files) // BYTES_PER_LINE // config.split.shard_lines)
    with faults.kept():
        at_once = SHARDS_AT_ONCE or conf.getint("core", "max_active_tasks_per_dag")
        need = estimate(config, files, at_once)
        log.info("The run %s", check_room(Path(config.workspace), need, run.dataset.root))
        cost = data_cost(config, text_bytes(files), bucket_location(config.upload.bucket, gcp_conn_id))
        free = "The bucket is emulated, a folder on this machine, and costs nothing. In a real one: "
        log.info("%s%s", free if STORAGE_EMULATOR in os.environ else "", cost)
    faults.raise_all()


def settings_table(
    config: RunConfig, params: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> str:
    """The resolved settings, one per line, with a mark if the form or the deployment sets it.

    Args:
        defaults: of the deployment, nested as in a config file.
    """
    values = to_dict(config)
    fields = {setting: key for key, setting in field_names().items()}
    lines = [f"  workspace = {config.workspace}"]
    for section, title in SECTIONS.items():
        lines.append(f"{title} ({section})")
        for name, value in values[section].items():
            field = fields.get((section, name))
            mark = ""
            if field and params.get(field) is not None:
                mark = "   <- from the form"
            elif ((defaults or {}).get(section) or {}).get(name) is not None:
                mark = f"   <- from the deployment: {DEPLOYED[section]}"
            key = {"sources": "path", "tasks": "name"}.get(name)
            shown = [one[key] for one in value] if key else value
            lines.append(masked(f"  {name} = {shown}") + mark)
    return "\n".join(lines)


def log_settings(
    config: RunConfig, params: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Log the settings in a group, which Airflow's UI shows folded."""
    log.info("::group::Settings, preset %s", config.preset)
    log.info("%s", settings_table(config, params, defaults))
    log.info("::endgroup::")


def bucket_location(bucket: str, gcp_conn_id: str) -> str | None:
    """The bucket's region; None for an emulator's bucket, or without the permission to ask."""
    if not bucket or STORAGE_EMULATOR in os.environ:
        return None
    try:
        found = GCSHook(gcp_conn_id=gcp_conn_id).get_conn().get_bucket(bucket)
    except (GoogleAPIError, GoogleAuthError, ValueError):
        return None
    return str(found.location)


def check_map_length(shards: int) -> None:
    """Check that Airflow can map a task over this number of shards.

    Raises:
        ConfigError: it cannot.
    """
    limit = conf.getint("core", "max_map_length", fallback=1024)
    if shards > limit:
        raise ConfigError(
            f"the run has about {shards:,} shards, but Airflow maps a task over {limit:,} at most",
            where="[core] max_map_length",
            do="Set AIRFLOW__CORE__MAX_MAP_LENGTH=10000 for every Airflow process, or increase shard_lines",
        )


def check_writable(config: RunConfig, gcp_conn_id: str) -> None:
    """Write a small object through the connection and delete it.

    Raises:
        ConfigError: no bucket is set.
        StorageError: the connection cannot write to the bucket.
    """
    upload = config.upload
    require_bucket(upload)
    name = f"{upload.prefix}{DATASETS}/.qarib-write-test-{uuid4().hex}"
    try:
        bucket = GCSHook(gcp_conn_id=gcp_conn_id).get_conn().bucket(upload.bucket)
        blob = bucket.blob(name)
        blob.upload_from_string(b"qarib")
        blob.delete()
    except (GoogleAPIError, GoogleAuthError, ValueError) as error:
        raise StorageError(
            f"cannot write to the bucket with the connection {gcp_conn_id}: {error}",
            where=f"gs://{upload.bucket}/{name}",
            do="Create the bucket, or grant the connection's account the role Storage Object Admin on it",
        ) from error


def check_tpu(run: Run, gcp_conn_id: str) -> None:
    """Log the expected duration and cost of the training, and check which zones offer the TPU.

    Raises:
        ConfigError: the type is unknown, or the estimate exceeds the cost limit.
        TpuError: no zone offers it, or the connection lacks the permission to ask.
    """
    tpu = run.config.tpu
    if tpu.machine == "local":
        return
    planned = plan(run)
    if tpu.machine == "gke":
        log.info("On %s. %s", tpu.gke_cluster, planned)
        service_of(tpu, gcp_conn_id=gcp_conn_id).check()
        return
    hook = CloudTPUHook(gcp_conn_id=gcp_conn_id)
    if is_emulated(gcp_conn_id):
        planned = f"The TPU is emulated, a process on this machine, and costs nothing. A real one: {planned}"
    log.info("%s", planned)
    log.info("Other TPUs and batches for the same examples, by the upper ends:\n%s", "\n".join(options(run)))
    problems: list[TpuRequestError | TpuPermissionError] = []
    for zone in tpu.zones:
        try:
            hook.check_offered(
                zone=zone, accelerator_type=tpu.accelerator_type, runtime_version=tpu.runtime_version
            )
        except (
            TpuRequestError,
            TpuPermissionError,
        ) as error:  # Google also answers with these for closed zones.
            problems.append(error)
            log.warning("%s", error)
    if len(problems) == len(tpu.zones):
        raise type(problems[0])(
            "; ".join(str(problem) for problem in problems), where="zones", do="Set other zones"
        )
