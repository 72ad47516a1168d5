"""Another user of this machine, who attacks processes, their ports and their files, and tells what succeeded.

    python -m tests.support.users.intruder < TARGETS > RESULT

Started as root: it imports all that it needs, and then becomes the user `nobody`, who may not import it. What
it knows of the targets is what every user can find out: ports, process ids, and names of folders.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.cloud import tpu_v2alpha1 as tpu

from tests.support.tpu_calls import ZONE, resource

NOBODY = 65534
REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS = 10.0  # for an answer
MOST_BYTES = 1 << 20
NO_TOKEN = 48 * "0"
UUID = "0190a000-0000-7000-8000-000000000000"
# What any user can know: the API server is healthy, and of which version it is.
PUBLIC = {"/api/v2/monitor/health", "/api/v2/version", "/execution/health", "/execution/health/ping"}
READ = (
    *("/", "/auth/token", "/auth/login", "/ui/config", "/api/v2/dags", "/api/v2/connections"),
    *("/api/v2/variables", "/api/v2/config", "/api/v2/eventLogs", "/api/v2/dags/~/dagRuns", "/api/v2/pools"),
    "/api/v2/dags/qarib_pretrain/dagRuns/~/taskInstances",
    *("/qarib/data/runs", "/qarib/data/run?dag_id=qarib_pretrain", "/qarib/data/form", "/qarib/data/lineage"),
    *(
        "/execution/connections/google_cloud_default",
        "/execution/variables/a",
        f"/execution/task-instances/{UUID}",
    ),
    *(
        "/storage/v1/b",
        "/storage/v1/b/qarib/o",
        "/qarib/",
        "/_internal/config",
        "/download/storage/v1/b/qarib/o/a",
    ),
    *(f"/{NO_TOKEN}/storage/v1/b", f"/{NO_TOKEN}/storage/v1/b/qarib/o", "//storage/v1/b", "/../storage/v1/b"),
    "/computeMetadata/v1/instance/attributes/startup-script",
    "/computeMetadata/v1/instance/service-accounts/default/token",
    *(
        f"/v2alpha1/{ZONE}/nodes",
        f"/v2/{ZONE}/queuedResources",
        "/metrics",
        "/log/",
        "/../../../../etc/shadow",
    ),
)
WRITE = (
    ("POST", "/auth/token", {"username": "admin", "password": "admin"}),
    ("POST", "/api/v2/dags/qarib_pretrain/dagRuns", {"logical_date": None, "conf": {"preset": "demo"}}),
    ("PATCH", "/api/v2/dags/qarib_pretrain", {"is_paused": True}),
    ("POST", "/api/v2/connections", {"connection_id": "planted", "conn_type": "http"}),
    ("POST", "/api/v2/variables", {"key": "planted", "value": "x"}),
    ("POST", "/qarib/data/preview", {"values": {"preset": "demo", "sources": [{"path": "/etc/passwd"}]}}),
    ("POST", "/qarib/data/check", {"values": {"preset": "demo"}}),
    (
        "PATCH",
        f"/execution/task-instances/{UUID}/run",
        {"state": "running", "hostname": "x", "unixname": "x", "pid": 1},
    ),
    ("POST", "/storage/v1/b", {"name": "planted"}),
    ("POST", "/upload/storage/v1/b/qarib/o?uploadType=media&name=planted", {"planted": 1}),
    ("PUT", "/qarib/planted", {"planted": 1}),
    ("PUT", "/_internal/config", {"externalUrl": "http://127.0.0.1:1"}),
    ("DELETE", "/storage/v1/b/qarib", {}),
    ("PUT", "/computeMetadata/v1/instance/guest-attributes/qarib/state", {"state": "finished"}),
    ("DELETE", f"/v2/{ZONE}/nodes/a?force=true", {}),
    ("POST", f"/v2alpha1/{ZONE}/nodes?nodeId=planted", {"acceleratorType": "v5litepod-8"}),
)
# Beginnings of other protocols: Redis, PostgreSQL (a request for TLS), and an object of Python.
BEGINNINGS = (
    b"PING\r\nKEYS *\r\nCONFIG GET *\r\n",
    bytes.fromhex("0000000804d2162f"),
    b"cos\nsystem\n(S'id'\ntR.",
)


@dataclass(frozen=True)
class Targets:
    """What to attack.

    Attributes:
        ports: on this machine's loopback.
        folders: must give nothing.
        shared: a folder that everybody may write to. What others have there must be theirs only.
    """

    ports: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()
    shared: str = "/nowhere"


@dataclass
class Result:
    """How much was tried, by kind; what succeeded; what ports answered; the command lines of processes."""

    tried: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        self.tried.update(other.tried)
        self.done += other.done
        self.texts += other.texts
        self.commands += other.commands


def attack(targets: Targets) -> Result:
    """Attack in a process of the other user."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.users.intruder"],
        input=json.dumps(asdict(targets)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    found = json.loads(ended.stdout)
    return Result(Counter(found.pop("tried")), **found)


class Intruder:
    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.result = Result()

    def attack(self) -> Result:
        for port in self.targets.ports:
            for host in ("127.0.0.1", "::1"):
                if self._is_open(host, port):
                    self._http(host, port)
                    self._grpc(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
                    self._other_protocols(host, port)
        self._sockets()
        for pid in self.targets.pids:
            self._process(pid)
        for folder in self.targets.folders:
            self._folder(Path(folder))
        self._shared(Path(self.targets.shared))
        return self.result

    def _is_open(self, host: str, port: int) -> bool:
        self.result.tried["ports"] += 1
        try:
            socket.create_connection((host, port), SECONDS).close()
        except OSError:
            return False
        return True

    def _http(self, host: str, port: int) -> None:
        requests: list[tuple[str, str, Any]] = [("GET", path, None) for path in (*READ, *PUBLIC)]
        for method, path, body in [*requests, *WRITE]:
            for credentials in ("", f"Bearer {NO_TOKEN}", f"Bearer {unsigned()}", "Basic YWRtaW46YWRtaW4="):
                self.result.tried["requests"] += 1
                headers = {"Content-Type": "application/json", "Metadata-Flavor": "Google"}
                headers |= {"Authorization": credentials} if credentials else {}
                connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
                with suppress(OSError, http.client.HTTPException):
                    connection.request(method, path, None if body is None else json.dumps(body), headers)
                    answer = connection.getresponse()
                    text = answer.read(MOST_BYTES).decode(errors="replace")
                    self.result.texts.append(f"{answer.getheaders()}\n{text}")
                    # The user interface is the same page for every address, and has no data.
                    is_page = method == "GET" and answer.headers.get_content_type() == "text/html"
                    if answer.status < 300 and not is_page and path not in PUBLIC:
                        self.result.done.append(f"{method} {host}:{port}{path}: {answer.status} {text[:200]}")
                connection.close()

    def _grpc(self, address: str) -> None:
        """Start a machine of Cloud TPU whose startup script writes a file, and list those that there are."""
        script = f"id > {self.targets.shared}/ran"
        service = "/google.cloud.tpu.v2alpha1.Tpu/"
        parent = ZONE.replace("/test/", "/emulator/")
        create = tpu.CreateQueuedResourceRequest(
            parent=parent,
            queued_resource_id="a",
            queued_resource=resource(parent, metadata={"startup-script": script}),
        )
        calls = {
            "CreateQueuedResource": tpu.CreateQueuedResourceRequest.serialize(create),
            "ListQueuedResources": tpu.ListQueuedResourcesRequest.serialize({"parent": parent}),
            "ListNodes": tpu.ListNodesRequest.serialize({"parent": parent}),
        }
        with grpc.insecure_channel(address) as channel:
            for name, message in calls.items():
                for credentials in ((), (("authorization", f"Bearer {NO_TOKEN}"),)):
                    self.result.tried["calls"] += 1
                    with suppress(grpc.RpcError):
                        answer = channel.unary_unary(service + name)(
                            message, timeout=SECONDS, metadata=credentials
                        )
                        self.result.done.append(f"{name} at {address}: {answer!r}")

    def _other_protocols(self, host: str, port: int) -> None:
        for beginning in BEGINNINGS:
            self.result.tried["other protocols"] += 1
            with suppress(OSError), socket.create_connection((host, port), SECONDS) as connection:
                connection.sendall(beginning)
                connection.shutdown(socket.SHUT_WR)
                self.result.texts.append(connection.recv(MOST_BYTES).decode(errors="replace"))

    def _process(self, pid: int) -> None:
        folder = Path(f"/proc/{pid}")
        for name in ("environ", "mem", "maps", "auxv", "syscall", "stack", "io"):
            self.result.tried["processes"] += 1
            with suppress(OSError), (folder / name).open("rb") as file:
                if name == "mem" or file.read(1):
                    self.result.done.append(f"read {file.name}")
        for name in ("cwd", "root", "exe", "fd/0", "fd/1", "fd/2"):
            self.result.tried["processes"] += 1
            with suppress(OSError):
                self.result.done.append(f"{folder / name} is {(folder / name).readlink()}")
        for number in (0, signal.SIGTERM):
            self.result.tried["processes"] += 1
            with suppress(OSError):
                os.kill(pid, number)
                self.result.done.append(f"sent signal {int(number)} to {pid}")
        with suppress(OSError):
            self.result.commands.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())

    def _folder(self, folder: Path) -> None:
        """Try the folder, what is in it, and what is known to be."""
        for path in (folder, *(folder / name for name in NAMES), *_below(folder)):
            self._path(path)

    def _shared(self, shared: Path) -> None:
        for path in _below(shared):
            with suppress(OSError):
                if path.lstat().st_uid != NOBODY:
                    self._path(path)

    def _path(self, path: Path) -> None:
        self.result.tried["files"] += 1
        if os.path.islink(path):
            return
        with suppress(OSError), path.open("rb") as file:
            self.result.done.append(f"read {path}: {file.read(200)!r}")
        with suppress(OSError), path.open("ab"):
            self.result.done.append(f"opened {path} to write")
        with suppress(OSError):
            self.result.done.append(f"listed {path}: {os.listdir(path)}")
        with suppress(OSError):
            (path / "planted").touch()
            self.result.done.append(f"made {path / 'planted'}")

    def _sockets(self) -> None:
        """Connect to the sockets in the folders."""
        known = (*self.targets.folders, self.targets.shared)
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            path = line.split(maxsplit=7)[7:]
            if path and path[0].startswith(known):
                self.result.tried["sockets"] += 1
                with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(SECONDS)
                    one.connect(path[0])
                    self.result.done.append(f"connected to {path[0]}")


# In the folder of a demo.
NAMES = (
    *("passwords.json", "emulators.env", "tpu-token", "tpu-faults.yaml", "airflow.db", "lock", "airflow"),
    *("airflow/airflow.cfg", "logs", "logs/api-server.log", "logs/tpu.log", "logs/tasks", "workspace"),
    *("workspace/datasets", "workspace/models", "workspace/sources.json", "buckets", "buckets/qarib", "tpu"),
)


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent) / name


def unsigned() -> str:
    """A token of the administrator without a signature."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "admin", "role": "admin", "exp": 4_000_000_000})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


def plant(shared: Path, before: Path) -> None:
    """Leave what a program could take for its own in a folder for temporary files.

    Args:
        before: a path that must stay as it is.
    """
    host = os.uname().nodename
    for name in (".scratch-a", ".data.txt", "qarib-a"):
        (shared / f"{name}.qarib-{host}-4194304.tmp").symlink_to(before)
    trap = shared / f".scratch-b.qarib-{host}-4194304.tmp"
    trap.mkdir()
    (trap / "link").symlink_to(before)
    for path in (trap / "link", *shared.iterdir()):
        os.lchown(path, NOBODY, NOBODY)


def main() -> None:
    targets = json.load(sys.stdin)
    targets = Targets(**{key: tuple(v) if isinstance(v, list) else v for key, v in targets.items()})
    # These import more at their first use.
    Intruder(Targets(ports=(1,)))._grpc("127.0.0.1:1")
    "x".encode("idna")
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    print(json.dumps(vars(Intruder(targets).attack())))


if __name__ == "__main__":
    main()
