"""For the tests of the emulator: what they ask of it, through Google's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from google.api_core import exceptions as google_errors
from google.cloud import tpu_v2alpha1 as tpu
from google.cloud.tpu_v2alpha1.services.tpu.transports import TpuGrpcTransport
from google.longrunning import operations_pb2

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.tpu.api.client import bearer

ZONE = "projects/test/locations/us-west4-a"
QUEUED, NODE = f"{ZONE}/queuedResources/a", f"{ZONE}/nodes/a"


def connect(endpoint: str) -> Iterator[tpu.TpuClient]:
    token, _, address = endpoint.rpartition("@")
    with grpc.insecure_channel(address) as channel:
        transport = TpuGrpcTransport(channel=grpc.intercept_channel(channel, bearer(token)))
        yield tpu.TpuClient(transport=transport)


def switch(emulator: TpuEmulator, **values: Any) -> None:
    emulator.state.faults.behaviour = Behaviour(**values)


def resource(parent: str = ZONE, **changes: Any) -> tpu.QueuedResource:
    node = {
        "accelerator_type": "v5litepod-4",
        "runtime_version": "v2-alpha-tpuv5-lite",
        "labels": {"run": "r1"},
    }
    spec = {"parent": parent, "node_id": "a", "node": node}
    top = {"spot": {}, **{k: v for k, v in changes.items() if k in ("queueing_policy",)}}
    spec |= {k: v for k, v in changes.items() if k in ("node_id", "multi_node_params", "parent")}
    node |= {k: v for k, v in changes.items() if k not in spec and k not in top}
    if "multi_node_params" in changes:
        del spec["node_id"]
    return tpu.QueuedResource(tpu={"node_spec": [spec]}, **top)


def create(client: tpu.TpuClient, name: str = "a", parent: str = ZONE, **changes: Any) -> Any:
    changes = changes if "multi_node_params" in changes else {"node_id": name, **changes}
    return client.create_queued_resource(
        parent=parent, queued_resource_id=name, queued_resource=resource(parent, **changes)
    )


def state(client: tpu.TpuClient, name: str = QUEUED) -> str:
    answer = client.get_queued_resource(name=name).state
    return f"{answer.state.name} {answer.state_initiator.name}"


def node_state(client: tpu.TpuClient, name: str = NODE) -> str:
    try:
        return str(client.get_node(name=name).state.name)
    except google_errors.NotFound:
        return "NOT_FOUND"


def delete(client: tpu.TpuClient, name: str = QUEUED, *, force: bool = False) -> Any:
    request = tpu.DeleteQueuedResourceRequest(name=name, force=force)
    return client.delete_queued_resource(request=request)


def is_done(client: tpu.TpuClient, operation: Any) -> bool:
    """Of a delete's operation, of which even `operation.done()` cannot read an Empty."""
    request = operations_pb2.GetOperationRequest(name=operation.operation.name)
    return bool(client.get_operation(request).done)
