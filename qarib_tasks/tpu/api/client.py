"""A client of the Cloud TPU API (v2alpha1) that handles the API's known faults.

No method waits for an operation's `result()`: Google's client cannot read that of a delete (it is Empty, not
the QueuedResource that the API promises), and that of a create may stay unfinished after the node works.
Only the answer to a Get counts.
"""

from __future__ import annotations

import logging
import os
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qarib_tasks.tpu.api.errors import (
    TpuConflictError,
    TpuError,
    TpuPermissionError,
    TpuRequestError,
    TpuStateError,
    explain,
    is_transient,
    of_failed,
    of_status,
)
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.api.service import QUEUED_STATES, Listed, Machines, Service

if TYPE_CHECKING:
    from google.cloud.tpu_v2alpha1 import Node, QueuedResource, TpuClient

log = logging.getLogger(__name__)

EMULATOR_ENVIRONMENT = "CLOUD_TPU_EMULATOR_HOST"
PROBLEM = "qarib/problem"  # Guest attribute.
_CALL_SECONDS = 60.0


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries of a call: a random part of `first` seconds, doubled each time up to `longest`.

    Attributes:
        within: seconds after which the call fails with the last error.
    """

    first: float = 1.0
    longest: float = 30.0
    within: float = 300.0


class CloudTpuClient(Service):
    """Queued resources and nodes of a project.

    Args:
        endpoint: `token@host:port` of an emulator, which is called in plaintext with this token as its only
            credentials; or an `https://` address instead of tpu.googleapis.com. The default is the
            environment variable CLOUD_TPU_EMULATOR_HOST, if it is set.
        credentials: of google-auth; the default is the machine's own.
        client_info: of google.api_core, named in the requests.

    Every method raises a `TpuError` if the API refuses the call or does not answer within `backoff.within`.
    """

    def __init__(
        self,
        project: str,
        *,
        endpoint: str | None = None,
        credentials: Any = None,
        client_info: Any = None,
        backoff: Backoff | None = None,
    ) -> None:
        from google.api_core.retry import Retry

        self.project = project
        backoff = backoff or Backoff()
        self._retry = Retry(
            predicate=is_transient,
            initial=backoff.first,
            maximum=backoff.longest,
            multiplier=2.0,
            timeout=backoff.within,
            on_error=lambda error: log.warning("Cloud TPU API: retrying after %s", error),
        )
        self.emulated = is_emulator(endpoint)
        self.api = _connect(_address(endpoint), credentials, client_info)

    def close(self) -> None:
        self.api.transport.close()

    def parent(self, zone: str) -> str:
        return f"projects/{self.project}/locations/{zone}"

    def create_queued_resource(self, request: TpuRequest) -> str | None:
        """Request a TPU, unless this request was already made.

        Returns:
            the name of the operation, which may end in an error (`operation_error`) much later; None if the
            resource exists: an earlier try of this or another process requested it.

        Raises:
            TpuConflictError: another resource has the name.
            TpuQuotaError: no quota. TpuRequestError: such as an unknown zone or type.
        """
        message = {
            "parent": self.parent(request.zone),
            "queued_resource_id": request.name,
            "queued_resource": request.message(self.project),
            "request_id": str(uuid.uuid4()),
        }
        try:
            operation = self._call("create_queued_resource", message, request.zone, request)
        except TpuConflictError:
            # The API can answer this although the call itself created the resource. The run's own is adopted.
            found = self.queued_resource(request.zone, request.name)
            if found is None or not _is_of(found, request):
                raise
            log.info("%s was already requested: adopted", request.name)
            return None
        return str(operation.operation.name)

    def queued_resource(self, zone: str, name: str) -> QueuedResource | None:
        """The queued resource of that name, or None."""
        full = f"{self.parent(zone)}/queuedResources/{name}"
        found: QueuedResource | None = self._find("get_queued_resource", full, zone)
        return found

    def node(self, zone: str, name: str) -> Node | None:
        """The node of that name; None if it does not exist, as before its queued resource is granted."""
        found: Node | None = self._find("get_node", f"{self.parent(zone)}/nodes/{name}", zone)
        return found

    def nodes_of(self, zone: str, resource: QueuedResource) -> dict[str, Node | None]:
        """Every node that a queued resource names, by its id."""
        return {str(s.node_id): self.node(zone, str(s.node_id)) for s in resource.tpu.node_spec}

    def queued_resources(
        self, zone: str = "-", labels: Mapping[str, str] | None = None
    ) -> list[QueuedResource]:
        """The queued resources of a zone (`-`: of all zones) whose first node has these labels."""
        found = self._list("list_queued_resources", zone)
        return [r for r in found if _has(_labels(r), labels or {})]

    def nodes(self, zone: str = "-", labels: Mapping[str, str] | None = None) -> list[Node]:
        """The nodes of a zone (`-`: of all zones) with these labels."""
        return [n for n in self._list("list_nodes", zone) if _has(n.labels, labels or {})]

    def operation_error(self, operation: str, *, zone: str, accelerator_type: str = "") -> TpuError | None:
        """The error that an operation ended with; None if it succeeded, still runs or no longer exists."""
        from google.longrunning import operations_pb2  # type: ignore[import-untyped,unused-ignore]

        try:
            message = self._call("get_operation", operations_pb2.GetOperationRequest(name=operation), zone)
        except TpuRequestError:
            return None
        if not message.HasField("error"):
            return None
        error = message.error
        return of_status(error.code, error.message, zone=zone, accelerator_type=accelerator_type)

    def delete_step(self, zone: str, name: str) -> bool:
        """Take the next step to delete a queued resource and its node. Call it until it returns True.

        The API can refuse a delete temporarily, can accept one without effect, and can keep the node.

        Returns:
            True once Get answers that neither the resource nor a node exists.
        """
        resource = self.queued_resource(zone, name)
        if resource is None:
            return self.delete_node_step(zone, name)
        state = resource.state.state.name
        # Google advises against a forced delete while the resource is being suspended.
        if state in ("DELETING", "SUSPENDING"):
            return False
        log.info("deleting %s in %s (state %s)", name, zone, state)
        request = {"name": resource.name, "force": True, "request_id": str(uuid.uuid4())}
        try:
            self._call("delete_queued_resource", request, zone, missing_is_fine=True)
        except (TpuStateError, TpuConflictError) as error:
            log.info("not yet: %s", error)
        return False

    def delete_node_step(self, zone: str, name: str) -> bool:
        """Take the next step to delete a node, as `delete_step` does for a queued resource."""
        node = self.node(zone, name)
        if node is None:
            return True
        if node.state.name != "DELETING":
            log.info("deleting the node %s in %s (state %s)", name, zone, node.state.name)
            try:
                self._call("delete_node", {"name": node.name}, zone, missing_is_fine=True)
            except (TpuStateError, TpuConflictError) as error:
                log.info("not yet: %s", error)
        return False

    def command(self, zone: str, name: str) -> str:
        """Return the command that deletes a queued resource."""
        names = f"{shlex.quote(name)} --zone={shlex.quote(zone)} --project={shlex.quote(self.project)}"
        return f"gcloud alpha compute tpus queued-resources delete {names} --force"

    def listed(self, labels: Mapping[str, str]) -> list[Listed]:
        """The queued resources of all zones with these labels, then the nodes."""
        found = [
            (str(one.name), str(one.state.state.name), _labels(one))
            for one in self.queued_resources(labels=labels)
        ]
        found += [
            (str(one.name), f"node {one.state.name}", dict(one.labels)) for one in self.nodes(labels=labels)
        ]
        return [
            Listed(zone=full.split("/")[3], name=full.split("/")[5], state=state, labels=own)
            for full, state, own in found
        ]

    def look(self, zone: str, name: str, operation: str | None = None, *, silent: bool = False) -> Machines:
        """The state of a queued resource and of its nodes."""
        resource = self.queued_resource(zone, name)
        if resource is None:
            return Machines()
        state = str(resource.state.state.name)
        error = of_failed(resource, zone=zone) if state == "FAILED" else None
        if state in QUEUED_STATES:
            error = self.operation_error(operation, zone=zone) if operation else None
            return Machines(state=state, error=error)
        found = self.nodes_of(zone, resource)
        nodes = [None if node is None else str(node.state.name) for node in found.values()]
        ready = bool(nodes) and set(nodes) == {"READY"}
        problem = self._problem(zone, list(found)) if silent and ready else ""
        return Machines(state=state, nodes=nodes, error=error, problem=problem)

    def _problem(self, zone: str, nodes: Sequence[str]) -> str:
        """What the machines report in their guest attributes when they cannot write to the bucket."""
        try:
            written = [
                attributes.get(PROBLEM, "")
                for node in nodes
                for attributes in self.guest_attributes(zone, node, PROBLEM)
            ]
        except TpuError:  # There are none yet.
            return ""
        return next((problem for problem in written if problem), "")

    def accelerator_types(self, zone: str) -> list[str]:
        return [str(kind.type_) for kind in self._list("list_accelerator_types", zone)]

    def runtime_versions(self, zone: str) -> list[str]:
        return [str(version.version) for version in self._list("list_runtime_versions", zone)]

    def check_offered(self, zone: str, accelerator_type: str, runtime_version: str) -> None:
        """Check that a zone offers the accelerator type and the runtime version.

        Raises:
            TpuRequestError: it does not offer one of them; the message lists what it offers.
        """
        offers = (
            ("accelerator type", accelerator_type, self.accelerator_types(zone)),
            ("runtime version", runtime_version, self.runtime_versions(zone)),
        )
        for what, wanted, offered in offers:
            if wanted not in offered:
                raise TpuRequestError(
                    f"the zone has no {what} {wanted}",
                    where=zone,
                    do=f"Use one of these: {', '.join(sorted(offered)) or '(none)'}",
                )

    def guest_attributes(self, zone: str, node: str, path: str = "") -> list[dict[str, str]]:
        """The guest attributes that each machine of a node has set, by `namespace/key`."""
        request = {"name": f"{self.parent(zone)}/nodes/{node}", "query_path": path}
        answer = self._call("get_guest_attributes", request, zone)
        return [
            {f"{item.namespace}/{item.key}": str(item.value) for item in machine.query_value.items}
            for machine in answer.guest_attributes
        ]

    def _find(self, method: str, name: str, zone: str) -> Any:
        return self._call(method, {"name": name}, zone, missing_is_fine=True)

    def _list(self, method: str, zone: str) -> list[Any]:
        from google.api_core.exceptions import GoogleAPIError

        try:
            pager = getattr(self.api, method)(
                request={"parent": self.parent(zone)}, retry=self._retry, timeout=_CALL_SECONDS
            )
            return list(pager)
        except GoogleAPIError as error:
            raise explain(error, zone=zone) from error

    def _call(
        self,
        method: str,
        request: Any,
        zone: str,
        asked: TpuRequest | None = None,
        *,
        missing_is_fine: bool = False,
    ) -> Any:
        """One call with retries; None if the resource is missing and `missing_is_fine`."""
        from google.api_core.exceptions import GoogleAPIError, NotFound

        try:
            return getattr(self.api, method)(request=request, retry=self._retry, timeout=_CALL_SECONDS)
        except NotFound as error:
            if missing_is_fine:
                return None
            raise explain(error, zone=zone) from error
        except GoogleAPIError as error:
            kind, name = (asked.accelerator_type, asked.name) if asked else ("", "")
            raise explain(error, zone=zone, accelerator_type=kind, name=name) from error


def is_emulator(endpoint: str | None) -> bool:
    """Whether a client with this endpoint calls an emulator. See `CloudTpuClient`."""
    address = _address(endpoint)
    return bool(address) and not address.startswith("https://")


def _address(endpoint: str | None) -> str:
    return endpoint or os.environ.get(EMULATOR_ENVIRONMENT, "")


def _connect(endpoint: str, credentials: Any, client_info: Any) -> TpuClient:
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.tpu_v2alpha1 import TpuClient
    from google.cloud.tpu_v2alpha1.services.tpu.transports import TpuGrpcTransport

    more = {"client_info": client_info} if client_info is not None else {}
    if endpoint and not endpoint.startswith("https://"):
        import grpc  # type: ignore[import-untyped,unused-ignore]

        token, _, target = endpoint.removeprefix("http://").rpartition("@")
        channel = grpc.insecure_channel(target)
        if token:
            channel = grpc.intercept_channel(channel, bearer(token))
        return TpuClient(transport=TpuGrpcTransport(channel=channel, **more), **more)
    options = {"api_endpoint": endpoint.removeprefix("https://")} if endpoint else None
    try:
        return TpuClient(credentials=credentials, client_options=options, **more)
    except GoogleAuthError as error:
        raise TpuPermissionError(
            f"no credentials for the Cloud TPU API: {error}",
            do=f"Set the connection's key, run `gcloud auth application-default login`, or set "
            f"{EMULATOR_ENVIRONMENT} to an emulator's token@host:port",
        ) from None


def bearer(token: str) -> Any:
    """What adds the token to each call. gRPC's own call credentials need an encrypted channel."""
    import grpc  # type: ignore[import-untyped,unused-ignore]

    class Bearer(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            metadata = [*(details.metadata or ()), ("authorization", f"Bearer {token}")]
            return continuation(details._replace(metadata=metadata), request)

    return Bearer()


def _labels(resource: Any) -> Mapping[str, str]:
    specs = resource.tpu.node_spec
    return dict(specs[0].node.labels) if specs else {}


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _is_of(resource: Any, request: TpuRequest) -> bool:
    """Whether a queued resource matches a request: by its labels, which name run and attempt.

    The label `expires` is ignored: an earlier try of the same request may have set an earlier time.
    """
    specs = resource.tpu.node_spec
    same_type = bool(specs) and specs[0].node.accelerator_type == request.accelerator_type
    wanted = {key: value for key, value in request.labels.items() if key != "expires"}
    return same_type and _has(_labels(resource), wanted)
