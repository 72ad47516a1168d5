"""Deletes datasets, models and fetched sources that nobody needs any more, from the workspace and the bucket.

Trigger it as it is: the log of `clean_up` lists what would go and why the rest is kept, and nothing is
deleted. Trigger it again with *Dry run* off to delete what was listed.

What is kept whatever its age: promoted models, and whatever a model that is kept refers to: its dataset, the
model that it goes on from, and the datasets that its dataset extends. What changed within the given days is
kept too, so a run that is under way loses nothing. A source that was fetched goes when it was not read for so
long; a run that names it fetches it again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk import Param, dag, get_current_context, task
from qarib_airflow.defaults import CONNECTION, DEFAULT_ARGS
from qarib_airflow.errors import fails_for_good
from qarib_airflow.preflight.deployment import deployment_defaults

from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.clean_up import delete, survey

log = logging.getLogger(__name__)


@task
@fails_for_good
def clean_up() -> int:
    params, defaults = get_current_context()["params"], deployment_defaults()
    if not defaults["workspace"]:
        raise ConfigError("no workspace", do="Set the Airflow Variable qarib_workspace")
    workspace, bucket = Path(defaults["workspace"]), defaults["upload"]["bucket"]
    address = f"gs://{bucket}/{params['prefix']}" if bucket else None
    client = GCSHook(gcp_conn_id=CONNECTION).get_conn() if bucket else None
    found = survey(workspace, address, params["older_than_days"], client)
    for one in found:
        log.info("%s: %s", one, f"kept, {one.kept}" if one.kept else "may go")
    old = [one for one in found if not one.kept]
    size = sum(one.bytes for one in old) / 1e9
    log.info("%d of %d may go, %.3f GB", len(old), len(found), size)
    if params["dry_run"]:
        log.info("Dry run: nothing is deleted")
        return 0
    for one in old:
        delete(one, workspace, address, client)
    return len(old)


@dag(
    dag_display_name="QARiB: delete what is old",
    description="Deletes old datasets and models that nobody refers to, and fetched sources",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={
        "older_than_days": Param(
            90,
            type="number",
            minimum=1,
            title="Older than, days",
            description="What changed since then is kept.",
        ),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Only list them."),
        "prefix": Param(
            "",
            type="string",
            pattern=r"^$|^[^/].*/$",
            title="Prefix",
            description="Folder in the bucket that the runs published to, ending with a slash.",
        ),
    },
    tags=["qarib"],
    default_args=DEFAULT_ARGS,
)
def qarib_clean_up() -> None:
    clean_up()


qarib_clean_up()
