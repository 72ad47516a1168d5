"""A machine of the emulated Cloud TPU service: a process on this machine, and its metadata server.

The startup script runs with bash in the machine's folder. Its environment has only the given variables, and

    GCE_METADATA_HOST       address of the metadata server (google-auth uses it too)
    CLOUD_TPU_EMULATOR_HOST token and address of the emulated API
    CLOUD_TPU_EMULATOR_REST address of its REST part
    HOME, PATH, LANG
    JAX_PLATFORMS           cpu, because JAX would otherwise search for a TPU if libtpu is installed

The metadata server has the part of Compute Engine's metadata that a TPU machine uses, below
`/computeMetadata/v1/`: instance/{attributes/*, description, hostname, id, name, zone, preempted,
maintenance-event, scheduling/preemptible, service-accounts/default/{email, scopes, token, }},
instance/guest-attributes/*/* (which the machine can write) and project/{project-id, numeric-project-id}.
`?wait_for_change=true` waits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from qarib_tasks.emulators.access import new_token, split_token

_ROOT = "/computeMetadata/v1/"
_END_SECONDS = 20.0
LOOPBACK = "127.0.0.1"
PROJECT_NUMBER = "100000000001"
MACHINE = "worker-"  # begins the name of a machine's folder
DISK, STARTUP_SCRIPT, SERIAL_LOG = "disk", "startup-script", "serial.log"
MACHINE_FILES = (DISK, STARTUP_SCRIPT, SERIAL_LOG)  # all that a machine's folder has


class MetadataServer:
    """Serves one machine's metadata on a free port.

    Clients cannot send credentials to a metadata server, so `address` has a secret as its path. The real
    one is in a network that only the machine reaches.

    Args:
        host: address to listen on.
    """

    def __init__(self, values: Mapping[str, str], host: str = LOOPBACK) -> None:
        self._secret = new_token()
        self.values = dict(values)
        self.guest_attributes: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closed = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._get(self)

            def do_PUT(self) -> None:
                owner._put(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_address[1]}/{self._secret}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def set(self, **values: str) -> None:
        """Change values below `instance/` and answer requests that wait. `_` in a name means `-`."""
        with self._changed:
            self.values |= {f"instance/{name.replace('_', '-')}": value for name, value in values.items()}
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _read(self, name: str) -> str | None:
        if name.startswith("instance/guest-attributes/"):
            return self.guest_attributes.get(name.removeprefix("instance/guest-attributes/"))
        if name in self.values:
            return self.values[name]
        below = sorted({k[len(name) :].split("/")[0] for k in self.values if k.startswith(name)})
        return "\n".join(below) if below and (not name or name.endswith("/")) else None

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(split_token(request.path, self._secret) or "")
        if not url.path:
            return _answer(request, 403, "This is another machine's metadata server.")
        name, query = url.path.removeprefix(_ROOT), parse_qs(url.query)
        if request.headers.get("Metadata-Flavor") != "Google" and url.path != "/":
            return _answer(request, 403, "Missing Metadata-Flavor:Google header.")
        if name == "instance/service-accounts/default/" and "recursive" in query:
            email = self.values["instance/service-accounts/default/email"]
            account = {"aliases": ["default"], "email": email, "scopes": []}
            return _answer(request, 200, json.dumps(account), "application/json")
        with self._changed:
            value = self._read(name) if url.path.startswith(_ROOT) else ""
            if value is not None and query.get("wait_for_change") == ["true"]:
                seconds = float(query.get("timeout_sec", ["3600"])[0])
                old = query.get("last_etag", [_etag(value)])[0]
                self._changed.wait_for(
                    lambda: self._closed or _etag(self._read(name) or "") != old, timeout=seconds
                )
                value = self._read(name)
        if value is None:
            return _answer(request, 404, "not found")
        is_json = name.endswith("/token")
        return _answer(request, 200, value, "application/json" if is_json else "application/text")

    def _put(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(split_token(request.path, self._secret) or "").path
        if not path:
            request.close_connection = True
            return _answer(request, 403, "This is another machine's metadata server.")
        name = path.removeprefix(_ROOT)
        length = int(request.headers.get("Content-Length", "0"))
        value = request.rfile.read(length).decode("utf-8", errors="replace")
        if request.headers.get("Metadata-Flavor") != "Google":
            return _answer(request, 403, "Missing Metadata-Flavor:Google header.")
        if not name.startswith("instance/guest-attributes/") or name.count("/") != 3:
            return _answer(request, 404, "not found")
        with self._changed:
            self.guest_attributes[name.removeprefix("instance/guest-attributes/")] = value
            self._changed.notify_all()
        return _answer(request, 200, "")


def _etag(value: str) -> str:
    return f"{hash(value) & 0xFFFFFFFFFFFFFFFF:016x}"


def _answer(request: BaseHTTPRequestHandler, code: int, text: str, kind: str = "text/plain") -> None:
    data = text.encode()
    try:
        request.send_response(code)
        request.send_header("Metadata-Flavor", "Google")
        request.send_header("Content-Type", kind)
        request.send_header("ETag", _etag(text))
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
    except OSError:  # The machine is gone: no process waits for the answer.
        pass


class Machine:
    """One worker of a slice.

    Args:
        folder: has the machine's disk, and serial.log with the startup script's output of all boots.
        startup_script: runs with bash at each boot; may be empty.
        metadata: values by path below `/computeMetadata/v1/`.
        environment: variables of the processes, in addition to those listed above.

    Attributes:
        host: address of this process, as the machine reaches it.
    """

    host = LOOPBACK

    def __init__(
        self, folder: Path, startup_script: str, metadata: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.startup_script = startup_script
        self.metadata = MetadataServer(metadata, self.host)
        self.environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def serial_log(self) -> Path:
        return self.folder / SERIAL_LOG

    def output(self) -> str:
        try:
            return self.serial_log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def boot(self) -> None:
        """Run the startup script, as at each boot of the real machine."""
        self.power_off()
        self.metadata.set(preempted="FALSE", maintenance_event="NONE")
        if not self.startup_script:
            return
        disk = self.folder / DISK
        disk.mkdir(parents=True, exist_ok=True)
        script = self.folder / STARTUP_SCRIPT
        script.write_text(self.startup_script, encoding="utf-8", newline="")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(disk)}
        environment["JAX_PLATFORMS"] = "cpu"
        environment |= self.environment
        environment["GCE_METADATA_HOST"] = self.metadata.address
        # The guard runs by its path; the startup script's Python must not find this package.
        package = Path(__file__).resolve().parent
        with self.serial_log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(package / "guard.py"), str(script)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=disk,
                env=environment,
                start_new_session=True,
            )

    def notice(self) -> None:
        """Send a preemption notice: set `preempted` in the metadata, and press the power button."""
        self.metadata.set(preempted="TRUE")
        self._say("notice")

    def freeze(self) -> None:
        """Stop all processes with SIGSTOP; the metadata server continues."""
        self._say("freeze")

    def power_off(self) -> None:
        """Kill every process of the machine, without a notice."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def destroy(self) -> None:
        self.power_off()
        self.metadata.close()

    def _say(self, word: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(word.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
