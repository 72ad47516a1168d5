"""For the tests of the lifecycle: services, their clients, and heartbeats as machines write them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.follow import TpuRun
from qarib_tasks.tpu.gke.client import GkeClient, emulator_api
from qarib_tasks.tpu.gke.manifest import GkeRequest, object_name
from qarib_tasks.tpu.lifecycle import Limits, Memory
from qarib_tasks.tpu.machine.startup import BucketFile, Launch
from qarib_tasks.tpu.observation import Heartbeat
from tests.support.kubernetes.stand_in import StandIn

ZONES = ("us-west4-a", "us-central1-a")
POLL = 15.0
MEMORY = TypeAdapter(Memory)
LIMITS = Limits(queueing=600, booting=300, heartbeat=120, stopping=60, deleting=600)
BACKOFF = Backoff(0.001, 0.002, 30)
IMAGE = f"us-docker.pkg.dev/p/r/qarib@sha256:{'0' * 64}"


@dataclass
class Bench(ABC):
    """A service, a client, and the training's heartbeats as files that a machine would write.

    Attributes:
        emulator: the service.
    """

    emulator: Any
    clock: ManualClock
    client: Any
    folder: Path
    limits: Limits = field(default_factory=lambda: LIMITS)
    zones: tuple[str, ...] = ZONES
    saved: list[str] = field(default_factory=list)
    beats: int = 0

    @abstractmethod
    def request(self, memory: Memory, zone: str) -> Any: ...

    @abstractmethod
    def advance(self, seconds: float) -> None: ...

    @property
    @abstractmethod
    def ids(self) -> list[str]:
        """What was requested and exists."""

    @property
    @abstractmethod
    def billed(self) -> list[float]:
        """Seconds of each machine."""

    @property
    @abstractmethod
    def nothing_is_left(self) -> bool: ...

    def id_of(self, memory: Memory) -> str:
        return memory.name

    def strike(self, memory: Memory, kind: str, **values: str) -> None:
        self.emulator.strike(self.id_of(memory), kind=kind, **values)

    def add_fault(self, kind: str, **values: Any) -> None:
        self.emulator.add_fault(kind=kind, **values)

    def reason(self, loss: str, reasons: Mapping[str, str]) -> str:
        return reasons[loss]

    def heartbeat(self, name: str) -> Heartbeat | None:
        path = self.folder / f"{name}.json"
        return Heartbeat(**json.loads(path.read_text())) if path.exists() else None

    def stop(self, name: str) -> None:
        (self.folder / f"{name}.stop").touch()

    def beat(self, memory: Memory, **values: str) -> None:
        """The training on this attempt's TPU says something."""
        self.beats += 1
        text = json.dumps({"name": memory.name, "mark": str(self.beats), **values})
        (self.folder / f"{memory.name}.json").write_text(text)

    def run(self) -> TpuRun:
        return TpuRun(
            client=self.client,
            training=self,
            request=self.request,
            zones=self.zones,
            limits=self.limits,
            save=lambda memory: self.saved.append(json.dumps(memory.to_dict())),
        )

    def until(self, memory: Memory, phase: str, *, beating: bool = False, looks: int = 400) -> Memory:
        """Look every quarter of a minute; each look by a process that knows no more than what was saved."""
        for _ in range(looks):
            memory = self.run().step(memory, self.clock())
            memory = MEMORY.validate_json(self.saved[-1])
            if memory.phase == phase:
                return memory
            if memory.phase in ("succeeded", "failed"):
                raise AssertionError(f"{memory.phase}, not {phase}: {memory.history}")
            if (beating or memory.phase == "booting") and self.ready(memory):
                self.beat(memory)
            self.advance(POLL)
        raise AssertionError(f"still {memory.phase}, not {phase}: {memory.history}")

    def ready(self, memory: Memory) -> bool:
        nodes = self.client.look(self.zones[memory.zone], memory.name).nodes
        return bool(nodes) and set(nodes) == {"READY"}


