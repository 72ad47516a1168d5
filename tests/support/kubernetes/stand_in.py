"""A local stand-in for the Kubernetes API of a GKE cluster: Jobs, JobSets, pods, and spot nodes that go.

It has what the client and the doctor call. Pods are processes that run the container's command, if
`environment` is set. It does not check manifests.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlparse

PLACED, RUNNING = 30.0, 90.0  # Seconds from the creation.
_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"


@dataclass
class Pod:
    """A pod and its process; times in seconds."""

    name: str
    owner: str
    template: Mapping[str, Any]
    index: int
    created: float
    placed: float | None = None
    ended: float | None = None
    phase: str = "Pending"
    disrupted: bool = False
    deleted: float | None = None
    message: str = ""
    waits: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def zone(self) -> str:
        return str(self.template["spec"]["nodeSelector"]["topology.kubernetes.io/zone"])

    def answer(self) -> dict[str, Any]:
        status: dict[str, Any] = {"phase": self.phase}
        if self.disrupted:
            status["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
        if self.waits or self.message:
            ended = {"terminated": {"exitCode": 1, "message": self.message}}
            ended = {"waiting": {"reason": self.waits, "message": "not found"}} if self.waits else ended
            status["containerStatuses"] = [
                {
                    "name": "train",
                    "image": "i",
                    "imageID": "i",
                    "ready": False,
                    "restartCount": 0,
                    "state": ended,
                }
            ]
        metadata = {"name": self.name, "namespace": "default", "labels": self.template["metadata"]["labels"]}
        if self.deleted is not None:
            metadata["deletionTimestamp"] = "2026-12-01T00:00:00Z"
        node = {"nodeName": "node"} if self.placed is not None else {}
        containers = [{"name": "train", "image": "i"}]
        return {"metadata": metadata, "spec": {**node, "containers": containers}, "status": status}


@dataclass
class StandIn:
    """The cluster.

    Args:
        clock: seconds.
        scale: of the time until a pod runs.
        environment: of the pods' processes; None: there are no processes.
    """

    folder: Path
    clock: Callable[[], float]
    scale: float = 1.0
    environment: Mapping[str, str] | None = None
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    bills: list[float] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=lambda: {"default"})
    groups: set[str] = field(default_factory=lambda: {"batch", "jobset.x-k8s.io", "kueue.x-k8s.io"})
    accounts: set[str] = field(default_factory=lambda: {"default", "qarib"})
    queues: set[str] = field(default_factory=lambda: {"training"})
    denied: set[tuple[str, str]] = field(default_factory=set)  # Verbs and resources.
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __enter__(self) -> Self:
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for pod in self.pods.values():
            self._kill(pod)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def endpoint(self) -> str:
        return f"{self.token}@{self.address}"

    def add_fault(self, kind: str, **values: Any) -> None:
        """`stock_out` of a zone, `quota`, `forbidden`, `create_conflict`, `api_error`, `no_image`, and
        `delete_again`.
        """
        self.faults.append({"kind": kind, "times": 10**9, **values})

    def clear_faults(self) -> None:
        self.faults.clear()

    def strike(self, owner: str, kind: str) -> None:
        """Take the nodes of a Job: `preempt`, or `vanish` with the pods' records."""
        with self._lock:
            self.sync()
            for pod in [pod for pod in self.pods.values() if pod.owner == owner]:
                pod.phase, pod.disrupted = "Failed", True
                self._end(pod)
                if kind == "vanish":
                    del self.pods[pod.name]
            self.objects[owner]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}

    def sync(self) -> None:
        """Do what the cluster's controllers have done until now."""
        now = self.clock()
        for pod in list(self.pods.values()):
            waited = now - pod.created
            suspended = self.objects.get(pod.owner, {}).get("spec", {}).get("suspend")
            if suspended and waited >= PLACED * self.scale / 2:
                self.objects[pod.owner]["spec"]["suspend"] = False
            if pod.ended is None and pod.phase == "Pending" and not self._fault("stock_out", zone=pod.zone):
                if pod.placed is None and waited >= PLACED * self.scale:
                    pod.placed = now
                if pod.placed is not None and self._fault("no_image"):
                    pod.waits = "ImagePullBackOff"
                elif pod.placed is not None and waited >= RUNNING * self.scale:
                    pod.phase = "Running"
                    self._start(pod)
            if (
                pod.process is not None
                and pod.phase == "Running"
                and (code := pod.process.poll()) is not None
            ):
                pod.phase = "Failed" if code else "Succeeded"
                log = self.folder / f"{pod.name}.termination"
                pod.message = log.read_text() if log.exists() else ""
                self._end(pod)
                if pod.owner in self.objects:
                    ended = {"type": "Failed" if code else "Complete", "status": "True"}
                    self.objects[pod.owner]["status"] = {"conditions": [ended]}
            if pod.deleted is not None and now - pod.deleted >= 30 * self.scale:
                self._end(pod)
                del self.pods[pod.name]

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name, spec = body["metadata"]["name"], body["spec"]
        if name in self.objects:
            return 409, _status(409, f'jobs "{name}" already exists')
        zone = body["metadata"]["labels"]["zone"]
        if self._fault("quota", zone=zone):
            return 403, _status(403, "pods is forbidden: exceeded quota: chips")
        if self._fault("forbidden", zone=zone):
            return 403, _status(403, f'User "x" cannot create resource "jobs": jobs "{name}" is forbidden')
        job = spec if body["kind"] == "Job" else spec["replicatedJobs"][0]["template"]["spec"]
        self.objects[name] = body
        for index in range(job["completions"]):
            pod = Pod(f"{name}-{index}-abcde", name, job["template"], index, self.clock())
            self.pods[pod.name] = pod
        if self._fault("create_conflict"):
            return 409, _status(409, f'jobs "{name}" already exists')
        return 201, body

    def delete(self, name: str) -> None:
        if self._fault("delete_again"):
            return
        self.objects.pop(name, None)
        for pod in self.pods.values():
            if name in (pod.owner, pod.name) and pod.deleted is None:
                pod.deleted = self.clock()
                if pod.process is not None:
                    pod.process.send_signal(signal.SIGTERM)

    def matching(self, kind: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        found = [pod.answer() for pod in self.pods.values()] if kind == "pods" else []
        kinds = {"jobs": "Job", "jobsets": "JobSet"}
        found += [one for one in self.objects.values() if one["kind"] == kinds.get(kind)]
        return [one for one in found if labels.items() <= one["metadata"].get("labels", {}).items()]

    def _fault(self, kind: str, **values: Any) -> bool:
        for fault in self.faults:
            wanted = {name: value for name, value in fault.items() if name in values}
            if fault["kind"] == kind and fault["times"] > 0 and wanted.items() <= values.items():
                fault["times"] -= 1
                return True
        return False

    def _start(self, pod: Pod) -> None:
        if self.environment is None:
            return
        (container,) = pod.template["spec"]["containers"]
        own = {one["name"]: one["value"] for one in container["env"]}
        more = {"HOME": str(self.folder / pod.name), "JOB_COMPLETION_INDEX": str(pod.index)}
        more |= {"GCE_METADATA_HOST": self.address, "JAX_PLATFORMS": "cpu"}
        more["QARIB_TERMINATION_LOG"] = str(self.folder / f"{pod.name}.termination")
        environment = {"PATH": os.environ["PATH"], **own, **more, **self.environment}
        log = (self.folder / f"{pod.name}.out").open("wb")
        pod.process = subprocess.Popen(
            container["command"], env=environment, stdout=log, stderr=log, start_new_session=True
        )

    def _end(self, pod: Pod) -> None:
        if pod.ended is None:
            pod.ended = self.clock()
            if pod.placed is not None:
                self.bills.append(pod.ended - pod.placed)
        self._kill(pod)

    def _kill(self, pod: Pod) -> None:
        if pod.process is not None:
            if pod.process.poll() is None:
                os.killpg(pod.process.pid, signal.SIGKILL)
            pod.process.wait()


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


class _Handler(BaseHTTPRequestHandler):
    cluster: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Headers and body are two packets.

    def _handle(self) -> None:
        cluster, url = self.cluster, urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}")
        with cluster._lock:
            cluster.sync()
            if url.path == _TOKEN:
                self._answer(200, {"access_token": "t"})
            elif self.headers.get("Authorization") != f"Bearer {cluster.token}":
                self._answer(401, _status(401, "Unauthorized"))
            elif cluster._fault("api_error"):
                self._answer(503, _status(503, "the server is currently unable to handle the request"))
            else:
                self._answer(*self._served(url.path, parse_qs(url.query), body))

    def _served(self, path: str, query: Mapping[str, list[str]], body: Any) -> tuple[int, Any]:
        cluster, parts = self.cluster, path.strip("/").split("/")
        if (answer := self._about(path, parts, body)) is not None:
            return answer
        after = parts[parts.index("namespaces") + 2 :]
        kind, name = after[0], after[1] if len(after) > 1 else ""
        labels = dict(one.split("=") for one in query.get("labelSelector", [""])[0].split(",") if one)
        if self.command == "POST":
            return cluster.create(body)
        found = [one for one in cluster.matching(kind, labels) if name in ("", one["metadata"]["name"])]
        if not name:
            return 200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": found}
        if not found:
            return 404, _status(404, f'{kind} "{name}" not found')
        if self.command == "DELETE":
            cluster.delete(name)
        return 200, found[0]

    def _about(self, path: str, parts: list[str], body: Any) -> tuple[int, Any] | None:
        """What the doctor asks."""
        cluster = self.cluster
        if path == "/version":
            return 200, {"gitVersion": "v1.33.4-gke.1"}
        if path == "/apis":
            groups = [
                {"name": one, "preferredVersion": {"groupVersion": f"{one}/v1"}}
                for one in sorted(cluster.groups)
            ]
            return 200, {"kind": "APIGroupList", "groups": groups}
        if parts[-1] == "selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            return 201, body | {
                "status": {"allowed": (asked["verb"], asked["resource"]) not in cluster.denied}
            }
        kind, name = parts[-2], parts[-1]
        known = {"namespaces": cluster.namespaces, "serviceaccounts": cluster.accounts}
        known["localqueues"] = cluster.queues
        if kind not in known:
            return None
        if name not in known[kind]:
            return 404, _status(404, f'{kind} "{name}" not found')
        return 200, {"metadata": {"name": name}, "status": {}}

    def _answer(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        pass
