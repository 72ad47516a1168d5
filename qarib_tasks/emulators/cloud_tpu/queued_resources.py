"""Queued resources of the emulated Cloud TPU service, from the request to the deletion.

CREATING → ACCEPTED → WAITING_FOR_RESOURCES → PROVISIONING → ACTIVE → SUSPENDING → SUSPENDED
                                ↓                   ↓                                  ↓
                              FAILED        SUSPENDING → FAILED                    DELETING → gone
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qarib_tasks.emulators.cloud_tpu.catalog import (
    ALREADY_EXISTS,
    ApiError,
    Slice,
    bad_request,
    check_id,
    check_node,
    check_zone,
    not_found,
    quota_exceeded,
    stock_out,
)
from qarib_tasks.emulators.cloud_tpu.nodes import NodeRecord, Nodes
from qarib_tasks.emulators.cloud_tpu.state import Operation, State, id_of, split_parent, zone_of

DEADLINE_EXCEEDED = 4
_RESTING = ("ACCEPTED", "FAILED", "SUSPENDED")


@dataclass
class QueuedRecord:
    """A queued resource.

    Attributes:
        resource: google.cloud.tpu_v2alpha1.QueuedResource, with a node_spec for each of its nodes.
        plan: number of the current plan; actions of earlier plans are canceled.
    """

    resource: Any
    kind: Slice
    plan: int = 0

    @property
    def name(self) -> str:
        return str(self.resource.name)

    @property
    def state(self) -> str:
        return str(self.resource.state.state.name)

    @property
    def zone(self) -> str:
        return zone_of(self.name)

    @property
    def node_names(self) -> list[str]:
        return [f"{spec.parent}/nodes/{spec.node_id}" for spec in self.resource.tpu.node_spec]

    @property
    def chips(self) -> int:
        return self.kind.chips * len(self.resource.tpu.node_spec)


class QueuedResources:
    """The store of queued resources, and the API's calls that change it."""

    def __init__(self, state: State, nodes: Nodes) -> None:
        self.state = state
        self.nodes = nodes
        self.all: dict[str, QueuedRecord] = {}
        self._taken_until: dict[str, float] = {}
        nodes.preempted = self._preempted

    def find(self, name: str) -> QueuedRecord:
        if name not in self.all:
            raise not_found(name)
        return self.all[name]

    def create(self, request: Any) -> Operation:
        """Handle CreateQueuedResource. Its operation ends when the request is accepted, not when granted."""
        _, zone = split_parent(request.parent)
        new_id, faults = request.queued_resource_id, self.state.faults
        check_zone(zone)
        if fault := faults.take_once("create_refused", new_id, zone, method="CreateQueuedResource"):
            raise ApiError(fault.code, fault.message)
        name = f"{request.parent}/queuedResources/{new_id}"
        if repeated := self.state.operations.repeated(name, request.request_id):
            return repeated
        strict = faults.behaviour.strict_ids
        check_id("queued_resource_id", new_id, strict=strict)
        if name in self.all or self._taken_until.get(name, 0) > self.state.timeline.now:
            raise ApiError(ALREADY_EXISTS, f"Resource '{name}' already exists")
        resource, kind = self._checked(request.queued_resource, request.parent, new_id)
        record = QueuedRecord(resource, kind)
        resource.name, resource.create_time = name, self.state.timeline.time
        for node_name, spec in zip(record.node_names, resource.tpu.node_spec, strict=True):
            check_id("node_id", spec.node_id, strict=strict)
            if node_name in self.nodes.all or any(node_name in r.node_names for r in self.all.values()):
                raise ApiError(ALREADY_EXISTS, f"Resource '{node_name}' already exists")
        self.check_quota(zone, kind, record.chips)
        self.all[name] = record
        self._set(record, "CREATING")
        operation = self.state.operations.start(name, "create", request.request_id)
        self._later(record, self.state.delay("accepting"), lambda: self._accept(record, operation))
        if faults.take_once("create_conflict", new_id, zone):
            raise ApiError(ALREADY_EXISTS, f"Resource '{name}' already exists")
        return operation

    def _checked(self, resource: Any, parent: str, new_id: str) -> tuple[Any, Slice]:
        """Return a request with its defaults and a node_spec for each node, and the slice of each node."""
        from google.cloud.tpu_v2alpha1 import QueuedResource

        specs = list(resource.tpu.node_spec)
        if len(specs) != 1:
            raise bad_request(f"Exactly one node_spec is required, the request has {len(specs)}.")
        spec = specs[0]
        if spec.parent != parent:
            raise bad_request(f'The parent "{spec.parent}" of the node_spec is not "{parent}".')
        if bool(spec.node_id) == bool(spec.multi_node_params):
            raise bad_request("Exactly one of node_id and multi_node_params is required.")
        if self.state.faults.behaviour.refuse_scheduling_config and spec.node.scheduling_config:
            raise bad_request("scheduling_config is not supported in a queued resource.")
        kind = check_node(zone_of(parent), spec.node)
        resource = QueuedResource(resource)
        if spec.multi_node_params:
            count = spec.multi_node_params.node_count
            if count < 2:
                raise bad_request("node_count must be greater than 1.")
            prefix = spec.multi_node_params.node_id_prefix or new_id
            node = {"parent": parent, "node": spec.node}
            resource.tpu.node_spec = [{**node, "node_id": f"{prefix}-{i}"} for i in range(count)]
            for one in resource.tpu.node_spec:
                one.node.multislice_node = True
        return resource, kind

    def check_quota(self, zone: str, kind: Slice, chips: int) -> None:
        """Check the quota. Everything that is not deleted uses chips, even if queued, failed or suspended.

        Raises:
            ApiError: the request exceeds the quota.
        """
        limit = self.state.faults.chips(zone)
        if limit is None:
            return
        queued = [r for r in self.all.values() if r.zone == zone and r.kind.generation == kind.generation]
        own = {name for record in self.all.values() for name in record.node_names}
        alone = [n for n in self.nodes.all.values() if n.name not in own and zone_of(n.name) == zone]
        used = sum(r.chips for r in queued)
        used += sum(n.kind.chips for n in alone if n.kind.generation == kind.generation)
        if used + chips > limit:
            raise quota_exceeded(kind, zone, limit)

    def _set(self, record: QueuedRecord, state: str, initiator: str = "SERVICE", **data: Any) -> None:
        """Enter a state, and cancel all planned actions."""
        record.plan += 1
        name = "" if state == "WAITING_FOR_RESOURCES" else f"{state.lower()}_data"
        record.resource.state = {"state": state, "state_initiator": initiator}
        if name:
            setattr(record.resource.state, name, data)

    def _later(self, record: QueuedRecord, seconds: float, action: Callable[[], None]) -> None:
        plan = record.plan

        def act() -> None:
            if self.all.get(record.name) is record and record.plan == plan:
                action()

        self.state.timeline.after(seconds, act)

    def _accept(self, record: QueuedRecord, operation: Operation) -> None:
        faults, new_id = self.state.faults, id_of(record.name)
        self._set(record, "ACCEPTED")
        fault = faults.take("create_operation_fails", new_id, record.zone, method="CreateQueuedResource")
        if fault:
            error = ApiError(fault.code, fault.message)
            self._set(record, "FAILED", error=error.status)
            return self.state.operations.finish(operation, "CreateQueuedResource", error=error)
        self.state.operations.finish(operation, "CreateQueuedResource", record.resource)
        self._set(record, "WAITING_FOR_RESOURCES")
        if late := faults.take("late_grant", new_id, record.zone):
            return self._later(record, late.after, lambda: self._provision(record))
        waiting = self.state.delay("waiting")
        earliest, latest = self._valid(record)
        if faults.take("stock_out", new_id, record.zone):
            error = stock_out(record.zone)
            self._later(record, waiting, lambda: self._set(record, "FAILED", error=error.status))
        elif not faults.take("queue_for_ever", new_id, record.zone):
            waiting = max(waiting, earliest)
            if latest is None or waiting <= latest:
                self._later(record, waiting, lambda: self._provision(record))
        if latest is not None and faults.behaviour.expiry == "failed":
            text = "The request was not granted within its allocation interval"
            expired = ApiError(DEADLINE_EXCEEDED, text)
            self._later(record, latest, lambda: self._expire(record, expired))

    def _expire(self, record: QueuedRecord, error: ApiError) -> None:
        if record.state == "WAITING_FOR_RESOURCES":
            self._set(record, "FAILED", error=error.status)

    def _valid(self, record: QueuedRecord) -> tuple[float, float | None]:
        """Return the interval in which the request can be granted, in seconds from now."""
        policy, now = record.resource.queueing_policy, self.state.timeline.now
        earliest, latest = 0.0, None
        if "valid_after_duration" in policy:
            earliest = policy.valid_after_duration.total_seconds()
        elif "valid_after_time" in policy:
            earliest = policy.valid_after_time.timestamp() - now
        elif "valid_until_duration" in policy:
            latest = policy.valid_until_duration.total_seconds()
        elif "valid_until_time" in policy:
            latest = policy.valid_until_time.timestamp() - now
        elif "valid_interval" in policy:
            interval = policy.valid_interval
            earliest, latest = interval.start_time.seconds - now, interval.end_time.seconds - now
        return earliest, None if latest is None else max(0.0, latest)

    def _provision(self, record: QueuedRecord) -> None:
        self._set(record, "PROVISIONING")
        spot = bool("spot" in record.resource or "best_effort" in record.resource)
        for name, spec in zip(record.node_names, record.resource.tpu.node_spec, strict=True):
            node = self.nodes.add(name, spec.node, record.kind, spot=spot).node
            node.queued_resource = record.name
        fault = self.state.faults.take("provisioning_fails", id_of(record.name), record.zone)
        if fault is None:
            return self._later(record, self.state.delay("provisioning"), lambda: self._activate(record))
        error = ApiError(fault.code, fault.message)

        def withdraw() -> None:
            self._set(record, "SUSPENDING")
            self._remove_nodes(record)
            fail = lambda: self._set(record, "FAILED", error=error.status)  # noqa: E731
            self._later(record, self.state.delay("suspending"), fail)

        self._later(record, self.state.delay("provisioning"), withdraw)

    def _activate(self, record: QueuedRecord) -> None:
        self._set(record, "ACTIVE")
        for node in self._living(record):
            self.nodes.ready(node)

    def _living(self, record: QueuedRecord) -> list[NodeRecord]:
        return [self.nodes.all[name] for name in record.node_names if name in self.nodes.all]

    def _remove_nodes(self, record: QueuedRecord) -> None:
        for node in self._living(record):
            self.nodes.remove(node)

    def _of(self, node: NodeRecord) -> QueuedRecord | None:
        return self.all.get(str(node.node.queued_resource))

    def _preempted(self, node: NodeRecord) -> None:
        """Suspend the queued resource of a preempted node: all its nodes are PREEMPTED, then deleted."""
        record = self._of(node)
        if record is None or record.state != "ACTIVE":
            return
        for other in self._living(record):
            self.nodes.lose(other, "PREEMPTED")
        self._suspend(record, "SERVICE", after=self.state.delay("preempted_visible"))

    def node_deleted(self, node: NodeRecord) -> None:
        """Suspend the queued resource of a node that the user deleted, if it has no other nodes."""
        record = self._of(node)
        if record and record.state in ("ACTIVE", "PROVISIONING") and not self._living(record):
            self._suspend(record, "USER")

    def _suspend(self, record: QueuedRecord, initiator: str, after: float = 0.0) -> None:
        self._set(record, "SUSPENDING", initiator)
        self._later(record, after, lambda: self._remove_nodes(record))
        seconds = max(after, self.state.delay("suspending"))

        def suspended() -> None:
            self._remove_nodes(record)
            self._set(record, "SUSPENDED", initiator)

        self._later(record, seconds, suspended)

    def delete(self, request: Any) -> Operation:
        """Handle DeleteQueuedResource. By default, the client library cannot convert the response."""
        record = self.find(request.name)
        if repeated := self.state.operations.repeated(f"{request.name} delete", request.request_id):
            return repeated
        may_rest = record.state in _RESTING or not self._living(record)
        if (
            record.state == "WAITING_FOR_RESOURCES"
            and self.state.faults.behaviour.refuse_delete_while_waiting
        ):
            may_rest = False
        if not request.force and not may_rest:
            raise self.state.wrong_state("delete", record.state)
        operation = self.state.operations.start(record.name, "delete", request.request_id)
        again = self.state.faults.take_once("delete_again", id_of(record.name), record.zone)
        if record.state in ("SUSPENDING", "DELETING"):
            # A delete in SUSPENDING is accepted but has no effect: the caller must repeat it.
            done = lambda: self._end_delete(operation, record)  # noqa: E731
            self.state.timeline.after(self.state.delay("deleting"), done)
            return operation
        kept = record.state if record.state == "FAILED" else "SUSPENDED"
        error = record.resource.state.failed_data.error if kept == "FAILED" else None
        living = self._living(record)
        self._set(record, "DELETING", "USER")
        for node in living:
            self.nodes.lose(node, "DELETING")

        def end() -> None:
            if again:
                data = {"error": error} if error is not None else {}
                self._set(record, kept, "USER", **data)
            else:
                del self.all[record.name]
                taken = self.state.timeline.now + self.state.delay("id_taken_after_delete")
                self._taken_until[record.name] = taken
            self._end_delete(operation, record)

        seconds = self.state.delay("deleting")
        if living:
            seconds += self.state.delay("node_deleting")
            self._later(record, self.state.delay("node_deleting"), lambda: self._remove_nodes(record))
        self._later(record, seconds, end)
        return operation

    def _end_delete(self, operation: Operation, record: QueuedRecord) -> None:
        empty = self.state.faults.behaviour.delete_response == "empty"
        self.state.operations.finish(operation, "DeleteQueuedResource", None if empty else record.resource)

    def reset(self, name: str) -> Operation:
        """Handle ResetQueuedResource: the machines boot again; the real effect is unknown."""
        record = self.find(name)
        if record.state != "ACTIVE":
            raise self.state.wrong_state("reset", record.state)
        for node in self._living(record):
            self.nodes.reboot(node)
        operation = self.state.operations.start(name, "reset")
        self.state.operations.finish(operation, "ResetQueuedResource", record.resource)
        return operation
