"""Jobs and JobSets of a cluster as the lifecycle sees machines, over the Kubernetes API.

What Kubernetes says is given in the words of Cloud TPU, so the lifecycle decides the same.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from qarib_tasks.tpu.api.client import Backoff
from qarib_tasks.tpu.api.errors import (
    TpuConflictError,
    TpuError,
    TpuPermissionError,
    TpuQuotaError,
    TpuRequestError,
    TpuUnavailableError,
)
from qarib_tasks.tpu.api.service import Listed, Machines, Service
from qarib_tasks.tpu.gke.manifest import GkeRequest, label_values, manifest, object_name

log = logging.getLogger(__name__)
EMULATOR_ENVIRONMENT = "GKE_EMULATOR_HOST"
_CALL_SECONDS = 60.0
# Group, version, and name in addresses.
_JOBS, _JOBSETS = ("batch", "v1", "jobs"), ("jobset.x-k8s.io", "v1alpha2", "jobsets")
# Of a container. Each other node would cost money for the same.
_NEVER_STARTS = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_KINDS = {"Job": _JOBS, "JobSet": _JOBSETS}


class GkeClient(Service):
    """Trainings in a namespace of a cluster.

    Args:
        api: a `kubernetes.client.ApiClient`, such as the hook of Google's provider makes.
        namespace: of the jobs.
    """

    def __init__(
        self, api: Any, namespace: str, *, emulated: bool = False, backoff: Backoff | None = None
    ) -> None:
        from google.api_core.retry import Retry
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.namespace = namespace
        self.emulated = emulated
        self._api = api
        self._objects, self._core = CustomObjectsApi(api), CoreV1Api(api)
        backoff = backoff or Backoff()
        self._retry = Retry(
            predicate=_is_transient,
            initial=backoff.first,
            maximum=backoff.longest,
            multiplier=2.0,
            timeout=backoff.within,
            on_error=lambda error: log.warning("Kubernetes API: retrying after %s", _text(error)),
        )

    def create_queued_resource(self, request: GkeRequest) -> str | None:
        """Create the request's Job or JobSet."""
        body = manifest(request)
        name, labels = body["metadata"]["name"], body["metadata"]["labels"]
        try:
            self._call(
                self._objects.create_namespaced_custom_object,
                *self._of(_KINDS[body["kind"]]),
                body,
                name_=name,
            )
        except TpuConflictError:
            # An earlier try can have created it, or this call before its answer was lost.
            found = self._object(name)
            if found is None or _is_deleted(found) or not _same(found["metadata"].get("labels", {}), labels):
                raise
            log.info("%s was already requested: adopted", name)
        return None

    def look(self, zone: str, name: str, operation: str | None = None, *, silent: bool = False) -> Machines:
        """The state of a Job or JobSet and of its pods."""
        found = self._object(object_name(name))
        if found is None:
            return Machines()
        if _is_deleted(found):
            return Machines(state="DELETING")
        spec = found["spec"]
        job = spec if found["kind"] == "Job" else spec["replicatedJobs"][0]["template"]["spec"]
        pods = self._pods(object_name(name))
        placed = [pod for pod in pods if pod["spec"].get("nodeName")]
        if _is_finished(found):
            if not pods:
                return Machines(state="SUSPENDED")
        elif spec.get("suspend") or len(placed) < job["completions"]:
            return Machines(state="WAITING_FOR_RESOURCES")
        problem = next(filter(None, map(_trouble, pods)), "") if silent else ""
        return Machines(state="ACTIVE", nodes=[_node_state(pod) for pod in pods], problem=problem)

    def delete_step(self, zone: str, name: str) -> bool:
        """Delete the Job or JobSet, then pods that are left: they hold the nodes."""
        name = object_name(name)
        left = False
        for kind in _KINDS.values():
            if found := self._get(kind, name):
                left = True
                if not _is_deleted(found):
                    log.info("deleting %s %s", found["kind"], name)
                    delete = self._objects.delete_namespaced_custom_object
                    self._call(delete, *self._of(kind), name, propagation_policy="Background", name_=name)
        if left:
            return False
        pods = self._pods(name)
        for pod in pods:
            if not _is_deleted(pod):
                own = pod["metadata"]["name"]
                self._call(self._core.delete_namespaced_pod, own, self.namespace, name_=own)
        return not pods

    def listed(self, labels: Mapping[str, str]) -> list[Listed]:
        """The Jobs and JobSets with these labels, then pods."""
        selector = ",".join(f"{key}={value}" for key, value in label_values(labels).items())
        found: list[Any] = []
        for kind in _KINDS.values():
            listing = self._objects.list_namespaced_custom_object
            answer = self._call(listing, *self._of(kind), label_selector=selector)
            found += answer["items"] if answer else []
        found += self._items(selector)
        listed = []
        for one in found:
            own = one["metadata"].get("labels", {})
            name = own.get("name", one["metadata"]["name"])
            state = "deleting" if _is_deleted(one) else "finished" if _is_finished(one) else "exists"
            listed.append(Listed(zone=own.get("zone", "unknown"), name=name, state=state, labels=own))
        return listed

    def command(self, zone: str, name: str) -> str:
        """Return the command that deletes a Job or JobSet, and what is left of it."""
        selector = shlex.quote(f"name={name}")
        return f"kubectl --namespace={self.namespace} delete jobs,jobsets,pods --selector={selector}"

    def _of(self, kind: tuple[str, str, str]) -> tuple[str, str, str, str]:
        group, version, plural = kind
        return group, version, self.namespace, plural

    def _object(self, name: str) -> dict[str, Any] | None:
        return self._get(_JOBS, name) or self._get(_JOBSETS, name)

    def _get(self, kind: tuple[str, str, str], name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._call(
            self._objects.get_namespaced_custom_object, *self._of(kind), name, name_=name
        )
        return found

    def _pods(self, name: str) -> list[dict[str, Any]]:
        return self._items(f"name={name},made-by=qarib")

    def _items(self, selector: str) -> list[dict[str, Any]]:
        answer = self._call(self._core.list_namespaced_pod, self.namespace, label_selector=selector)
        return list(self._api.sanitize_for_serialization(answer)["items"]) if answer else []

    def _call(self, method: Callable[..., Any], *arguments: Any, name_: str = "", **options: Any) -> Any:
        """One call with retries; None if there is no such object."""
        from kubernetes.client.exceptions import ApiException

        def once() -> Any:
            return method(*arguments, _request_timeout=_CALL_SECONDS, **options)

        try:
            return self._retry(once)()
        except Exception as error:
            cause = error.__cause__ or error
            reading = method.__name__.startswith(("get", "list", "delete"))
            if isinstance(cause, ApiException) and cause.status == 404 and reading:
                return None
            raise self._explained(cause, name_) from error

    def _explained(self, error: BaseException, name: str) -> TpuError:
        status, text = getattr(error, "status", None), _text(error)
        where = f"{name} in the namespace {self.namespace}" if name else f"the namespace {self.namespace}"
        if status == 409:
            return TpuConflictError(text, where=where, do="Delete that object, or use another name")
        if status == 403 and "exceeded quota" in text:
            return TpuQuotaError(text, where=where, do="Raise the namespace's ResourceQuota")
        if status in (401, 403):
            return TpuPermissionError(
                text,
                where=where,
                do="Grant the connection's account roles/container.developer, and check the cluster's name",
            )
        if status in (400, 404, 422):
            return TpuRequestError(
                text,
                where=where,
                do="Check that the namespace exists and, for several hosts, that JobSet is installed",
            )
        return TpuUnavailableError(text, where=where, do="Try again later")


def emulator_api(endpoint: str | None = None) -> Any:
    """A `kubernetes.client.ApiClient` for a stand-in at `token@host:port`, called in plaintext.

    Args:
        endpoint: by default that in the environment variable GKE_EMULATOR_HOST.
    """
    from kubernetes.client import ApiClient, Configuration

    token, _, address = (endpoint or os.environ[EMULATOR_ENVIRONMENT]).rpartition("@")
    configuration = Configuration(host=f"http://{address}")
    return ApiClient(configuration, header_name="Authorization", header_value=f"Bearer {token}")


def _is_deleted(found: Mapping[str, Any]) -> bool:
    return bool(found["metadata"].get("deletionTimestamp"))


def _is_finished(found: Mapping[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(
        one["type"] in ("Failed", "Complete", "Completed") and one["status"] == "True" for one in conditions
    )


def _node_state(pod: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    disrupted = any(
        one["type"] == "DisruptionTarget" and one["status"] == "True"
        for one in status.get("conditions") or ()
    )
    if (
        disrupted
        or _is_deleted(pod)
        or status.get("reason") in ("Terminated", "Shutdown", "NodeLost", "Evicted")
    ):
        return "PREEMPTED"
    # A pod that ended by itself has reported before: the next poll reads it.
    return {"Pending": "CREATING", "Running": "READY"}.get(status.get("phase", ""), "ENDED")


def _trouble(pod: Mapping[str, Any]) -> str:
    """Why a pod cannot work: its image cannot be had, or startup.sh wrote that it cannot reach the bucket."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        state = container.get("state") or {}
        ended, waits = state.get("terminated") or {}, state.get("waiting") or {}
        if ended.get("message"):
            return str(ended["message"])
        if waits.get("reason") in _NEVER_STARTS:
            return f"the pod cannot start: {waits['reason']}: {waits.get('message', '')}"
    return ""


def _same(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the labels are a request's. An earlier try can have set another time in `expires`."""
    return all(labels.get(key) == value for key, value in wanted.items() if key != "expires")


def _is_transient(error: BaseException) -> bool:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    if isinstance(error, ApiException):
        return error.status in (0, 429) or error.status >= 500
    return isinstance(error, HTTPError)


def _text(error: BaseException) -> str:
    """The message in an answer of Kubernetes, which is JSON."""
    try:
        return str(json.loads(getattr(error, "body", ""))["message"])
    except (TypeError, ValueError, KeyError):
        return str(error) or type(error).__name__