class CloudTpuBench(Bench):
    """The emulator of Cloud TPU."""

    def request(self, memory: Memory, zone: str) -> TpuRequest:
        return TpuRequest(
            name=memory.name,
            zone=zone,
            accelerator_type="v5litepod-4",
            runtime_version="v2-alpha-tpuv5-lite",
            labels={"run": "r1", "attempt": memory.name},
        )

    def advance(self, seconds: float) -> None:
        self.emulator.advance(seconds)

    @property
    def ids(self) -> list[str]:
        return list(self.emulator.queued_resource_ids)

    @property
    def billed(self) -> list[float]:
        return [bill.seconds for bill in self.emulator.bills()]

    @property
    def nothing_is_left(self) -> bool:
        return not self.emulator.queued_resource_ids and not self.emulator.node_ids


class GkeBench(Bench):
    """The stand-in for a cluster, without processes."""

    def request(self, memory: Memory, zone: str) -> GkeRequest:
        return GkeRequest(
            name=memory.name,
            zone=zone,
            tpu=TpuConfig(
                machine="gke", gke_cluster="projects/p/locations/l/clusters/c", image=IMAGE, gke_queue="q"
            ),
            launch=launch(memory.name),
            labels={"made-by": "qarib", "run": "r1", "attempt": str(memory.attempt)},
            deadline=3600.0,
        )

    def advance(self, seconds: float) -> None:
        self.clock.now += seconds
        self.emulator.sync()

    @property
    def ids(self) -> list[str]:
        return sorted(self.emulator.objects)

    @property
    def billed(self) -> list[float]:
        pods = [pod for pod in self.emulator.pods.values() if pod.placed is not None and pod.ended is None]
        return [*self.emulator.bills, *(self.clock() - pod.placed for pod in pods)]

    @property
    def nothing_is_left(self) -> bool:
        return not self.emulator.objects and not self.emulator.pods

    def id_of(self, memory: Memory) -> str:
        return object_name(memory.name)

    def strike(self, memory: Memory, kind: str, **values: str) -> None:
        assert kind in ("preempt", "vanish"), f"a cluster has no {kind}"
        super().strike(memory, kind, **values)

    def add_fault(self, kind: str, **values: Any) -> None:
        own = {"queue_for_ever": "stock_out", "create_refused": "forbidden"}.get(kind, kind)
        assert own in ("stock_out", "forbidden", "quota", "api_error", "delete_again"), (
            f"a cluster has no {kind}"
        )
        super().add_fault(own, **values)

    def reason(self, loss: str, reasons: Mapping[str, str]) -> str:
        # A Job whose pods are gone has failed; Kubernetes deletes the object at once, and then its pods.
        own = {
            "vanished": "resource is SUSPENDED",
            "suspended": "node is PREEMPTED",
            "deleted by hand": "not found",
        }
        return own.get(loss, reasons[loss])


def launch(name: str) -> Launch:
    """A launch that no machine runs."""
    file = BucketFile("launch/x/x.whl", "0" * 64)
    return Launch(
        name=name,
        bucket="b",
        reports="gs://b/models/m/tpu/run/",
        arguments=("-m", "qarib_tasks.cli", "train"),
        wheel=file,
        requirements=file,
    )


@contextmanager
def on_cloud_tpu(folder: Path) -> Iterator[Bench]:
    clock = ManualClock()
    with TpuEmulator(folder / "tpu", clock=clock) as emulator:
        client = CloudTpuClient("test", endpoint=emulator.endpoint, backoff=BACKOFF)
        yield CloudTpuBench(emulator, clock, client, folder)
        client.close()


@contextmanager
def on_gke(folder: Path) -> Iterator[Bench]:
    clock = ManualClock()
    with StandIn(folder, clock) as cluster:
        client = GkeClient(emulator_api(cluster.endpoint), "default", emulated=True, backoff=BACKOFF)
        yield GkeBench(cluster, clock, client, folder)


BENCHES = {"cloud_tpu": on_cloud_tpu, "gke": on_gke}
