"""A GKE cluster: absent, refused, without nodes of the type, without rights, JobSet, or Kueue.

Against stand-ins: for Google's APIs, whose answers have the fields of its discovery documents, and for the
Kubernetes API.

Covers qarib_tasks/doctor/cluster/kubernetes.py, qarib_tasks/doctor/cluster/nodes.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.cluster.kubernetes import ClusterApi, check_kubernetes, cluster_api
from qarib_tasks.doctor.cluster.nodes import check_cluster, check_nodes
from qarib_tasks.doctor.result import Result
from tests.support.google.deployment import Checked, lines
from tests.support.google.stand_in import ACCOUNT, IMAGE, GoogleStandIn
from tests.support.kubernetes.stand_in import StandIn

ME = f"serviceAccount:{ACCOUNT}"
NAME = "projects/my-project/locations/us-central1/clusters/training"
OPTIONS = "--cluster=training --location=us-central1 --project=my-project"
SPOT_POOL = {
    "name": "v5e",
    "locations": ["us-central1-a"],
    "config": {"machineType": "ct5lp-hightpu-8t", "spot": True},
    "placementPolicy": {"tpuTopology": "2x4"},
}
RUNNING: dict[str, Any] = {
    "status": "RUNNING",
    "currentMasterVersion": "1.33.4-gke.1",
    "endpoint": "127.0.0.1",
    "workloadIdentityConfig": {"workloadPool": "my-project.svc.id.goog"},
    "nodePools": [SPOT_POOL],
}


def tpu(**changes: Any) -> TpuConfig:
    values: dict[str, Any] = {
        "machine": "gke",
        "gke_cluster": NAME,
        "gke_service_account": "qarib",
        "image": IMAGE,
        "zones": ("us-central1-a",),
    }
    return TpuConfig(**(values | changes))


def found(results: list[Result]) -> dict[str, tuple[str, str]]:
    return {one.subject: (one.state, one.do) for one in results}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path, time.monotonic) as one:
        yield one


def asked(cluster: StandIn, **changes: Any) -> dict[str, tuple[str, str]]:
    api = cluster_api({}, "", {"GKE_EMULATOR_HOST": cluster.endpoint})
    return found(check_kubernetes(api, tpu(**changes), ME))


def test_a_cluster_that_has_everything(cluster: StandIn) -> None:
    every = asked(cluster, accelerator_type="v5litepod-16", gke_queue="training")
    assert set(every) == {"API server", "namespace", "rights", "pods' account", "JobSet", "Kueue"}
    assert {state for state, _ in every.values()} == {"ok"}
    # One host is a Job, and without a queue Kueue is not asked for.
    cluster.groups.clear()
    assert {state for state, _ in asked(cluster).values()} == {"ok"}


def no_namespace(cluster: StandIn) -> None:
    cluster.namespaces.clear()


def no_rights(cluster: StandIn) -> None:
    cluster.denied |= {("create", "jobs"), ("delete", "pods")}


def no_account(cluster: StandIn) -> None:
    cluster.accounts.discard("qarib")


def no_jobset(cluster: StandIn) -> None:
    cluster.groups.discard("jobset.x-k8s.io")


def no_kueue(cluster: StandIn) -> None:
    cluster.groups.discard("kueue.x-k8s.io")


def no_queue(cluster: StandIn) -> None:
    cluster.queues.clear()


def another_token(cluster: StandIn) -> None:
    cluster.token = "another"


def failing(cluster: StandIn) -> None:
    cluster.add_fault("api_error")


GRANT = f"gcloud projects add-iam-policy-binding my-project --member={ME} --role=roles/container.developer"


@pytest.mark.parametrize(
    ("broken", "subject", "command"),
    [
        (no_namespace, "namespace", "kubectl create namespace default"),
        (no_rights, "rights", GRANT),
        (no_account, "pods' account", "kubectl create serviceaccount qarib --namespace=default"),
        (no_jobset, "JobSet", "kubernetes-sigs/jobset/releases/latest/download/manifests.yaml"),
        (no_kueue, "Kueue", "kubernetes-sigs/kueue/releases/latest/download/manifests.yaml"),
        (no_queue, "Kueue", "kubectl get localqueues --namespace=default"),
        (another_token, "API server", GRANT),
        (failing, "API server", "gcloud container clusters describe training"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_kubernetes_lacks(
    cluster: StandIn, broken: Callable[[StandIn], None], subject: str, command: str
) -> None:
    endpoint = cluster.endpoint
    broken(cluster)
    api = cluster_api({}, "", {"GKE_EMULATOR_HOST": endpoint})
    settings = tpu(accelerator_type="v5litepod-16", gke_queue="training")
    every = check_kubernetes(api, settings, ME)
    faults = [one for one in every if one.state == "fault"]
    assert [one.subject for one in faults] == [subject]
    assert command in faults[0].do


def test_the_rights_that_are_missing_are_named(cluster: StandIn) -> None:
    no_rights(cluster)
    api = cluster_api({}, "", {"GKE_EMULATOR_HOST": cluster.endpoint})
    (line,) = [one for one in check_kubernetes(api, tpu(), ME) if one.subject == "rights"]
    assert line.what == f"{ME} may not create jobs, delete pods"


def test_an_api_server_that_does_not_answer() -> None:
    (line,) = check_kubernetes(ClusterApi("http://127.0.0.1:9", "t"), tpu(), ME)
    assert (line.state, line.subject) == ("fault", "API server")
    assert "--master-authorized-networks=ADDRESS/32" in line.do


def test_a_cluster_that_is_not_there(apis: GoogleApis) -> None:
    results, cluster = check_cluster(apis, tpu(), ME)
    assert found(results)["cluster"][0] == "fault"
    assert "gcloud container clusters list --project=my-project" in results[0].do
    assert cluster == {}


def test_a_cluster_as_google_shows_it(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.clusters["training"] = RUNNING
    results, cluster = check_cluster(apis, tpu(), ME)
    assert {state for state, _ in found(results).values()} == {"ok"}
    assert cluster["endpoint"] == "127.0.0.1"
    google.world.clusters["training"] = {
        **{key: value for key, value in RUNNING.items() if key != "workloadIdentityConfig"},
        "status": "ERROR",
        "statusMessage": "no room",
    }
    results, _ = check_cluster(apis, tpu(), ME)
    states = found(results)
    assert states["cluster"][0] == states["pods' identity"][0] == "fault"
    assert "--workload-pool=my-project.svc.id.goog" in states["pods' identity"][1]


def with_pool(**changes: Any) -> dict[str, Any]:
    return {"nodePools": [SPOT_POOL | changes]}


@pytest.mark.parametrize(
    ("cluster", "settings", "state", "command"),
    [
        (with_pool(), {}, "ok", ""),
        ({"autopilot": {"enabled": True}}, {}, "ok", ""),
        (with_pool(), {"zones": ("us-central1-a", "us-west4-a")}, "warning", "Leave us-west4-a out of zones"),
        (with_pool(), {"provisioning": "on_demand"}, "fault", "--machine-type=ct5lp-hightpu-8t"),
        (with_pool(placementPolicy={}), {}, "ok", ""),
        (with_pool(placementPolicy={"tpuTopology": "4x4"}), {}, "fault", "--tpu-topology=2x4 --spot"),
        (with_pool(), {"accelerator_type": "v6e-1"}, "fault", "--machine-type=ct6e-standard-1t"),
        (
            with_pool(),
            {"accelerator_type": "v5litepod-16"},
            "fault",
            "--tpu-topology=4x4 --spot --num-nodes=0",
        ),
        (with_pool(), {"accelerator_type": "v2-8"}, "fault", "Use one of v4, v5e"),
        (
            {"autoscaling": {"enableNodeAutoprovisioning": True}},
            {},
            "warning",
            f"To be sure: gcloud container node-pools create qarib-v5litepod-8 {OPTIONS}",
        ),
        ({}, {"accelerator_type": "nvidia-l4-1"}, "fault", "--accelerator=type=nvidia-l4,count=1"),
        (
            with_pool(
                config={
                    "spot": True,
                    "accelerators": [{"acceleratorType": "nvidia-l4", "acceleratorCount": "1"}],
                }
            ),
            {"accelerator_type": "nvidia-l4-1"},
            "ok",
            "",
        ),
    ],
)
def test_the_nodes(cluster: dict[str, Any], settings: dict[str, Any], state: str, command: str) -> None:
    line = check_nodes(cluster, tpu(**settings), OPTIONS)[-1]
    assert (line.subject, line.state) == ("nodes", state)
    assert command in line.do


def test_the_command(deployment: Checked, cluster: StandIn) -> None:
    deployment.world.clusters["training"] = RUNNING
    deployment.environment["GKE_EMULATOR_HOST"] = cluster.endpoint
    deployment.settings["tpu"] = {
        "machine": "gke",
        "gke_cluster": NAME,
        "image": IMAGE,
        "zones": ["us-central1-a"],
    }
    answer = deployment.run()
    assert lines(answer.stdout, "fault") == [], answer.stdout
    subjects = {subject for subject, _ in lines(answer.stdout, "ok")}
    assert subjects >= {"APIs", "image", "bucket", "cluster", "nodes", "API server", "namespace", "rights"}
    assert answer.returncode == 0, answer.stderr
