"""The settings of where a training runs; `config.py` joins them with those of the steps.

They change neither what a run makes nor what it is called: no `dataset_id` and no `model_id` depends on them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import neither
from qarib_tasks.config.loading import STRICT

Zone = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")]


MACHINE = neither("changes where and how long a training runs, not what it computes")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TpuConfig:
    """Where step 5 runs, and what that may cost."""

    machine: Annotated[
        Literal["cloud_tpu", "local"],
        Field(
            title="Machine",
            description="Where it trains. cloud_tpu makes a Cloud TPU for the training and removes it; "
            "local is the machine of the Airflow worker.",
        ),
        MACHINE,
    ] = "cloud_tpu"
    accelerator_type: Annotated[
        str,
        Field(
            pattern=r"^v[0-9]+[a-z]*-[0-9]+$",
            title="TPU",
            description="Accelerator type, such as v5litepod-8 or v6e-8.",
        ),
        MACHINE,
    ] = "v5litepod-8"
    runtime_version: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.-]+$",
            title="Image",
            description="Runtime version: v2-alpha-tpuv5-lite for v5e, v2-alpha-tpuv6e for v6e.",
        ),
        MACHINE,
    ] = "v2-alpha-tpuv5-lite"
    zones: Annotated[
        tuple[Zone, ...],
        Field(min_length=1, title="Zones", description="Asked one after another."),
        MACHINE,
    ] = ("us-central1-a", "us-west4-a", "europe-west4-b")
    provisioning: Annotated[
        Literal["spot", "on_demand", "reserved"],
        Field(
            title="Provisioning",
            description="Spot costs a fraction and may be taken away at any time: the training then goes on "
            "from its last checkpoint on the next one.",
        ),
        MACHINE,
    ] = "spot"
    reservation: Annotated[
        str,
        Field(
            pattern=r"^$|^(projects|folders|organizations)/[^/]+/locations/[^/]+/reservations/[^/]+$",
            title="Reservation",
            description="Full name of the reservation to take the TPU from.",
        ),
        MACHINE,
    ] = ""
    network: Annotated[
        str,
        Field(title="Network", description="Empty: default."),
        MACHINE,
    ] = ""
    subnetwork: Annotated[
        str,
        Field(title="Subnetwork", description="Empty: default."),
        MACHINE,
    ] = ""
    external_ips: Annotated[
        bool,
        Field(
            title="External addresses",
            description="Without them the subnetwork needs Private Google Access, and the deployment a "
            "wheelhouse (see docs/cloud-tpu.md).",
        ),
        MACHINE,
    ] = True
    service_account: Annotated[
        str,
        Field(
            pattern=r"^$|^[^@\s]+@[^@\s]+$",
            title="Service account",
            description="E-mail of the account that the TPU's machines run as; it must read and write the "
            "bucket. Empty: the project's default Compute account.",
        ),
        MACHINE,
    ] = ""
    queueing_hours: Annotated[
        float,
        Field(gt=0, title="Longest wait", description="Hours to wait for a TPU in each zone."),
        MACHINE,
    ] = 4.0
    booting_hours: Annotated[
        float,
        Field(gt=0, title="Longest start", description="Hours from the grant to the first heartbeat."),
        MACHINE,
    ] = 1.0
    running_hours: Annotated[
        float,
        Field(
            gt=0,
            le=24 * 90,
            title="Longest training",
            description="Hours of training, on all TPUs together; then it saves and ends.",
        ),
        MACHINE,
    ] = 168.0
    heartbeat_minutes: Annotated[
        float,
        Field(
            gt=0,
            title="Heartbeat",
            description="Minutes without a sign of life after which a TPU is replaced.",
        ),
        MACHINE,
    ] = 15.0
    max_preemptions: Annotated[
        int,
        Field(ge=0, title="Most preemptions", description="Lost TPUs that are replaced."),
        MACHINE,
    ] = 20
    max_cost: Annotated[
        float | None,
        Field(
            gt=0,
            title="Most to spend",
            description="US dollars. The training saves and ends when the estimate passes it.",
        ),
        MACHINE,
    ] = None
    chip_hour_price: Annotated[
        float | None,
        Field(
            gt=0,
            title="Price of a chip-hour",
            description="US dollars; empty: the table's, see docs/cloud-tpu.md.",
        ),
        MACHINE,
    ] = None
    poll_seconds: Annotated[
        float,
        Field(gt=0, title="Seconds between looks", description="At the TPU, and at its reports."),
        MACHINE,
    ] = 30.0

    def __post_init__(self) -> None:
        if (self.provisioning == "reserved") != bool(self.reservation):
            raise ValueError("provisioning `reserved` and a reservation belong together")
        if len(set(self.zones)) != len(self.zones):
            raise ValueError("a zone is named twice")
