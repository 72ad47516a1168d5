"""Deletes old datasets, models and downloaded sources from the workspace and the bucket.

Trigger it with the default settings first: the log of `clean_up` lists what can be deleted and why the rest
is kept. Nothing is deleted. To delete what the log lists, trigger the DAG again with *Dry run* off.

These are kept at any age: promoted models, and everything that a kept model refers to, which is its dataset,
the model that it was trained from, and the datasets that its dataset extends. Everything that changed within
the given number of days is kept too, so a running run loses nothing. A downloaded source is deleted when no
run has read it for that long; a run that names it downloads it again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS
from qarib_airflow.forms.clean_up import clean_up_params, minimum_age
from qarib_airflow.preflight.deployment import allowed_places, deployment_defaults

from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.clean_up import delete, survey

log = logging.getLogger(__name__)


@task
def clean_up() -> int:
    params, defaults = get_current_context()["params"], deployment_defaults()
    if not defaults["workspace"]:
        raise ConfigError("no workspace is set", do="Set the Airflow Variable qarib_workspace")
    workspace, bucket = Path(defaults["workspace"]), defaults["upload"]["bucket"]
    days, prefix = minimum_age(params), params["prefix"] or ""
    allowed_places().check_prefix(bucket or "", prefix)
    address = f"gs://{bucket}/{prefix}" if bucket else None
    client = GCSHook(gcp_conn_id=CONNECTION).get_conn() if bucket else None
    found = survey(workspace, address, days, client)
    for artifact in found:
        log.info("%s: %s", artifact, f"kept, {artifact.kept}" if artifact.kept else "can be deleted")
    old = [artifact for artifact in found if not artifact.kept]
    size = sum(artifact.bytes for artifact in old) / 1e9
    log.info("%d of %d can be deleted, %.3f GB", len(old), len(found), size)
    if params["dry_run"]:
        log.info("Dry run: nothing was deleted")
        return 0
    for artifact in old:
        delete(artifact, workspace, address, client)
    return len(old)


@dag(
    dag_display_name="QARiB: delete old datasets and models",
    description="Deletes old datasets, models and downloaded sources that nothing kept refers to",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params=clean_up_params(),
    tags=["qarib"],
    default_args=DEFAULT_ARGS,
)
def qarib_clean_up() -> None:
    clean_up()


qarib_clean_up()
