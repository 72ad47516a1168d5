"""The manifests of a launch, against Kubernetes' and JobSet's published schemas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubeflow_trainer_api.models.io_k8s_api_batch_v1_job import IoK8sApiBatchV1Job
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.tpu.gke.manifest import GkeRequest, label_values, manifest, object_name
from tests.support.lifecycles.benches import IMAGE, launch

CLUSTER = "projects/p/locations/l/clusters/c"
RESERVED = "projects/p/locations/us-east5-a/reservations/r1"


def request(accelerator_type: str, **tpu: Any) -> GkeRequest:
    settings: dict[str, Any] = {"machine": "gke", "gke_cluster": CLUSTER, "image": IMAGE, **tpu}
    return GkeRequest(
        name="qarib-r1-0123456789-1",
        zone="us-east5-a",
        tpu=TpuConfig(accelerator_type=accelerator_type, **settings),
        launch=launch("qarib-r1-0123456789-1"),
        labels={"made-by": "qarib", "run": "r1", "model": "m"},
        deadline=3600.4,
    )


def require_valid(made: dict[str, Any]) -> None:
    """Check against the schemas; what they do not know is lost on the way."""
    model = IoK8sApiBatchV1Job if made["kind"] == "Job" else JobsetV1alpha2JobSet
    back = model.from_dict(made)
    assert back is not None
    assert back.to_dict() == made


def pod_of(made: dict[str, Any]) -> dict[str, Any]:
    job = made["spec"]
    if made["kind"] == "JobSet":
        job = job["replicatedJobs"][0]["template"]["spec"]
    found: dict[str, Any] = job["template"]["spec"]
    return found


@pytest.mark.parametrize("provisioning", ["spot", "on_demand", "reserved"])
@pytest.mark.parametrize(
    ("kind", "hosts", "each", "nodes"),
    [
        ("v6e-8", 1, {"google.com/tpu": "8"}, ("tpu-v6e-slice", "2x4")),
        ("v5litepod-1", 1, {"google.com/tpu": "1"}, ("tpu-v5-lite-podslice", "1x1")),
        ("v5litepod-16", 4, {"google.com/tpu": "4"}, ("tpu-v5-lite-podslice", "4x4")),
        ("v5p-8", 1, {"google.com/tpu": "4"}, ("tpu-v5p-slice", "2x2x1")),
        ("tpu7x-32", 4, {"google.com/tpu": "4"}, ("tpu7x", "2x2x4")),
        ("nvidia-l4-1", 1, {"nvidia.com/gpu": "1"}, ("nvidia-l4", None)),
        ("nvidia-h100-80gb-8", 1, {"nvidia.com/gpu": "8"}, ("nvidia-h100-80gb", None)),
    ],
)
def test_hosts_and_provisioning(
    kind: str, hosts: int, each: dict[str, str], nodes: tuple[str, str | None], provisioning: Any
) -> None:
    reservation = RESERVED if provisioning == "reserved" else ""
    asked = request(kind, provisioning=provisioning, reservation=reservation, gke_queue="q")
    made = manifest(asked)
    require_valid(made)
    assert made == manifest(asked)
    assert made["kind"] == ("Job" if hosts == 1 else "JobSet")
    assert made["spec"]["suspend"]
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    job = made["spec"] if hosts == 1 else made["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["activeDeadlineSeconds"]) == (hosts, hosts, 3600)
    pod = pod_of(made)
    selector, (container,) = pod["nodeSelector"], pod["containers"]
    assert selector["topology.kubernetes.io/zone"] == "us-east5-a"
    accelerator, topology = nodes
    name = "cloud.google.com/gke-tpu-accelerator" if topology else "cloud.google.com/gke-accelerator"
    assert selector[name] == accelerator
    assert selector.get("cloud.google.com/gke-tpu-topology") == topology
    assert ("cloud.google.com/gke-spot" in selector) == ("tolerations" in pod) == (provisioning == "spot")
    assert selector.get("cloud.google.com/reservation-name") == ("r1" if reservation else None)
    assert container["resources"] == {"requests": each, "limits": each}
    assert container["image"] == IMAGE


def test_the_schemas_find_a_wrong_field() -> None:
    made = manifest(request("v5litepod-16"))
    made["spec"]["failurePolicy"]["maxRestart"] = 0
    with pytest.raises(AssertionError):
        require_valid(made)
    made = manifest(request("v6e-8"))
    made["spec"]["backoffLimit"] = "none"
    with pytest.raises(ValueError, match="backoffLimit"):
        require_valid(made)


def test_names_and_labels_that_kubernetes_takes() -> None:
    long = "qarib-manual-2026-11-22t10-00-00-00-00-0123456789-12"
    assert len(f"{object_name(long)}-host-0-63-abcde") < 63
    assert object_name(long).endswith("-0123456789-12")
    assert object_name(object_name(long)) == object_name(long)
    assert object_name("a") == "a"
    assert label_values({"owner": "_amal-"}) == {"owner": "amal"}


def test_what_gke_does_not_have() -> None:
    with pytest.raises(ConfigError, match="GKE has no nodes with v2"):
        manifest(request("v2-8"))
    with pytest.raises(ConfigError, match="GPUs of one machine only"):
        manifest(request("nvidia-l4-16"))
    with pytest.raises(ConfigError, match="no topology of 3 chips"):
        manifest(request("v6e-3"))
    with pytest.raises(ValueError, match="needs image and gke_cluster"):
        TpuConfig(machine="gke")
    with pytest.raises(ValueError, match="Cloud TPU has no nvidia-l4-1"):
        TpuConfig(accelerator_type="nvidia-l4-1")


def test_the_pod_runs_the_startup_script() -> None:
    asked = request("v5litepod-16")
    (container,) = pod_of(manifest(asked))["containers"]
    bash, option, text = container["command"]
    assert (bash, option) == ("bash", "-c")
    name = object_name(asked.name)
    assert f"ENDPOINTS='::{name}-host-0-0.{name}," in text or f"ENDPOINTS=::{name}-host-0-0.{name}," in text
    assert "until WORKER=$(metadata" in text
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {"HOME": "/qarib", "QARIB_PYTHON": "python", "JAX_PLATFORMS": "tpu"}
    (container,) = pod_of(manifest(request("nvidia-l4-1")))["containers"]
    assert {"name": "JAX_PLATFORMS", "value": "cuda"} in container["env"]
    other = replace(asked, launch=replace(asked.launch, arguments=("-c", "print('$HOME')")))
    assert manifest(other) != manifest(asked)
