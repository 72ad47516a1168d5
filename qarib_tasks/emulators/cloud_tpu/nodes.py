"""Nodes of the emulated Cloud TPU service: slices with their machines, faults and bills."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qarib_tasks.emulators.cloud_tpu.catalog import Slice, not_found
from qarib_tasks.emulators.cloud_tpu.faults import Fault
from qarib_tasks.emulators.cloud_tpu.state import Bill, State, id_of, zone_of
from qarib_tasks.emulators.cloud_tpu.vm import MACHINE, PROJECT_NUMBER, Machine

PUBSUB_SCOPE = "https://www.googleapis.com/auth/pubsub"


@dataclass
class NodeRecord:
    """A node.

    Attributes:
        node: google.cloud.tpu_v2alpha1.Node.
        plan: number of the current plan; actions of earlier plans are canceled.
        ready_since: start of the time that is not yet in the bill, in seconds since 1970.
        booted: when the machines last started, in seconds since 1970.
    """

    node: Any
    kind: Slice
    number: int
    bill: Bill
    machines: list[Machine] = field(default_factory=list)
    plan: int = 0
    ready_since: float | None = None
    booted: float | None = None

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def state(self) -> str:
        return str(self.node.state.name)


class Nodes:
    """The store of nodes.

    Attributes:
        preempted: called with each preempted node.
        machine: the class of the workers.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.machine: type[Machine] = Machine
        self.all: dict[str, NodeRecord] = {}
        self.bills: list[Bill] = []
        self.preempted: Callable[[NodeRecord], None] = lambda record: None

    def find(self, name: str) -> NodeRecord:
        if name not in self.all:
            raise not_found(name)
        return self.all[name]

    def add(self, name: str, node: Any, kind: Slice, *, spot: bool) -> NodeRecord:
        """Add a node in state CREATING."""
        from google.cloud.tpu_v2alpha1 import Node

        node = Node(node)
        node.name, node.create_time, node.state = name, self.state.timeline.time, Node.State.CREATING
        node.health = Node.Health.HEALTH_UNSPECIFIED
        node.api_version = Node.ApiVersion.V2_ALPHA1
        node.network_config.network = node.network_config.network or "default"
        node.network_config.subnetwork = node.network_config.subnetwork or "default"
        account = node.service_account
        account.email = account.email or f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com"
        account.scope = [*(account.scope or ["https://www.googleapis.com/auth/cloud-platform"]), PUBSUB_SCOPE]
        node.scheduling_config.spot = node.scheduling_config.spot or spot
        node.accelerator_config.type_ = kind.generation
        node.accelerator_config.topology = kind.topology
        bill = Bill(name, node.accelerator_type, zone_of(name), dict(node.labels))
        self.bills.append(bill)
        record = NodeRecord(node, kind, len(self.bills), bill)
        node.id = record.number
        self.all[name] = record
        return record

    def later(self, record: NodeRecord, seconds: float, action: Callable[[], None]) -> None:
        """Schedule an action for a node; it is canceled if the node is deleted or its plan changes."""
        plan = record.plan

        def act() -> None:
            if self.all.get(record.name) is record and record.plan == plan:
                action()

        self.state.timeline.after(seconds, act)

    def ready(self, record: NodeRecord) -> None:
        """Make the node READY and boot its machines."""
        record.plan += 1
        node = record.node
        node.state, node.health = "READY", "HEALTHY"
        node.upcoming_maintenance = None
        record.ready_since = self.state.timeline.now
        faults = self.state.faults
        late = faults.take("endpoints_late", id_of(record.name), zone_of(record.name))
        if late:
            self.later(record, late.after, lambda: self._show_endpoints(record))
        else:
            self._show_endpoints(record)
        if not record.machines:
            self._make_machines(record)
        record.booted = self.state.timeline.now
        for worker, machine in enumerate(record.machines):
            seconds = self.state.delay("booting") + worker * self.state.delay("between_machines")
            if seconds:
                self.later(record, seconds, machine.boot)
            else:
                machine.boot()
        for index, fault in faults.on_machines(id_of(record.name), zone_of(record.name)):
            if not fault.waits_for_output:
                self.later(record, fault.after, lambda i=index, f=fault: self._strike(record, i, f))  # type: ignore[misc]

    def lose(self, record: NodeRecord, state: str) -> None:
        """Turn the machines off; the node still exists, in the given state."""
        record.plan += 1
        self._stop_bill(record)
        record.booted = None
        record.node.state = state
        for machine in record.machines:
            machine.power_off()

    def remove(self, record: NodeRecord) -> None:
        """Delete the node."""
        self.lose(record, "DELETING")
        for machine in record.machines:
            machine.destroy()
        self.all.pop(record.name, None)

    def preempt(self, record: NodeRecord) -> None:
        self.lose(record, "PREEMPTED")
        self.preempted(record)

    def maintain(self, record: NodeRecord, notice: float, lasting: float | None) -> None:
        """After `notice` seconds, turn the machines off for `lasting` seconds, then boot them again."""
        node = record.node
        node.upcoming_maintenance = {"type_": "UNSCHEDULED", "maintenance_status": "PENDING"}
        for machine in record.machines:
            machine.metadata.set(maintenance_event="TERMINATE_ON_HOST_MAINTENANCE")

        def begin() -> None:
            self.lose(record, "REPAIRING")
            node.health = "UNHEALTHY_MAINTENANCE"
            node.upcoming_maintenance.maintenance_status = "ONGOING"
            if lasting is not None:
                self.later(record, lasting, lambda: self.ready(record))

        self.later(record, notice, begin)

    def reboot(self, record: NodeRecord) -> None:
        for machine in record.machines:
            machine.boot()

    def tick(self) -> None:
        """Apply the faults that the machines' output triggers."""
        for record in list(self.all.values()):
            if record.booted is None:
                continue
            output: str | None = None
            for index, fault in self.state.faults.on_machines(id_of(record.name), zone_of(record.name)):
                if fault.waits_for_output:
                    output = "\n".join(m.output() for m in record.machines) if output is None else output
                    if fault.is_triggered_by(output):
                        self._strike(record, index, fault)

    def _strike(self, record: NodeRecord, index: int, fault: Fault) -> None:
        if record.booted is None or not self.state.faults.strike(index, f"{record.name} {record.number}"):
            return
        self.apply(record, fault)

    def apply(self, record: NodeRecord, fault: Fault) -> None:
        """Apply a fault to the machines now."""
        if fault.kind == "preempt" and fault.notice:
            for machine in record.machines:
                machine.notice()
            self.later(record, fault.notice, lambda: self.preempt(record))
        elif fault.kind == "preempt":
            self.preempt(record)
        elif fault.kind == "vanish":
            self.remove(record)
        elif fault.kind == "node_state":
            self.lose(record, fault.state)
        elif fault.kind == "maintenance":
            self.maintain(record, fault.notice, fault.lasting)
        elif fault.kind == "freeze":
            for machine in record.machines:
                machine.freeze()

    def charged(self, record: NodeRecord) -> None:
        """Update the bill."""
        if record.ready_since is not None:
            record.bill.seconds += self.state.timeline.now - record.ready_since
            record.ready_since = self.state.timeline.now

    def _stop_bill(self, record: NodeRecord) -> None:
        self.charged(record)
        record.ready_since = None

    def _addresses(self, record: NodeRecord) -> list[str]:
        """Return loopback addresses, unique to the node: the workers of a slice can reach each other."""
        high, low = divmod(record.number, 250)
        return [f"127.{high + 1}.{low + 1}.{worker + 2}" for worker in range(record.kind.machines)]

    def _show_endpoints(self, record: NodeRecord) -> None:
        external = record.node.network_config.enable_external_ips
        record.node.network_endpoints = [
            {"ip_address": a, "port": 8470, **({"access_config": {"external_ip": a}} if external else {})}
            for a in self._addresses(record)
        ]

    def _make_machines(self, record: NodeRecord) -> None:
        node, zone, name = record.node, zone_of(record.name), id_of(record.name)
        project = record.name.split("/")[1]
        common = {
            "project/project-id": project,
            "project/numeric-project-id": PROJECT_NUMBER,
            "instance/zone": f"projects/{PROJECT_NUMBER}/zones/{zone}",
            "instance/description": name,
            "instance/scheduling/preemptible": str(bool(node.scheduling_config.spot)).upper(),
            "instance/preempted": "FALSE",
            "instance/maintenance-event": "NONE",
            "instance/service-accounts/default/email": node.service_account.email,
            "instance/service-accounts/default/scopes": "\n".join(node.service_account.scope),
            "instance/service-accounts/default/token": json.dumps(
                {"access_token": self.state.token, "expires_in": 3599, "token_type": "Bearer"}
            ),
        }
        endpoints = ",".join(f"unknown:unknown:{address}" for address in self._addresses(record))
        for worker in range(record.kind.machines):
            tpu_env = {
                "ACCELERATOR_TYPE": node.accelerator_type,
                "CHIPS_PER_HOST_BOUNDS": record.kind.bounds,
                "CONSUMER_PROJECT_ID": project,
                "CONSUMER_PROJECT_NUMBER": PROJECT_NUMBER,
                "NODE_ID": name,
                "PREEMPTIBLE": str(bool(node.scheduling_config.spot)).lower(),
                "RUNTIME_VERSION": node.runtime_version,
                "TOPOLOGY": record.kind.topology,
                "WORKER_ID": str(worker),
                "ZONE": zone,
            }
            attributes = {
                **node.metadata,
                "accelerator-type": node.accelerator_type,
                "agent-worker-number": str(worker),
                "worker-network-endpoints": endpoints,
                "instance-id": name,
                "tpu-env": "".join(f"{key}: '{value}'\n" for key, value in tpu_env.items()),
            }
            host = f"t1v-n-{record.number:08x}-w-{worker}"
            values = {f"instance/attributes/{key}": value for key, value in attributes.items()}
            values |= common | {"instance/name": host, "instance/hostname": f"{host}.{zone}.c.{project}"}
            values["instance/id"] = str(1000 * record.number + worker)
            record.machines.append(
                self.machine(
                    self.state.folder / f"{name}-{record.number}" / f"{MACHINE}{worker}",
                    node.metadata.get("startup-script", ""),
                    values,
                    self.state.environment,
                )
            )
