"""Deletes Cloud TPUs that are past their lifetime.

The last of three guards against a TPU that nobody thinks of any more: a run's own `delete_tpu`, the machine
itself, which deletes itself when its lifetime is over, and this DAG, every ten minutes. Each TPU says in its
labels whose it is and when it should be gone; a quarter of an hour later `reap` deletes it. Those without
the label `made-by=qarib` are not looked at.

Trigger it with *Dry run* to see what there is without deleting anything. Where no run ever trains on a Cloud
TPU (Airflow Variable `qarib_tpu`: `machine: local`) it does nothing.
"""

from __future__ import annotations

import logging

from airflow.sdk import Param, dag, get_current_context, task
from qarib_airflow.defaults import DEFAULT_ARGS
from qarib_airflow.errors import fails_for_good
from qarib_airflow.preflight.deployment import yaml_mapping
from qarib_airflow.tpu.hook import CloudTPUHook

from qarib_tasks.tpu import reaper

CONNECTION = "google_cloud_default"
log = logging.getLogger(__name__)


@task
@fails_for_good
def reap() -> list[str]:
    if yaml_mapping("qarib_tpu").get("machine") == "local":
        log.info("No run trains on a Cloud TPU here")
        return []
    client = CloudTPUHook(gcp_conn_id=CONNECTION).get_conn()
    found = reaper.find(client)
    late = reaper.expired(found)
    for one in found:
        log.info("%s%s", one, ": past its lifetime" if one in late else "")
    if get_current_context()["params"]["dry_run"]:
        log.info("Dry run: nothing is deleted")
        return []
    reaper.delete(client, late)
    log.info("Deleted: %s", ", ".join(one.name for one in late) or "none")
    return [f"{one.zone}/{one.name}" for one in late]


@dag(
    dag_display_name="QARiB: delete forgotten TPUs",
    description="Deletes Cloud TPUs that are past their lifetime",
    doc_md=__doc__,
    schedule="*/10 * * * *",
    catchup=False,
    max_active_runs=1,
    # Nobody has to remember to switch it on.
    is_paused_upon_creation=False,
    params={"dry_run": Param(False, type="boolean", title="Dry run", description="Only list them.")},
    tags=["qarib"],
    default_args=DEFAULT_ARGS,
)
def qarib_reap_tpus() -> None:
    reap()


qarib_reap_tpus()
