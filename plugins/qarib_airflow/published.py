"""Whether the bucket holds what the manifests say."""

from __future__ import annotations

from airflow.providers.google.cloud.hooks.gcs import GCSHook

from qarib_tasks.errors import InputError
from qarib_tasks.manifest import Manifest
from qarib_tasks.pipeline import Run
from qarib_tasks.storage import Bucket, same


def check_published(run: Run, gcp_conn_id: str) -> None:
    """Compare the objects of the dataset's shards with its manifest, in one listing.

    Raises:
        InputError: with each shard that is missing in the bucket or has other bytes there.
    """
    assert run.address is not None
    address = run.address + run.dataset.name
    objects = Bucket(address, GCSHook(gcp_conn_id=gcp_conn_id).get_conn()).list()
    records = [record for record in Manifest.read(run.dataset.manifest).outputs if "/" in record.name]
    faults = [
        f"{record.name} {'has other bytes' if record.name in objects else 'is missing'}"
        for record in records
        if not same(objects.get(record.name), record.checksums)
    ]
    if faults:
        raise InputError("; ".join(faults), where=address, do="Clear the upload tasks of the shards named")
