"""A training on Cloud TPU as plain values: the request, the machines' work and the job's folder.

All objects of a job are below one gs:// folder:

    memory.json               the state of `lifecycle`, saved before each action for the next process
    <TPU>/worker-<n>.json     the newest report of a machine; worker-<n>.log its log (see `launch`)
    <TPU>/stop                asks the training to save and stop
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.layout import label_value
from qarib_tasks.machines.chips import hourly_price
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.api.service import Service
from qarib_tasks.tpu.follow import TpuRun
from qarib_tasks.tpu.gke.manifest import GkeRequest
from qarib_tasks.tpu.lifecycle import Limits, Memory
from qarib_tasks.tpu.machine.reports import BucketReports
from qarib_tasks.tpu.machine.startup import BucketFile, Launch, with_launch
from qarib_tasks.tpu.memory import JobMemory

MADE_BY = {"made-by": "qarib"}
# A machine deletes itself this long after its work has ended, unless the run has deleted it by then.
LINGER_SECONDS = 900.0
_EXPIRY = "%Y-%m-%d_%H-%M-%S"


@dataclass(frozen=True, kw_only=True)
class TpuJob:
    """Attributes:
    run_id: names the TPUs and is their label `run`; unique among the runs of every Airflow of the project.
    owner: their label `owner`.
    address: the job's folder, ending with a slash.
    arguments: for the machine's Python.
    files: downloaded to the machine in addition to wheel and requirements.
    progress: address of the training's progress.json.
    tensorboard: address of the folder of its event files.
    batch: examples per step, to estimate the remaining time.
    expected: the lower and the upper end of the examples per second that were estimated; none: not estimated.
    """

    run_id: str
    owner: str
    address: str
    tpu: TpuConfig
    arguments: tuple[str, ...]
    wheel: BucketFile
    requirements: BucketFile
    files: tuple[BucketFile, ...] = ()
    wheelhouse: BucketFile | None = None
    progress: str = ""
    tensorboard: str = ""
    batch: int = 1
    expected: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TpuJob:
        return from_dict(cls, values)

    @property
    def labels(self) -> dict[str, str]:
        """The labels that all TPUs of the run have."""
        return {**MADE_BY, "run": label_value(self.run_id)}

    @property
    def price(self) -> float:
        """US dollars per hour."""
        return hourly_price(self.tpu)

    @property
    def limits(self) -> Limits:
        tpu = self.tpu
        return Limits(
            queueing=tpu.queueing_hours * 3600,
            booting=tpu.booting_hours * 3600,
            running=tpu.running_hours * 3600,
            heartbeat=tpu.heartbeat_minutes * 60,
            max_preemptions=tpu.max_preemptions,
            price=self.price,
            max_cost=tpu.max_cost,
        )

    def request(self, memory: Memory, zone: str) -> TpuRequest | GkeRequest:
        """The request for a TPU: the same for the same memory, so repeating it creates nothing new."""
        tpu, limits = self.tpu, self.limits
        assert limits.running is not None
        lifetime = limits.queueing + limits.booting + limits.running + limits.stopping
        expires = datetime.fromtimestamp(memory.since, UTC) + timedelta(seconds=lifetime)
        labels = {
            **self.labels,
            "owner": label_value(self.owner),
            "attempt": str(memory.attempt),
            "expires": expires.strftime(_EXPIRY),
        }
        launch = Launch(
            name=memory.name,
            bucket=self.address.removeprefix("gs://").split("/")[0],
            reports=self.address,
            arguments=self.arguments,
            wheel=self.wheel,
            requirements=self.requirements,
            files=self.files,
            wheelhouse=self.wheelhouse,
            report_every=min(15.0, tpu.poll_seconds),
            expires=expires.timestamp(),
            linger=LINGER_SECONDS,
        )
        if tpu.machine == "gke":
            # Kubernetes, not the machine, deletes what has ended; and the image has all packages.
            launch = replace(launch, linger=None, wheelhouse=None)
            labels["model"] = label_value(self.address.rstrip("/").split("/")[-3])
            return GkeRequest(
                name=memory.name, zone=zone, tpu=tpu, launch=launch, labels=labels, deadline=lifetime
            )
        if tpu.image:
            launch = replace(launch, wheelhouse=None, image=tpu.image)
        request = TpuRequest(
            name=memory.name,
            zone=zone,
            accelerator_type=tpu.accelerator_type,
            runtime_version=tpu.runtime_version,
            tier=tpu.provisioning,
            labels=labels,
            metadata={"enable-guest-attributes": "TRUE"},
            description=f"qarib: {self.run_id}"[:512],
            service_account=tpu.service_account,
            network=tpu.network,
            subnetwork=tpu.subnetwork,
            external_ips=tpu.external_ips,
            valid_until=limits.queueing,
            reservation=tpu.reservation,
        )
        return with_launch(request, launch)

    def run(
        self, client: Service, storage: Any = None, save: Callable[[Memory], None] | None = None
    ) -> TpuRun:
        """The lifecycle of the job's TPUs.

        Args:
            storage: a `google.cloud.storage.Client`.
            save: `save` of the `JobMemory` that loaded the memory; without it no other process may use the
                job.
        """
        return TpuRun(
            client=client,
            training=BucketReports(self.address, storage),
            request=self.request,
            zones=self.tpu.zones,
            limits=self.limits,
            save=save or self.memory(storage).save,
        )

    def memory(self, storage: Any = None) -> JobMemory:
        """What the job keeps between polls.

        Args:
            storage: a `google.cloud.storage.Client`.
        """
        return JobMemory(self.address, storage, run_id=self.run_id, zones=len(self.tpu.zones))

    def zone(self, memory: Memory) -> str:
        return self.tpu.zones[memory.zone]


def expiry(labels: Mapping[str, str]) -> datetime | None:
    """When a TPU with these labels expires; None if its label is missing or not a date."""
    try:
        return datetime.strptime(labels.get("expires", ""), _EXPIRY).replace(tzinfo=UTC)
    except ValueError:
        return None
