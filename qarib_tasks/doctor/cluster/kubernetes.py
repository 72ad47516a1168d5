"""The cluster as Kubernetes shows it: reached, the namespace, the account's rights, JobSet, and Kueue."""

from __future__ import annotations

import base64
import shlex
import tempfile
from collections.abc import Mapping
from typing import Any

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.counting import counted
from qarib_tasks.doctor.apis import RefusedError, UnreachableError
from qarib_tasks.doctor.project import grant
from qarib_tasks.doctor.result import Result, fault, ok, warning
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import machines_of
from qarib_tasks.tpu.gke.client import EMULATOR_ENVIRONMENT

_CALL_SECONDS = 20.0
_JOBSET, _KUEUE = "jobset.x-k8s.io", "kueue.x-k8s.io"
_INSTALL = (
    "kubectl apply --server-side -f "
    "https://github.com/kubernetes-sigs/{}/releases/latest/download/manifests.yaml"
)
# What `GkeClient` does, as group, resource, and verbs.
_RIGHTS = {
    ("batch", "jobs"): ("create", "get", "list", "delete"),
    ("", "pods"): ("list", "delete"),
    (_JOBSET, "jobsets"): ("create", "get", "list", "delete"),
}


class ClusterApi:
    """Calls of an API server.

    Args:
        address: http:// or https://.
        token: an access token.
        certificate: base64 of the PEM that signs the server's certificate; empty: http.
    """

    def __init__(self, address: str, token: str, certificate: str = "") -> None:
        import requests  # type: ignore[import-untyped,unused-ignore]

        self.address = address
        self._file = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - of the session's lifetime
        self._session: Any = requests.Session()
        # Neither a proxy's nor another host's credentials of the environment.
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"
        if certificate:
            self._file.write(base64.b64decode(certificate))
            self._file.flush()
            self._session.verify = self._file.name

    def get(self, path: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            RefusedError: the answer is an error.
            UnreachableError: there is none.
        """
        return self._call("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return an object; None: it does not exist."""
        try:
            return self.get(path)
        except RefusedError as error:
            if error.code == 404:
                return None
            raise

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, and return the answer."""
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        import requests

        try:
            answer = self._session.request(method, self.address + path, timeout=_CALL_SECONDS, **more)
        except requests.RequestException as error:
            what = f"cannot be reached from this machine ({type(error).__name__})"
            raise UnreachableError(what, where=self.address) from None
        if answer.status_code >= 400:
            raise RefusedError(answer.status_code, f"HTTP status {answer.status_code}", where=path)
        found: dict[str, Any] = answer.json()
        return found


def cluster_api(cluster: Mapping[str, Any], token: str, environment: Mapping[str, str]) -> ClusterApi:
    """Return the API server of a cluster as Google's API answers it, or the stand-in of GKE_EMULATOR_HOST."""
    if environment.get(EMULATOR_ENVIRONMENT):
        own, _, address = environment[EMULATOR_ENVIRONMENT].rpartition("@")
        return ClusterApi(f"http://{address}", own)
    certificate = cluster.get("masterAuth", {}).get("clusterCaCertificate", "")
    return ClusterApi(f"https://{cluster.get('endpoint', '')}", token, certificate)


def check_kubernetes(api: ClusterApi, tpu: TpuConfig, member: str) -> list[Result]:
    """Ask the API server."""
    _, project, _, location, _, name = tpu.gke_cluster.split("/")
    where = f"{name} --location={location} --project={shlex.quote(project)}"
    try:
        version = api.get("/version")
        results = [ok("API server", f"answers, Kubernetes {version.get('gitVersion', '?')}", name)]
        if api.find(f"/api/v1/namespaces/{tpu.gke_namespace}") is None:
            do = f"gcloud container clusters get-credentials {where} && "
            do += f"kubectl create namespace {tpu.gke_namespace}"
            results.append(fault("namespace", "does not exist", tpu.gke_namespace, do))
        else:
            results.append(ok("namespace", "exists", tpu.gke_namespace))
            results += _rights(api, tpu, member, project)
            results += _account(api, tpu)
        return [*results, *_extensions(api, tpu)]
    except RefusedError as error:
        if error.code in (401, 403):
            do = grant(project, member, "roles/container.developer")
            what = f"refuses {member.replace(chr(34), '')}: {error.what} of {error.where}"
            return [fault("API server", what, name, do)]
        do = f"gcloud container clusters describe {where}"
        return [fault("API server", f"answers {error.where} with {error.what}", name, do)]
    except UnreachableError as error:
        do = (
            f"gcloud container clusters update {where} --enable-master-authorized-networks "
            "--master-authorized-networks=ADDRESS/32, with this machine's address; a private cluster is "
            "reached from its network only"
        )
        return [fault("API server", error.what, name, do)]


def _rights(api: ClusterApi, tpu: TpuConfig, member: str, project: str) -> list[Result]:
    missing, number = [], 0
    for (group, resource), verbs in _RIGHTS.items():
        for verb in verbs:
            number += 1
            attributes = {"namespace": tpu.gke_namespace, "group": group, "resource": resource, "verb": verb}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            if not answer.get("status", {}).get("allowed"):
                missing.append(f"{verb} {resource}")
    if missing:
        what = f"{member.replace(chr(34), '')} may not {', '.join(missing)}"
        do = grant(project, member, "roles/container.developer")
        return [fault("rights", what, tpu.gke_namespace, do)]
    return [ok("rights", f"{number} of {number} that a training needs", tpu.gke_namespace)]


def _account(api: ClusterApi, tpu: TpuConfig) -> list[Result]:
    name, place = tpu.gke_service_account, tpu.gke_namespace
    found = api.find(f"/api/v1/namespaces/{place}/serviceaccounts/{name}")
    if found is None:
        do = f"kubectl create serviceaccount {name} --namespace={place}"
        return [fault("pods' account", "does not exist", f"{place}/{name}", do)]
    account = (found["metadata"].get("annotations") or {}).get("iam.gke.io/gcp-service-account")
    return [ok("pods' account", f"acts as {account}" if account else "exists", f"{place}/{name}")]


def _extensions(api: ClusterApi, tpu: TpuConfig) -> list[Result]:
    """JobSet and Kueue, where the settings need them."""
    groups = {one["name"]: one for one in api.get("/apis").get("groups", ())}
    results = []
    try:
        hosts = machines_of(tpu.accelerator_type)
    except ConfigError:
        hosts = 1  # The check of the nodes says it.
    if hosts == 1:
        pass
    elif _JOBSET in groups:
        results.append(ok("JobSet", f"is installed, for {counted(hosts, 'host')}"))
    else:
        what = f"is not installed; {tpu.accelerator_type} has {counted(hosts, 'host')}"
        results.append(fault("JobSet", what, do=_INSTALL.format("jobset")))
    if not tpu.gke_queue:
        return results
    if _KUEUE not in groups:
        what = f"is not installed, and gke_queue is {tpu.gke_queue}"
        do = f"{_INSTALL.format('kueue')}, or unset gke_queue"
        return [*results, fault("Kueue", what, do=do)]
    version = groups[_KUEUE]["preferredVersion"]["groupVersion"]
    place = f"{tpu.gke_namespace}/{tpu.gke_queue}"
    queue = api.find(f"/apis/{version}/namespaces/{tpu.gke_namespace}/localqueues/{tpu.gke_queue}")
    if queue is None:
        do = f"kubectl get localqueues --namespace={tpu.gke_namespace}; then set gke_queue"
        return [*results, fault("Kueue", "no such local queue", place, do)]
    active = [
        one.get("status")
        for one in queue.get("status", {}).get("conditions", ())
        if one.get("type") == "Active"
    ]
    if active == ["False"]:
        do = f"kubectl describe localqueue {tpu.gke_queue} --namespace={tpu.gke_namespace}"
        return [*results, warning("Kueue", "the local queue is not active", place, do)]
    return [*results, ok("Kueue", "is installed, and has the local queue", place)]
