"""The objects of a dataset in the bucket."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_tasks.dataset.audit import audit, broken, listed
from qarib_tasks.dataset.shard_state import is_dropped
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import manifest_of

log = logging.getLogger(__name__)


def published_objects(run: Run, gcp_conn_id: str) -> dict[str, Any]:
    """The objects below the dataset's folder, by their name relative to it, from one listing."""
    assert run.address is not None
    address = run.address + run.dataset.name
    return Bucket(address, GCSHook(gcp_conn_id=gcp_conn_id).get_conn()).list()


def is_published(run: Run, shard: str, gcp_conn_id: str) -> bool:
    """Whether a shard's TFRecords were removed from the workspace because the bucket has them.

    The conversion itself checks TFRecords in the workspace.
    """
    file = run.dataset.tfrecord(shard)
    if file.exists() or not manifest_of(file).is_file():
        return False
    assert run.address is not None
    bucket = Bucket(run.address + run.dataset.name, GCSHook(gcp_conn_id=gcp_conn_id).get_conn())
    return is_dropped(file, bucket.get(run.dataset.tfrecord_name(shard)))


def incomplete_shards(run: Run, gcp_conn_id: str) -> list[str]:
    """The names of the shards that are missing, failed or corrupt, in the workspace or in the bucket."""
    faults = broken(audit(run.dataset, published_objects(run, gcp_conn_id)))
    log.info("%d shards are incomplete or damaged\n%s", len(faults), listed(faults))
    return [fault.name for fault in faults]
