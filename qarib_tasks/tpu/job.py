"""A training on Cloud TPU as plain values: what is asked for, what the machines do, where it is written down.

Everything of a job lies below one gs:// folder:

    memory.json               what `lifecycle` knows, saved before each action: whoever takes over reads it
    <TPU>/worker-<n>.json     the newest report of a machine; worker-<n>.log its log (see `launch`)
    <TPU>/stop                asks the training to save and end
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qarib_tasks.config.run import TpuConfig, from_dict, to_dict
from qarib_tasks.errors import ChangedError, CorruptError
from qarib_tasks.machines.chips import chips_of
from qarib_tasks.storage.files import Bucket
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.request import TpuRequest, label_value
from qarib_tasks.tpu.follow import TpuRun
from qarib_tasks.tpu.lifecycle import Limits, Memory
from qarib_tasks.tpu.machine.reports import BucketReports
from qarib_tasks.tpu.machine.startup import BucketFile, Launch, with_launch

MADE_BY = {"made-by": "qarib"}
# A machine whose work is over deletes itself when nobody else has by then.
LINGER_SECONDS = 900.0
_EXPIRY = "%Y-%m-%d_%H-%M-%S"


@dataclass(frozen=True, kw_only=True)
class TpuJob:
    """Attributes:
    run_id: names the TPUs, and is their label `run`: another one for each run of any Airflow of the project.
    owner: their label `owner`.
    address: the job's folder, ending with a slash.
    arguments: of the machine's Python.
    files: to fetch besides wheel and requirements.
    progress: address of the training's progress.json. tensorboard: of the folder of its event files.
    batch: examples a step, for the time left.
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

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TpuJob:
        return from_dict(cls, values)

    @property
    def labels(self) -> dict[str, str]:
        """Of all TPUs of the run."""
        return {**MADE_BY, "run": label_value(self.run_id)}

    @property
    def price(self) -> float:
        """US dollars an hour."""
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

    def request(self, memory: Memory, zone: str) -> TpuRequest:
        """What to ask for: the same for the same memory, so that asking again makes nothing twice."""
        tpu, limits = self.tpu, self.limits
        assert limits.running is not None
        lifetime = limits.queueing + limits.booting + limits.running + limits.stopping
        expires = datetime.fromtimestamp(memory.since, UTC) + timedelta(seconds=lifetime)
        request = TpuRequest(
            name=memory.name,
            zone=zone,
            accelerator_type=tpu.accelerator_type,
            runtime_version=tpu.runtime_version,
            tier=tpu.provisioning,
            labels={
                **self.labels,
                "owner": label_value(self.owner),
                "attempt": str(memory.attempt),
                "expires": expires.strftime(_EXPIRY),
            },
            metadata={"enable-guest-attributes": "TRUE"},
            description=f"qarib: {self.run_id}"[:512],
            service_account=tpu.service_account,
            network=tpu.network,
            subnetwork=tpu.subnetwork,
            external_ips=tpu.external_ips,
            valid_until=limits.queueing,
            reservation=tpu.reservation,
        )
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
        return with_launch(request, launch)

    def run(
        self, client: CloudTpuClient, storage: Any = None, save: Callable[[Memory], None] | None = None
    ) -> TpuRun:
        """The lifecycle of the job's TPUs.

        Args:
            storage: a `google.cloud.storage.Client`.
            save: that of the `JobMemory` which the memory is loaded by; without it nobody else may be at it.
        """
        return TpuRun(
            client=client,
            training=BucketReports(self.address, storage),
            request=self.request,
            zones=self.tpu.zones,
            limits=self.limits,
            save=save or JobMemory(self.address, storage).save,
        )

    def zone(self, memory: Memory) -> str:
        return self.tpu.zones[memory.zone]


class JobMemory:
    """`memory.json` of a job's folder.

    Two may be at it at once, a try of the task and the triggerer of the try before: what was made of a memory
    that is out of date is never saved.
    """

    def __init__(self, address: str, client: Any = None) -> None:
        self.address = address
        self._bucket = Bucket(address, client)
        self._saved: str | None = None
        self._generation: int | None = None

    def load(self) -> Memory | None:
        """None before the first `save`.

        Raises:
            CorruptError: the object is no memory.
        """
        self._saved, self._generation = self._bucket.read_version("memory.json")
        if self._saved is None:
            return None
        try:
            return Memory.from_dict(json.loads(self._saved))
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptError(
                f"not a TPU's memory: {error}",
                where=f"{self.address}memory.json",
                do="Delete the run's TPUs (labels made-by=qarib), then this object",
            ) from None

    def save(self, memory: Memory) -> None:
        """Write it, unless it is what `load` found or this has written.

        Raises:
            ChangedError: somebody else has saved one since this was loaded.
        """
        text = json.dumps(memory.to_dict(), indent=1) + "\n"
        if text != self._saved:
            self._generation = self._bucket.write_text("memory.json", text, over=self._generation)
            self._saved = text

    def change(self, change: Callable[[Memory | None], Memory | None]) -> Memory | None:
        """Load, change and save it; once more where somebody else saves one meanwhile.

        Args:
            change: makes a memory of the one that is there, or None to leave it.

        Returns:
            what was saved, or None.
        """
        while True:
            memory = change(self.load())
            try:
                if memory is not None:
                    self.save(memory)
                return memory
            except ChangedError:
                continue


def hourly_price(tpu: TpuConfig) -> float:
    """US dollars an hour of the whole TPU: the setting's, or the table's.

    Raises:
        ConfigError: the accelerator type is not in the table.
    """
    number, chip = chips_of(tpu.accelerator_type)
    listed = chip.spot if tpu.provisioning == "spot" else chip.on_demand
    return number * (tpu.chip_hour_price or listed)


def expiry(labels: Mapping[str, str]) -> datetime | None:
    """When a TPU with these labels should be gone; None for one that says nothing, or nothing legible."""
    try:
        return datetime.strptime(labels.get("expires", ""), _EXPIRY).replace(tzinfo=UTC)
    except ValueError:
        return None
