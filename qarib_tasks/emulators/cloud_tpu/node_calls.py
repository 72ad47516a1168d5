"""The calls of the emulated Cloud TPU API that change a node."""

from __future__ import annotations

from typing import Any

from qarib_tasks.emulators.cloud_tpu.catalog import (
    ALREADY_EXISTS,
    ApiError,
    bad_request,
    check_id,
    check_labels,
    check_metadata,
    check_node,
    check_zone,
    stock_out,
)
from qarib_tasks.emulators.cloud_tpu.nodes import NodeRecord, Nodes
from qarib_tasks.emulators.cloud_tpu.queued_resources import QueuedResources
from qarib_tasks.emulators.cloud_tpu.state import Operation, State, id_of, split_parent, zone_of

_UPDATABLE = ("description", "tags", "labels", "metadata")


class NodeCalls:
    """Handles the calls that change a node."""

    def __init__(self, state: State, nodes: Nodes, queue: QueuedResources) -> None:
        self.state = state
        self.nodes = nodes
        self.queue = queue

    def create(self, request: Any) -> Operation:
        """Handle CreateNode. A stock-out fails the operation, an exceeded quota fails the call."""
        _, zone = split_parent(request.parent)
        node_id, faults = request.node_id, self.state.faults
        check_zone(zone)
        if fault := faults.take_once("create_refused", node_id, zone, method="CreateNode"):
            raise ApiError(fault.code, fault.message)
        name = f"{request.parent}/nodes/{node_id}"
        if repeated := self.state.operations.repeated(name, request.request_id):
            return repeated
        check_id("node_id", node_id, strict=faults.behaviour.strict_ids)
        kind = check_node(zone, request.node)
        if name in self.nodes.all:
            raise ApiError(ALREADY_EXISTS, f"Resource '{name}' already exists")
        self.queue.check_quota(zone, kind, kind.chips)
        record = self.nodes.add(name, request.node, kind, spot=False)
        operation = self.state.operations.start(name, "create", request.request_id)
        error = None
        if faults.take("stock_out", node_id, zone):
            error = stock_out(zone)
        elif fault := faults.take("create_operation_fails", node_id, zone, method="CreateNode"):
            error = ApiError(fault.code, fault.message)
        if error is not None:
            self.nodes.later(
                record, self.state.delay("stock_out"), lambda: self._give_up(record, operation, error)
            )
        else:
            self.nodes.later(
                record,
                self.state.delay("node_creating"),
                lambda: self._ready(record, operation, "CreateNode"),
            )
        if faults.take_once("create_conflict", node_id, zone):
            raise ApiError(ALREADY_EXISTS, f"Resource '{name}' already exists")
        return operation

    def _give_up(self, record: NodeRecord, operation: Operation, error: ApiError) -> None:
        self.nodes.remove(record)
        self.state.operations.finish(operation, "CreateNode", error=error)

    def _ready(self, record: NodeRecord, operation: Operation, method: str) -> None:
        self.nodes.ready(record)
        self.state.operations.finish(operation, method, record.node)

    def delete(self, request: Any) -> Operation:
        record = self.nodes.find(request.name)
        operation = self.state.operations.start(record.name, "delete", request.request_id)
        self.nodes.lose(record, "DELETING")

        def end() -> None:
            if self.nodes.all.get(record.name) is record:
                self.nodes.remove(record)
                self.queue.node_deleted(record)
            self.state.operations.finish(operation, "DeleteNode")

        self.state.timeline.after(self.state.delay("node_deleting"), end)
        return operation

    def stop(self, request: Any) -> Operation:
        record = self.nodes.find(request.name)
        if record.state != "READY":
            raise self.state.wrong_state("stop", record.state)
        if record.kind.machines > 1:
            raise bad_request("stop is not supported for a node with several workers")
        operation = self.state.operations.start(record.name, "stop")
        self.nodes.lose(record, "STOPPING")

        def end() -> None:
            record.node.state = "STOPPED"
            self.state.operations.finish(operation, "StopNode", record.node)

        self.nodes.later(record, self.state.delay("node_stopping"), end)
        return operation

    def start(self, request: Any) -> Operation:
        record = self.nodes.find(request.name)
        if record.state != "STOPPED":
            raise self.state.wrong_state("start", record.state)
        operation = self.state.operations.start(record.name, "start")
        zone = zone_of(record.name)
        if self.state.faults.take_once("stock_out", id_of(record.name), zone):
            self.state.operations.finish(operation, "StartNode", error=stock_out(zone))
            return operation
        record.node.state = "STARTING"
        self.nodes.later(
            record, self.state.delay("node_creating"), lambda: self._ready(record, operation, "StartNode")
        )
        return operation

    def update(self, request: Any) -> Operation:
        """Handle UpdateNode. Machines see new metadata at once, a new startup script at the next boot."""
        record = self.nodes.find(request.node.name)
        if record.state != "READY":
            raise self.state.wrong_state("update", record.state)
        check_labels(request.node.labels)
        check_metadata(request.node.metadata)
        for path in request.update_mask.paths:
            if path not in _UPDATABLE:
                raise bad_request(f'The field "{path}" cannot be updated.')
            setattr(record.node, path, getattr(request.node, path))
        for machine in record.machines:
            values = {f"attributes/{key}": value for key, value in record.node.metadata.items()}
            machine.metadata.values |= {f"instance/{key}": value for key, value in values.items()}
            machine.startup_script = record.node.metadata.get("startup-script", "")
        operation = self.state.operations.start(record.name, "update")
        self.state.operations.finish(operation, "UpdateNode", record.node)
        return operation

    def maintain(self, name: str, method: str) -> Operation:
        """Handle PerformMaintenance and SimulateMaintenanceEvent; the real effect on a node is unknown."""
        record = self.nodes.find(name)
        if record.state != "READY":
            raise self.state.wrong_state("maintenance", record.state)
        operation = self.state.operations.start(name, "maintenance")
        seconds = self.state.delay("node_creating")
        self.nodes.maintain(record, self.state.delay("accepting"), seconds)
        self.state.operations.finish(operation, method, record.node)
        return operation
