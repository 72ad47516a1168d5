"""The emulated Cloud TPU API on the wire: gRPC, with google-cloud-tpu's own v2alpha1 messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qarib_tasks.emulators.access import has_token
from qarib_tasks.emulators.cloud_tpu.catalog import (
    RESOURCE_EXHAUSTED,
    RUNTIME_VERSIONS,
    SLICES,
    UNAVAILABLE,
    UNIMPLEMENTED,
    ZONES,
    ApiError,
    check_zone,
    not_found,
)
from qarib_tasks.emulators.cloud_tpu.node_calls import NodeCalls
from qarib_tasks.emulators.cloud_tpu.nodes import Nodes
from qarib_tasks.emulators.cloud_tpu.queued_resources import QueuedResources
from qarib_tasks.emulators.cloud_tpu.state import (
    Operation,
    State,
    id_of,
    in_parent,
    page,
    split_parent,
    zone_of,
)
from qarib_tasks.emulators.cloud_tpu.vm import PROJECT_NUMBER

if TYPE_CHECKING:
    import grpc  # type: ignore[import-untyped,unused-ignore]

TPU = "google.cloud.tpu.v2alpha1.Tpu"
OPERATIONS = "google.longrunning.Operations"
LOCATIONS = "google.cloud.location.Locations"
_STATUS_DETAILS = "grpc-status-details-bin"
_READS = (
    "GetNode",
    "ListNodes",
    "GetQueuedResource",
    "ListQueuedResources",
    "GetAcceleratorType",
    "ListAcceleratorTypes",
    "GetRuntimeVersion",
    "ListRuntimeVersions",
    "ListReservations",
    "GetGuestAttributes",
    "GenerateServiceIdentity",
    "ListOperations",
    "DeleteOperation",
    "CancelOperation",
    "ListLocations",
    "GetLocation",
)
# Messages of the fault `api_error`, by google.rpc.Code.
_API_ERRORS = {
    RESOURCE_EXHAUSTED: "Quota exceeded for quota metric '{method} requests' and limit 'Maximum number of "
    "{method} requests per minute' of service 'tpu.googleapis.com'",
    UNAVAILABLE: "Internal error. Please try again",
}


class Api:
    """The service without gRPC: takes a request, and returns a message or raises an `ApiError`.

    Attributes:
        calls: number of calls by method, for tests.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes = Nodes(state)
        self.queue = QueuedResources(state, self.nodes)
        self.node_calls = NodeCalls(state, self.nodes, self.queue)
        self.calls: dict[str, int] = {}

    def tick(self) -> None:
        """Run the actions that are due."""
        self.state.faults.refresh()
        self.state.timeline.run_due()
        self.nodes.tick()

    def call(self, method: str, request: Any) -> Any:
        """Handle one call.

        Raises:
            ApiError: the service refuses the call, or a fault makes it fail.
        """
        self.tick()
        self.calls[method] = self.calls.get(method, 0) + 1
        resource = getattr(request, "name", "") or getattr(request, "parent", "")
        error = self.state.faults.api_error(method, id_of(resource), zone_of(resource))
        if error is None:
            return self._handlers()[method](request)
        code, fault = error
        text = _API_ERRORS.get(code, "Internal error encountered.").format(method=method)
        if fault.after_effect:
            self._handlers()[method](request)
        raise ApiError(code, text)

    def _handlers(self) -> Mapping[str, Callable[[Any], Any]]:
        calls = self.node_calls
        starts: dict[str, Callable[[Any], Operation]] = {
            "CreateNode": calls.create,
            "DeleteNode": calls.delete,
            "StopNode": calls.stop,
            "StartNode": calls.start,
            "UpdateNode": calls.update,
            "PerformMaintenance": lambda r: calls.maintain(r.name, "PerformMaintenance"),
            "SimulateMaintenanceEvent": lambda r: calls.maintain(r.name, "SimulateMaintenanceEvent"),
            "CreateQueuedResource": self.queue.create,
            "DeleteQueuedResource": self.queue.delete,
            "ResetQueuedResource": lambda r: self.queue.reset(r.name),
            "PerformMaintenanceQueuedResource": self._maintain_queued,
            "GetOperation": lambda r: self.state.operations.get(r.name),
        }
        answers: dict[str, Callable[[Any], Any]] = {
            name: lambda r, start=start: self.state.operations.message(start(r))  # type: ignore[misc]
            for name, start in starts.items()
        }
        for name in _READS:
            answers[name] = getattr(self, "_" + re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower())
        return answers

    def _maintain_queued(self, request: Any) -> Operation:
        from google.cloud.tpu_v2alpha1 import QueuedResource

        record = self.queue.find(request.name)
        for name in request.node_names or record.node_names:
            self.node_calls.maintain(name, "PerformMaintenance")
        operation = self.state.operations.start(request.name, "maintenance")
        result = QueuedResource(record.resource)
        self.state.operations.finish(operation, "PerformMaintenanceQueuedResource", result)
        return operation

    def _get_node(self, request: Any) -> Any:
        return self.nodes.find(request.name).node

    def _list_nodes(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import ListNodesResponse

        found = [r.node for name, r in sorted(self.nodes.all.items()) if in_parent(name, request.parent)]
        nodes, token = page(found, request.page_size, request.page_token)
        return ListNodesResponse(nodes=nodes, next_page_token=token)

    def _get_queued_resource(self, request: Any) -> Any:
        return self.queue.find(request.name).resource

    def _list_queued_resources(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import ListQueuedResourcesResponse

        found = [r.resource for name, r in sorted(self.queue.all.items()) if in_parent(name, request.parent)]
        resources, token = page(found, request.page_size, request.page_token)
        return ListQueuedResourcesResponse(queued_resources=resources, next_page_token=token)

    def _accelerator_type(self, parent: str, name: str) -> Any:
        from google.cloud.tpu_v2alpha1 import AcceleratorType

        kind = SLICES[name]
        config = {"type_": kind.generation, "topology": kind.topology}
        return AcceleratorType(
            name=f"{parent}/acceleratorTypes/{name}", type_=name, accelerator_configs=[config]
        )

    def _get_accelerator_type(self, request: Any) -> Any:
        zone, name = zone_of(request.name), id_of(request.name)
        check_zone(zone)
        if name not in ZONES[zone]:
            raise not_found(request.name)
        return self._accelerator_type(request.name.rsplit("/", 2)[0], name)

    def _list_accelerator_types(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import ListAcceleratorTypesResponse

        _, zone = split_parent(request.parent)
        check_zone(zone)
        names, token = page(ZONES[zone], request.page_size, request.page_token)
        types = [self._accelerator_type(request.parent, name) for name in names]
        return ListAcceleratorTypesResponse(accelerator_types=types, next_page_token=token)

    def _get_runtime_version(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import RuntimeVersion

        check_zone(zone_of(request.name))
        if id_of(request.name) not in RUNTIME_VERSIONS:
            raise not_found(request.name)
        return RuntimeVersion(name=request.name, version=id_of(request.name))

    def _list_runtime_versions(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import ListRuntimeVersionsResponse

        check_zone(split_parent(request.parent)[1])
        names, token = page(RUNTIME_VERSIONS, request.page_size, request.page_token)
        versions = [{"name": f"{request.parent}/runtimeVersions/{n}", "version": n} for n in names]
        return ListRuntimeVersionsResponse(runtime_versions=versions, next_page_token=token)

    def _list_reservations(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import ListReservationsResponse

        return ListReservationsResponse()

    def _get_guest_attributes(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import GetGuestAttributesResponse

        record = self.nodes.find(request.name)
        found = []
        for worker, machine in enumerate(record.machines):
            if request.worker_ids and str(worker) not in request.worker_ids:
                continue
            items = [
                {"namespace": name.split("/")[0], "key": name.split("/")[1], "value": value}
                for name, value in sorted(machine.metadata.guest_attributes.items())
                if name.startswith(request.query_path)
            ]
            found.append({"query_path": request.query_path, "query_value": {"items": items}})
        return GetGuestAttributesResponse(guest_attributes=found)

    def _generate_service_identity(self, request: Any) -> Any:
        from google.cloud.tpu_v2alpha1 import GenerateServiceIdentityResponse

        email = f"service-{PROJECT_NUMBER}@gcp-sa-tpu.iam.gserviceaccount.com"
        return GenerateServiceIdentityResponse(identity={"email": email})

    def _list_operations(self, request: Any) -> Any:
        from google.longrunning import operations_pb2  # type: ignore[import-untyped,unused-ignore]

        operations = self.state.operations
        found, token = page(operations.list(request.name), request.page_size, request.page_token)
        messages = [operations.message(operation) for operation in found]
        return operations_pb2.ListOperationsResponse(operations=messages, next_page_token=token)

    def _delete_operation(self, request: Any) -> Any:
        from google.protobuf import empty_pb2

        self.state.operations.delete(request.name)
        return empty_pb2.Empty()

    def _cancel_operation(self, request: Any) -> Any:
        """Refuse to cancel an operation: no operation is known that can be canceled."""
        self.state.operations.get(request.name)
        raise ApiError(UNIMPLEMENTED, "The operation cannot be cancelled.")

    def _list_locations(self, request: Any) -> Any:
        from google.cloud.location import locations_pb2

        found = [{"name": f"{request.name}/locations/{zone}", "location_id": zone} for zone in sorted(ZONES)]
        locations, token = page(found, request.page_size, request.page_token)
        return locations_pb2.ListLocationsResponse(locations=locations, next_page_token=token)

    def _get_location(self, request: Any) -> Any:
        from google.cloud.location import locations_pb2

        if zone_of(request.name) not in ZONES:
            raise not_found(request.name)
        return locations_pb2.Location(name=request.name, location_id=zone_of(request.name))


def only_with(token: str) -> grpc.ServerInterceptor:
    """Return what refuses each call that does not have the token as its bearer token."""
    import grpc  # type: ignore[import-untyped,unused-ignore]

    def refuse(request: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "The Cloud TPU emulator needs its token")

    class OnlyWith(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            given = dict(details.invocation_metadata).get("authorization", "")
            if isinstance(given, str) and has_token(given, token):
                return continuation(details)
            return grpc.unary_unary_rpc_method_handler(refuse)

    return OnlyWith()


def handlers(api: Api) -> list[grpc.GenericRpcHandler]:
    """Return the gRPC services Tpu, Operations and Locations, for one port."""
    import grpc  # type: ignore[import-untyped,unused-ignore]
    from google.cloud import tpu_v2alpha1
    from google.cloud.location import locations_pb2
    from google.longrunning import operations_pb2

    names: dict[str, dict[str, Callable[[bytes], Any]]] = {TPU: {}, OPERATIONS: {}, LOCATIONS: {}}
    for method in api._handlers():
        for service, module in ((OPERATIONS, operations_pb2), (LOCATIONS, locations_pb2)):
            if hasattr(module, f"{method}Request"):
                names[service][method] = getattr(module, f"{method}Request").FromString
                break
        else:
            names[TPU][method] = getattr(tpu_v2alpha1, f"{method}Request").deserialize

    def handler(method: str, deserialize: Callable[[bytes], Any]) -> grpc.RpcMethodHandler:
        def answer(request: Any, context: grpc.ServicerContext) -> bytes:
            try:
                # Serialize while holding the lock: another thread may change the message later.
                with api.state.lock:
                    message = api.call(method, request)
                    serialize = getattr(type(message), "serialize", None)
                    return bytes(serialize(message) if serialize else message.SerializeToString())
            except ApiError as error:
                context.set_trailing_metadata(((_STATUS_DETAILS, error.status.SerializeToString()),))
                code = next(c for c in grpc.StatusCode if c.value[0] == error.code)
                context.abort(code, error.message)
                raise

        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=deserialize)

    return [
        grpc.method_handlers_generic_handler(
            service, {method: handler(method, deserialize) for method, deserialize in methods.items()}
        )
        for service, methods in names.items()
    ]
