"""The deployment of an Airflow, for the doctor: its Variables, and its connection."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
from collections.abc import Sequence
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from google.auth.exceptions import GoogleAuthError

from qarib_airflow.preflight.checks import STORAGE_EMULATOR
from qarib_airflow.preflight.deployment import deployment_defaults
from qarib_airflow.preflight.pools import pool_results
from qarib_airflow.tpu.emulated import is_emulated
from qarib_airflow.tpu.hook import CloudTPUHook
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import CredentialsError, refused_credentials
from qarib_tasks.doctor.deployment import PATIENCE, Deployment
from qarib_tasks.doctor.examine import examine
from qarib_tasks.doctor.result import Result, is_broken, summary
from qarib_tasks.errors import ConfigError

log = logging.getLogger(__name__)
# Of the DAG qarib_check: it has the pools, see `qarib_pools`.
POOLS_TASK = "trainings"
_LEVELS = {"ok": logging.INFO, "warning": logging.WARNING, "fault": logging.ERROR}


def deployed(gcp_conn_id: str) -> Deployment:
    """The deployment, whose credentials are a connection's.

    Raises:
        ConfigError: there is no such connection, or a Variable is invalid.
    """
    try:
        Connection.get(gcp_conn_id)
    except AirflowNotFoundException:
        raise ConfigError(
            "no such connection",
            where=gcp_conn_id,
            do=f"airflow connections add {shlex.quote(gcp_conn_id)} --conn-type google_cloud_platform, with "
            "a key in its extra unless the machine has credentials of its own",
        ) from None
    defaults = deployment_defaults()

    def login() -> tuple[Any, str]:
        try:
            credentials, project = GCSHook(gcp_conn_id=gcp_conn_id).get_credentials_and_project_id()
        except KeyError as error:
            raise _without_login(ValueError(f"the key has no {error}"), gcp_conn_id) from None
        except (AirflowException, GoogleAuthError, ValueError, OSError) as error:
            raise _without_login(error, gcp_conn_id) from None
        return credentials, project or ""

    return Deployment(
        tpu=from_dict(TpuConfig, {key: value for key, value in defaults["tpu"].items() if value is not None}),
        bucket=defaults["upload"]["bucket"] or "",
        workspace=defaults["workspace"] or "",
        login=login,
        tpu_client=lambda credentials, project: CloudTPUHook(
            gcp_conn_id=gcp_conn_id, retry_within=PATIENCE.within
        ).get_conn(project),
        storage_client=lambda: GCSHook(gcp_conn_id=gcp_conn_id).get_conn(),
        emulates_tpu=is_emulated(gcp_conn_id),
        emulates_storage=STORAGE_EMULATOR in os.environ,
    )


def _without_login(error: Exception, gcp_conn_id: str) -> CredentialsError:
    made = refused_credentials(error)
    return CredentialsError(made.what, where=f"the connection {gcp_conn_id}", do=made.do)


def check_deployment(gcp_conn_id: str, ti: Any = None) -> Sequence[Result]:
    """Log every line of the doctor, and one for each pool.

    Args:
        ti: the instance of the task, to check the pools.

    Raises:
        ConfigError: there is a fault; the message has them all.
    """
    results = []
    pools = pool_results(ti, POOLS_TASK) if ti else []
    for result in itertools.chain(pools, examine(deployed(gcp_conn_id))):
        log.log(_LEVELS[result.state], "%s", result)
        results.append(result)
    log.info("%s", summary(results))
    if is_broken(results):
        lines = [f"{one.subject}: {one.where}: {one.what}" for one in results if one.state == "fault"]
        raise ConfigError("; ".join(lines), do="The log of the task has the command for each")
    return results
