"""Deletes Cloud TPUs that are past their lifetime.

This DAG runs every ten minutes and is the last of three guards against a forgotten TPU. The first is the
run's own `delete_tpu`; the second is the machine, which deletes itself at the end of its lifetime. The labels
of each TPU name its owner and the time when it expires; `reap` deletes it 15 minutes after that time. TPUs
without the label `made-by=qarib` are ignored. If `qarib_tpu` names a GKE cluster (`gke_cluster`), the DAG
does the same with the Jobs and JobSets there.

To list the TPUs without deleting any, trigger the DAG with *Dry run* on. In a deployment that never trains on
a Cloud TPU (Airflow Variable `qarib_tpu`: `machine: local`), the DAG does nothing.
"""

from __future__ import annotations

import logging

from airflow.sdk import Param, dag, get_current_context, task
from qarib_airflow.defaults import DEFAULT_ARGS
from qarib_airflow.preflight.deployment import yaml_mapping
from qarib_airflow.tpu.hook import CloudTPUHook, gke_service

from qarib_tasks.tpu import reaper
from qarib_tasks.tpu.api.service import Service

CONNECTION = "google_cloud_default"
log = logging.getLogger(__name__)


@task
def reap() -> list[str]:
    deleted: list[str] = []
    for service in services():
        deleted += reap_in(service)
    return deleted


def services() -> list[Service]:
    """Where this deployment trains, by the Airflow Variable qarib_tpu or QARIB_TPU."""
    deployed = yaml_mapping("qarib_tpu")
    found: list[Service] = []
    if deployed.get("machine", "cloud_tpu") == "cloud_tpu":
        found.append(CloudTPUHook(gcp_conn_id=CONNECTION).get_conn())
    else:
        log.info("This deployment does not train on Cloud TPUs (machine: %s)", deployed["machine"])
    if cluster := deployed.get("gke_cluster"):
        found.append(gke_service(cluster, deployed.get("gke_namespace", "default"), CONNECTION))
    return found


def reap_in(client: Service) -> list[str]:
    """Delete what is late in one service, and return its names."""
    found = reaper.find(client)
    late = reaper.expired(found)
    for one in found:
        log.info("%s%s", one, ": past its lifetime" if one in late else "")
    if get_current_context()["params"]["dry_run"]:
        log.info("Dry run: nothing was deleted")
        return []
    reaper.delete(client, late)
    log.info("Deleted: %s", ", ".join(one.name for one in late) or "none")
    return [f"{one.zone}/{one.name}" for one in late]


@dag(
    dag_display_name="QARiB: delete expired TPUs",
    description="Deletes Cloud TPUs that are past their lifetime",
    doc_md=__doc__,
    schedule="*/10 * * * *",
    catchup=False,
    max_active_runs=1,
    # The guard works without anyone switching it on.
    is_paused_upon_creation=False,
    params={
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="List the TPUs, and delete none."
        )
    },
    tags=["qarib"],
    default_args=DEFAULT_ARGS,
)
def qarib_reap_tpus() -> None:
    reap()


qarib_reap_tpus()
