"""The Kubernetes manifest of a launch: a Job for one host, a JobSet for several.

The pods run the startup script of TPU machines, so reports, logs, and the request to stop are the same. The
script finds the image's Python instead of making an environment.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import Chip, chips_of, grid_of, machines_of
from qarib_tasks.tpu.machine.startup import Launch, render

POD = Path(__file__).with_name("pod.sh")
# GKE's names of the generations, for the selector of nodes.
_NODES = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
# What is left of a training that has ended, for the run to look at.
KEPT_SECONDS = 900
# GKE gives a spot node's pods this long at most.
_GRACE_SECONDS = 25
# The pods of a JobSet add `-host-0-0-` and five characters to its name, and stay below 63.
_LONGEST = 45
_GROUP = "host"


@dataclass(frozen=True, kw_only=True)
class GkeRequest:
    """A training on nodes of a cluster.

    Attributes:
        zone: of the nodes.
        labels: as of a Cloud TPU; of the object and of its pods.
        deadline: seconds after its start in which Kubernetes ends the pods in any case.
    """

    name: str
    zone: str
    tpu: TpuConfig
    launch: Launch
    labels: Mapping[str, str] = field(default_factory=dict)
    deadline: float


def object_name(name: str) -> str:
    """The name of a TPU as that of an object of the cluster: its end, with checksum and attempt, is kept."""
    if len(name) <= _LONGEST:
        return name
    start, digest, attempt = name.rsplit("-", 2)
    end = f"-{digest}-{attempt}"
    return start[: _LONGEST - len(end)].rstrip("-") + end


def label_values(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as Kubernetes takes them: a value begins and ends with a letter or a digit."""
    return {key: value.strip("-_") for key, value in labels.items()}


def manifest(request: GkeRequest) -> dict[str, Any]:
    """The object to create in the cluster; the same request gives the same.

    Raises:
        ConfigError: GKE has no such nodes, or the launch cannot be rendered.
    """
    tpu = request.tpu
    name, hosts = object_name(request.name), machines_of(tpu.accelerator_type)
    labels = label_values({**request.labels, "name": name, "zone": request.zone})
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "activeDeadlineSeconds": round(request.deadline),
        "template": {"metadata": {"labels": labels}, "spec": _pod(request, name, hosts)},
    }
    top = dict(labels)
    suspended = {}
    if tpu.gke_queue:
        # Kueue starts what it admits.
        top["kueue.x-k8s.io/queue-name"] = tpu.gke_queue
        suspended = {"suspend": True}
    metadata = {"name": name, "namespace": tpu.gke_namespace, "labels": top}
    finished = {"ttlSecondsAfterFinished": KEPT_SECONDS}
    if hosts == 1:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {**suspended, **finished, **job},
        }
    # One slice has all pods, and no other pods.
    metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            **suspended,
            **finished,
            "failurePolicy": {"maxRestarts": 0},
            "replicatedJobs": [{"name": _GROUP, "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(request: GkeRequest, name: str, hosts: int) -> dict[str, Any]:
    tpu = request.tpu
    number, chip = chips_of(tpu.accelerator_type)
    resource = "nvidia.com/gpu" if chip.is_gpu else "google.com/tpu"
    each = {resource: str(number // hosts)}
    environment = {
        "HOME": "/qarib",
        "QARIB_PYTHON": "python",
        "JAX_PLATFORMS": "cuda" if chip.is_gpu else "tpu",
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": tpu.gke_service_account,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "nodeSelector": _selector(request, number, chip),
        **({"tolerations": [_SPOT_TOLERATION]} if tpu.provisioning == "spot" else {}),
        "containers": [
            {
                "name": "train",
                "image": tpu.image,
                "command": ["bash", "-c", script(request, name, hosts)],
                "env": [{"name": key, "value": value} for key, value in environment.items()],
                "resources": {"requests": each, "limits": each},
                "volumeMounts": [{"name": "work", "mountPath": "/qarib"}],
            }
        ],
        "volumes": [{"name": "work", "emptyDir": {}}],
    }


_SPOT_TOLERATION = {
    "key": "cloud.google.com/gke-spot",
    "operator": "Equal",
    "value": "true",
    "effect": "NoSchedule",
}


def _selector(request: GkeRequest, number: int, chip: Chip) -> dict[str, str]:
    tpu = request.tpu
    selector = {"topology.kubernetes.io/zone": request.zone}
    if chip.is_gpu:
        selector["cloud.google.com/gke-accelerator"] = chip.name
    elif chip.name in _NODES:
        selector["cloud.google.com/gke-tpu-accelerator"] = _NODES[chip.name]
        selector["cloud.google.com/gke-tpu-topology"] = topology(number, chip)
    else:
        raise ConfigError(
            f"GKE has no nodes with {chip.name}",
            where="accelerator_type",
            do=f"Use one of {', '.join(_NODES)}",
        )
    if tpu.provisioning == "spot":
        selector["cloud.google.com/gke-spot"] = "true"
    if tpu.provisioning == "reserved":
        selector["cloud.google.com/reservation-name"] = tpu.reservation.rsplit("/", 1)[-1]
    return selector


def topology(number: int, chip: Chip) -> str:
    """GKE's name of the grid of chips: with as many sides as the generation has axes."""
    if number & (number - 1):
        raise ConfigError(
            f"no topology of {number} chips is known", where="accelerator_type", do="Use 4 or 8"
        )
    sides = [*grid_of(number, chip)]
    missing = [1] * (chip.axes - len(sides))
    # 2x2x1 and 1x1x1, but 1x1 and 2x4.
    return "x".join(map(str, [*sides, *missing]))


def script(request: GkeRequest, name: str, hosts: int) -> str:
    """The startup script with what is different in a pod."""
    # Only the third part is read, see startup.sh. A JobSet gives each pod this name.
    endpoints = (
        [f"::{name}-{_GROUP}-0-{index}.{name}" for index in range(hosts)] if hosts > 1 else ["::localhost"]
    )
    before = f"ENDPOINTS={shlex.quote(','.join(endpoints))}\n{POD.read_text(encoding='utf-8')}"
    return render(request.launch, before=before)
