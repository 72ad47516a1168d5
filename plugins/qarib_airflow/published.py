"""What the bucket holds of a dataset."""

from __future__ import annotations

from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_tasks.pipeline import Run
from qarib_tasks.storage import Bucket


def published_objects(run: Run, gcp_conn_id: str) -> dict[str, Any]:
    """The objects below the dataset's folder by their name from there on, in one listing."""
    assert run.address is not None
    address = run.address + run.dataset.name
    return Bucket(address, GCSHook(gcp_conn_id=gcp_conn_id).get_conn()).list()
