"""A stand-in for Google's REST APIs that `qarib doctor` asks, on a port of this machine.

Which calls there are, their parameters, and the fields of their answers are those of Google's own discovery
documents, which are a part of google-api-python-client: a call or an answer that they do not have is an error
of the test. It gives tokens for a service account's key, and checks the key's signature and its times.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DOCUMENTS = {
    "cloudresourcemanager": "cloudresourcemanager.v3",
    "serviceusage": "serviceusage.v1",
    "serviceusage beta": "serviceusage.v1beta1",
    "iam": "iam.v1",
    "compute": "compute.v1",
    "artifactregistry": "artifactregistry.v1",
    "container": "container.v1",
    "storage": "storage.v1",
}
SERVICES = {f"{name}.googleapis.com" for name in ("tpu", *DOCUMENTS) if " " not in name}
ACCOUNT = "qarib-airflow@my-project.iam.gserviceaccount.com"
MACHINE = "qarib-tpu@my-project.iam.gserviceaccount.com"
OBJECTS = {f"storage.objects.{what}" for what in ("create", "delete", "get", "list")}
TPU = {f"tpu.nodes.{what}" for what in ("create", "delete", "get", "list")} | {
    *("tpu.acceleratortypes.list", "tpu.runtimeversions.list", "tpu.operations.get")
}
IMAGE = f"us-central1-docker.pkg.dev/my-project/images/qarib@sha256:{'0' * 64}"
SPOT = "tpu.googleapis.com/tpu-v5s-litepod-serving-preemptible"


class Answer(Exception):
    """An error of Google's."""

    def __init__(self, code: int, message: str, reason: str = "", service: str = "") -> None:
        super().__init__(message)
        status = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}.get(code, "UNKNOWN")
        self.code = code
        self.body: dict[str, Any] = {"error": {"code": code, "message": message, "status": status}}
        if reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            detail = {"@type": kind, "reason": reason, "domain": "googleapis.com"}
            self.body["error"]["details"] = [detail | {"metadata": {"service": service}}]


@dataclass
class World:
    """A project as it should be. A test changes it."""

    number: str = "123456789012"
    state: str = "ACTIVE"
    services: set[str] = field(default_factory=lambda: set(SERVICES))
    permissions: set[str] = field(default_factory=lambda: set(TPU))
    accounts: dict[str, dict[str, Any]] = field(default_factory=lambda: {MACHINE: {"acting": True}})
    # By name: `permissions`, and what `buckets.get` answers; None: it is denied.
    buckets: dict[str, tuple[set[str], dict[str, Any] | None]] = field(
        default_factory=lambda: {
            "my-bucket": (
                set(OBJECTS),
                {"location": "US-CENTRAL1", "locationType": "region", "projectNumber": "123456789012"},
            )
        }
    )
    limits: dict[str, dict[str, int]] = field(default_factory=lambda: {SPOT: {"us-central1-a": 8}})
    networks: set[str] = field(default_factory=lambda: {"default"})
    routes: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"name": "default-route", "destRange": "0.0.0.0/0", "network": "default", "nextHopGateway": True}
        ]
    )
    private_access: bool = False
    addresses: tuple[float, float] = (1.0, 8.0)  # used, and the limit
    writers: list[str] = field(default_factory=lambda: [f"serviceAccount:{MACHINE}"])  # of each bucket
    images: set[str] = field(default_factory=lambda: {IMAGE})
    readers: list[str] = field(default_factory=lambda: [f"serviceAccount:{MACHINE}"])  # of the images
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)  # answers of clusters.get
    denied: set[str] = field(default_factory=set)  # Names of methods, such as compute.networks.get.
    ahead: float = 0.0  # Seconds of Google's clock.
    asked: list[str] = field(default_factory=list)


@cache
def document(name: str) -> dict[str, Any]:
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache/documents"
    found: dict[str, Any] = json.loads((folder / f"{DOCUMENTS[name]}.json").read_text(encoding="utf-8"))
    return found


