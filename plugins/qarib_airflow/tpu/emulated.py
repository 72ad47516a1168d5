"""Whether the deployment's Cloud TPU is an emulator."""

from __future__ import annotations

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from qarib_tasks.tpu.api.client import is_emulator


def is_emulated(gcp_conn_id: str) -> bool:
    """Whether the Cloud TPU of a connection is an emulator, by its `tpu_endpoint` or the environment."""
    try:
        endpoint = Connection.get(gcp_conn_id).extra_dejson.get("tpu_endpoint")
    except (AirflowNotFoundException, AirflowRuntimeError):
        endpoint = None
    return is_emulator(endpoint)
