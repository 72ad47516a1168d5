"""Settings of the machine that trains. No `dataset_id` and no `model_id` depends on them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import neither
from qarib_tasks.config.loading import STRICT, Settings

Zone = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")]

KUBERNETES_NAME = r"^[a-z0-9]+(-+[a-z0-9]+)*$"

MACHINE = neither("changes where and how long a training runs, not what it computes")


def with_digest(address: Any) -> Any:
    """Return the address of an image if it has a digest.

    Raises:
        ValueError: it has none: its tag could become another image's while a run replaces its machine.
    """
    if isinstance(address, str) and address and "@sha256:" not in address:
        raise ValueError(
            f"needs the image's digest, NAME@sha256:…; gcloud artifacts docker images describe {address} "
            "--format='value(image_summary.fully_qualified_digest)' shows it"
        )
    return address


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TpuConfig(Settings):
    """Where step 5 runs, and what it may cost."""

    machine: Annotated[
        Literal["cloud_tpu", "gke", "local"],
        Field(
            title="Machine",
            description="cloud_tpu: create a Cloud TPU for the training and delete it afterwards. "
            "gke: start the training on TPU or GPU nodes of a GKE cluster, see docs/gke.md. "
            "local: train on the Airflow worker's machine.",
        ),
        MACHINE,
    ] = "cloud_tpu"
    accelerator_type: Annotated[
        str,
        Field(
            pattern=r"^(v[0-9]+[a-z]*|tpu7x|nvidia-[a-z0-9-]+)-[0-9]+$",
            title="TPU",
            description="Accelerator type, such as v5litepod-8 or v6e-8; with gke also "
            "tpu7x-8 or nvidia-l4-1.",
        ),
        MACHINE,
    ] = "v5litepod-8"
    runtime_version: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.-]+$",
            title="Runtime version",
            description="TPU software version: v2-alpha-tpuv5-lite for v5e, v2-alpha-tpuv6e for v6e.",
        ),
        MACHINE,
    ] = "v2-alpha-tpuv5-lite"
    zones: Annotated[
        tuple[Zone, ...],
        Field(min_length=1, title="Zones", description="Zones to request the TPU in, in order."),
        MACHINE,
    ] = ("us-central1-a", "us-west4-a", "europe-west4-b")
    provisioning: Annotated[
        Literal["spot", "on_demand", "reserved"],
        Field(
            title="Provisioning",
            description="Spot TPUs cost a fraction, and Google may preempt them at any time. Training then "
            "resumes from the last checkpoint on a new TPU.",
        ),
        MACHINE,
    ] = "spot"
    reservation: Annotated[
        str,
        Field(
            pattern=r"^$|^(projects|folders|organizations)/[^/]+/locations/[^/]+/reservations/[^/]+$",
            title="Reservation",
            description="Full name of the reservation that holds the TPU.",
        ),
        MACHINE,
    ] = ""
    network: Annotated[
        str,
        Field(title="Network", description="Empty: the default network."),
        MACHINE,
    ] = ""
    subnetwork: Annotated[
        str,
        Field(title="Subnetwork", description="Empty: the default subnetwork."),
        MACHINE,
    ] = ""
    external_ips: Annotated[
        bool,
        Field(
            title="External IP addresses",
            description="If off, the subnetwork needs Private Google Access and the deployment needs a "
            "wheelhouse (see docs/cloud-tpu.md).",
        ),
        MACHINE,
    ] = True
    service_account: Annotated[
        str,
        Field(
            pattern=r"^$|^[^@\s]+@[^@\s]+$",
            title="Service account",
            description="Email of the account that the TPU VMs run as. It needs read and write access to the "
            "bucket. Empty: the Compute Engine default service account.",
        ),
        MACHINE,
    ] = ""
    image: Annotated[
        str,
        BeforeValidator(with_digest),
        Field(
            pattern=r"^$|^[^\s@]+@sha256:[0-9a-f]{64}$",
            title="Image",
            description="The project's image that the TPU's machine runs, with its digest: "
            "REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME@sha256:… Empty: the machine of a Cloud TPU "
            "installs the packages; gke needs an image.",
        ),
        MACHINE,
    ] = ""
    gke_cluster: Annotated[
        str,
        Field(
            pattern=r"^$|^projects/[^/\s]+/locations/[^/\s]+/clusters/[^/\s]+$",
            title="GKE cluster",
            description="projects/PROJECT/locations/LOCATION/clusters/NAME",
        ),
        MACHINE,
    ] = ""
    gke_namespace: Annotated[
        str,
        Field(
            pattern=KUBERNETES_NAME,
            max_length=63,
            title="GKE namespace",
            description="Namespace of the jobs.",
        ),
        MACHINE,
    ] = "default"
    gke_queue: Annotated[
        str,
        Field(
            pattern=rf"^$|{KUBERNETES_NAME}",
            max_length=63,
            title="Kueue queue",
            description="Local queue of Kueue in the namespace. Empty: without Kueue, the job starts as "
            "soon as there are nodes.",
        ),
        MACHINE,
    ] = ""
    gke_service_account: Annotated[
        str,
        Field(
            pattern=KUBERNETES_NAME,
            max_length=63,
            title="Kubernetes service account",
            description="Account of the pods. It needs read and write access to the bucket, by Workload "
            "Identity.",
        ),
        MACHINE,
    ] = "default"
    queueing_hours: Annotated[
        float,
        Field(gt=0, title="Queueing timeout", description="Hours to wait for a TPU in each zone."),
        MACHINE,
    ] = 4.0
    stock_out_hours: Annotated[
        float,
        Field(
            gt=0,
            le=24 * 7,
            title="Wait after a stock-out",
            description="Hours until the training is tried again if no zone has a TPU. Meanwhile no worker "
            "is held, and no TPU requested.",
        ),
        MACHINE,
    ] = 1.0
    booting_hours: Annotated[
        float,
        Field(gt=0, title="Boot timeout", description="Hours from the grant to the first heartbeat."),
        MACHINE,
    ] = 1.0
    running_hours: Annotated[
        float,
        Field(
            gt=0,
            le=24 * 90,
            title="Training timeout",
            description="Hours of training, on all TPUs together. Training then saves a checkpoint and "
            "stops.",
        ),
        MACHINE,
    ] = 168.0
    heartbeat_minutes: Annotated[
        float,
        Field(
            gt=0,
            title="Heartbeat timeout",
            description="Minutes without a heartbeat after which a TPU is replaced.",
        ),
        MACHINE,
    ] = 15.0
    max_preemptions: Annotated[
        int,
        Field(ge=0, title="Preemption budget", description="Number of lost TPUs to replace."),
        MACHINE,
    ] = 20
    max_cost: Annotated[
        float | None,
        Field(
            gt=0,
            title="Cost limit",
            description="US dollars. Training saves a checkpoint and stops when the estimated cost exceeds "
            "it.",
        ),
        MACHINE,
    ] = None
    approval_above: Annotated[
        float | None,
        Field(
            gt=0,
            title="Approval above",
            description="US dollars. A person must approve a training in Airflow if the upper end of its "
            "estimate is above it, before a TPU is created. Empty: no approval. A run can lower the "
            "deployment's value, and not raise it.",
        ),
        MACHINE,
    ] = None
    approval_hours: Annotated[
        float,
        Field(
            gt=0,
            le=24 * 90,
            title="Hours to approve the training",
            description="Hours to wait for an answer; without one, the run fails, and no TPU was created.",
        ),
        MACHINE,
    ] = 72.0
    chip_hour_price: Annotated[
        float | None,
        Field(
            gt=0,
            title="Price per chip-hour",
            description="US dollars. Empty: the list price, see docs/cloud-tpu.md.",
        ),
        MACHINE,
    ] = None
    share_of_peak: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Share of the peak",
            description="Share of the chips' peak that the model's matrix products reach, for estimates of "
            "hours and cost. 0.4 is that of large products in a BERT; a training's log says its own, all "
            "waiting included, as the share of peak.",
        ),
        MACHINE,
    ] = 0.4
    poll_seconds: Annotated[
        float,
        Field(
            gt=0,
            title="Polling interval",
            description="Seconds between two polls of the TPU and its reports.",
        ),
        MACHINE,
    ] = 30.0

    def __post_init__(self) -> None:
        if (self.provisioning == "reserved") != bool(self.reservation):
            raise ValueError("set both provisioning `reserved` and a reservation, or neither")
        if len(set(self.zones)) != len(self.zones):
            raise ValueError("zones: duplicate zone")
        missing = [name for name in ("image", "gke_cluster") if not getattr(self, name)]
        if self.machine == "gke" and missing:
            raise ValueError(f"machine `gke` needs {' and '.join(missing)}")
        if self.machine == "cloud_tpu" and self.accelerator_type.startswith(("tpu", "nvidia-")):
            raise ValueError(f"Cloud TPU has no {self.accelerator_type}: set machine to gke")