@cache
def methods(name: str) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The pattern of each method's path, and the method."""

    def below(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from resource.get("methods", {}).values()
        for inner in resource.get("resources", {}).values():
            yield from below(inner)

    root = document(name)
    found = []
    for method in below(root):
        path = root["servicePath"] + (method.get("flatPath") or method["path"])
        pattern = re.sub(r"\\{\w+\\}", "([^/]+)", re.escape(path))
        found.append((re.compile(pattern), method))
    return found


def check_fields(name: str, schema: str, value: Any) -> None:
    """Fail if an answer has a field that the discovery document does not have."""
    known = document(name)["schemas"][schema]["properties"]
    for key, one in value.items():
        assert key in known, f"{schema} has no {key}"
        inner = known[key].get("$ref") or known[key].get("items", {}).get("$ref")
        for part in one if isinstance(one, list) else [one]:
            if inner and isinstance(part, dict):
                check_fields(name, inner, part)


class GoogleStandIn:
    """Answers as `world` is."""

    def __init__(self, world: World) -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa

        self.world = world
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.failures: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def key_file(self, path: Path) -> Path:
        """Write the key of the deployment's account."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        values = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": ACCOUNT,
            "token_uri": f"{self.address}/oauth2.googleapis.com/token",
        }
        path.write_text(json.dumps(values), encoding="utf-8")
        return path

    def token(self, form: dict[str, list[str]]) -> dict[str, Any]:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signed, _, signature = form["assertion"][0].rpartition(".")
        self.key.public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        claims = json.loads(_decoded(signed.partition(".")[2]))
        now = time.time() + self.world.ahead
        if not claims["iat"] - 300 <= now <= claims["exp"]:
            text = "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe."
            raise Answer(400, text)
        return {"access_token": "stand-in-token", "expires_in": 3600, "token_type": "Bearer"}

    def call(self, verb: str, service: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        name = "serviceusage beta" if path.startswith("v1beta1") else service
        for pattern, method in methods(name):
            matched = pattern.fullmatch(path)
            if matched and method["httpMethod"] == verb and method["id"] in ANSWERS:
                break
        else:
            raise AssertionError(
                f"{verb} {service}/{path}: Google has no such call, or the stand-in has none"
            )
        parameters = document(name)["parameters"] | method["parameters"]
        for key, values in query.items():
            assert key in parameters, f"{method['id']} has no parameter {key}"
            assert len(values) == 1 or parameters[key].get("repeated"), f"{key} is repeated"
        if body is not None:
            check_fields(name, method["request"]["$ref"], body)
        self.world.asked.append(method["id"])
        if f"{service}.googleapis.com" not in self.world.services:
            raise Answer(403, f"{service} has not been used", "SERVICE_DISABLED", f"{service}.googleapis.com")
        if method["id"] in self.world.denied:
            raise Answer(403, f"Permission for {method['id']} denied")
        made = ANSWERS[method["id"]](self.world, *map(unquote, matched.groups()), query=query, body=body)
        check_fields(name, method["response"]["$ref"], made)
        return made

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                url = urlsplit(self.path)
                host, _, path = url.path.lstrip("/").partition("/")
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                code = 200
                try:
                    if path == "token":
                        body = stand_in.token(parse_qs(text))
                    elif self.headers.get("Authorization") != "Bearer stand-in-token":
                        code, body = 401, {"error": {"code": 401, "message": "no credentials"}}
                    else:
                        sent = json.loads(text) if text else None
                        service = host.removesuffix(".googleapis.com")
                        body = stand_in.call(self.command, service, path, parse_qs(url.query), sent)
                except Answer as error:
                    code, body = error.code, error.body
                    if path == "token":
                        body = {"error": "invalid_grant", "error_description": str(error)}
                except Exception as error:
                    stand_in.failures.append(f"{type(error).__name__}: {error}")
                    code, body = 418, {}
                data = json.dumps(body).encode()
                self.send_response_only(code)
                self.send_header("Date", formatdate(time.time() + stand_in.world.ahead, usegmt=True))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@contextmanager
def standing_in(world: World) -> Iterator[GoogleStandIn]:
    one = GoogleStandIn(world)
    thread = threading.Thread(target=one.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()
        thread.join()
    assert one.failures == []


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _project(world: World, project: str, **_: Any) -> Any:
    if project != "my-project":
        raise Answer(403, f"The caller does not have permission on {project}")
    return {"name": f"projects/{world.number}", "projectId": project, "state": world.state}


def _allowed(world: World, project: str, body: Any, **_: Any) -> Any:
    return {"permissions": [one for one in body["permissions"] if one in world.permissions]}


def _services(world: World, kind: str, project: str, query: Any, **_: Any) -> Any:
    return {
        "services": [
            {
                "name": name.replace("my-project", world.number),
                "state": "ENABLED" if name.rpartition("/")[2] in world.services else "DISABLED",
            }
            for name in query["names"]
        ]
    }


def _account(world: World, project: str, email: str, **_: Any) -> Any:
    if email not in world.accounts:
        if project == "-":
            raise Answer(403, f"Permission denied on {email}, or it may not exist")
        raise Answer(404, f"Unknown service account {email}")
    return {"email": email, "disabled": world.accounts[email].get("disabled", False)}


def _acting(world: World, project: str, email: str, body: Any, **_: Any) -> Any:
    _account(world, project, email)
    return {"permissions": body["permissions"] if world.accounts[email]["acting"] else []}


def _bucket(world: World, name: str, **_: Any) -> Any:
    if name not in world.buckets:
        raise Answer(404, "The specified bucket does not exist.")
    metadata = world.buckets[name][1]
    if metadata is None:
        raise Answer(403, f"{ACCOUNT} does not have storage.buckets.get access to the bucket.")
    return {"name": name, "kind": "storage#bucket", **metadata}


def _bucket_allowed(world: World, name: str, query: Any, **_: Any) -> Any:
    if name not in world.buckets:
        raise Answer(404, "The specified bucket does not exist.")
    found = [one for one in query["permissions"] if one in world.buckets[name][0]]
    return {"kind": "storage#testIamPermissionsResponse", **({"permissions": found} if found else {})}


def _bucket_policy(world: World, name: str, **_: Any) -> Any:
    _bucket(world, name)
    writers = {"role": "roles/storage.objectAdmin", "members": world.writers}
    return {"kind": "storage#policy", "bindings": [writers]}


def _region(world: World, project: str, name: str, **_: Any) -> Any:
    used, limit = world.addresses
    return {"name": name, "quotas": [{"metric": "IN_USE_ADDRESSES", "limit": limit, "usage": used}]}


def _metrics(world: World, *_: str, query: Any, **__: Any) -> Any:
    """Two pages, each of one metric: another quota first."""
    if "pageToken" not in query:
        other = {"metric": "tpu.googleapis.com/qps/create", "consumerQuotaLimits": []}
        return {"metrics": [other], "nextPageToken": "2"}
    metrics = []
    for metric, zones in world.limits.items():
        # A limit of zero is left out of JSON, as of every number of protocol buffers.
        buckets: list[dict[str, Any]] = [{}]
        buckets += [
            {"dimensions": {"zone": zone}, **({"effectiveLimit": str(limit)} if limit else {})}
            for zone, limit in zones.items()
        ]
        limit = {"metric": metric, "unit": "1/{project}/{zone}", "quotaBuckets": buckets}
        metrics.append({"metric": metric, "consumerQuotaLimits": [limit]})
    return {"metrics": metrics}


def _network(world: World, project: str, name: str, **_: Any) -> Any:
    if name not in world.networks:
        raise Answer(404, f"The resource 'projects/{project}/global/networks/{name}' was not found")
    return {"name": name, "kind": "compute#network"}


def _routes(world: World, project: str, **_: Any) -> Any:
    own = f"https://www.googleapis.com/compute/v1/projects/{project}/global"
    items = [
        route
        | {"network": f"{own}/networks/{route['network']}"}
        | (
            {"nextHopGateway": f"{own}/gateways/default-internet-gateway"}
            if route.get("nextHopGateway")
            else {}
        )
        for route in world.routes
    ]
    return {"kind": "compute#routeList", "items": items}


def _subnetwork(world: World, project: str, region: str, name: str, **_: Any) -> Any:
    if name not in world.networks:
        raise Answer(404, f"The resource subnetworks/{name} was not found")
    return {"name": name, "privateIpGoogleAccess": world.private_access}


def _image(world: World, *place: str, **_: Any) -> Any:
    address = "{1}-docker.pkg.dev/{0}/{2}/{3}".format(*place)
    if address not in world.images:
        raise Answer(404, "Requested entity was not found.")
    return {"uri": address, "imageSizeBytes": "2500000000"}


def _image_policy(world: World, *_: str, **__: Any) -> Any:
    return {"bindings": [{"role": "roles/artifactregistry.reader", "members": world.readers}]}


def _cluster(world: World, project: str, location: str, name: str, **_: Any) -> Any:
    if name not in world.clusters:
        raise Answer(404, f"Not found: projects/{project}/locations/{location}/clusters/{name}.")
    return {"name": name, **world.clusters[name]}


ANSWERS: dict[str, Callable[..., Any]] = {
    "cloudresourcemanager.projects.get": _project,
    "cloudresourcemanager.projects.testIamPermissions": _allowed,
    "serviceusage.services.batchGet": _services,
    "serviceusage.services.consumerQuotaMetrics.list": _metrics,
    "iam.projects.serviceAccounts.get": _account,
    "iam.projects.serviceAccounts.testIamPermissions": _acting,
    "storage.buckets.get": _bucket,
    "storage.buckets.testIamPermissions": _bucket_allowed,
    "storage.buckets.getIamPolicy": _bucket_policy,
    "compute.regions.get": _region,
    "compute.networks.get": _network,
    "compute.routes.list": _routes,
    "compute.subnetworks.get": _subnetwork,
    "artifactregistry.projects.locations.repositories.dockerImages.get": _image,
    "artifactregistry.projects.locations.repositories.getIamPolicy": _image_policy,
    "container.projects.locations.clusters.get": _cluster,
}
