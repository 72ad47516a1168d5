"""The port of the Cloud Storage emulator: passes requests that have the token on to fake-gcs-server.

It runs as a separate program, `python -m qarib_tasks.emulators.gcs_gate`, with the token in the environment
variable `QARIB_GCS_TOKEN`. A request has the token as the first part of its path, which is how
`STORAGE_EMULATOR_HOST=http://127.0.0.1:4443/TOKEN` reaches every client, or in an Authorization header.

fake-gcs-server has no access control, so it must not have a port that others can reach. With `--folder`, this
program starts it in a network namespace that only the two share: a process cannot connect to another
namespace's loopback. Where the kernel refuses namespaces, it gets a loopback port, and every answer has
the header `X-Qarib-Open`. With `--upstream`, it runs elsewhere, for example in a container that shares the
network of this one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from qarib_tasks.emulators.access import has_token, split_token

TOKEN_ENVIRONMENT = "QARIB_GCS_TOKEN"
OPEN = "X-Qarib-Open"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41
_PIECE = 1 << 20
_SILENT_SECONDS = 600.0
# Of one connection, not of the request; the body's length is stated again when it is sent.
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_INNER_PORT = 4443
_libc = ctypes.CDLL(None, use_errno=True)


def _require(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _enter_namespace() -> None:
    """Move this process, which has one thread, to a new network namespace with a loopback device.

    Its listening sockets stay where they were made.

    Raises:
        OSError: the kernel refuses it.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        _require(_libc.unshare(_CLONE_NEWNET))
    except PermissionError:
        _require(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        # A change of credentials hides the environment from the processes of the same user, too.
        _require(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def _can_enter_namespace() -> bool:
    """Try it in a child process: what is half done cannot be undone."""
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


class _Gate(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    token = external = upstream = ""
    is_open = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # The client is gone.
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _SILENT_SECONDS
    server: _Gate
    _answered = False

    def handle_expect_100(self) -> bool:
        # Without the token, nothing is asked for.
        return self._target() is None or super().handle_expect_100()

    def do_GET(self) -> None:
        target = self._target()
        if target is None:
            return self._refuse(401, "The Cloud Storage emulator needs its token")
        self._answered = False
        try:
            self._pass_on(target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close_connection = True
            with contextlib.suppress(OSError):
                if not self._answered:
                    self._refuse(502, f"The Cloud Storage emulator does not answer: {type(error).__name__}")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _target(self) -> str | None:
        """The path without the token; None if the request does not have the token."""
        token = self.server.token
        target = split_token(self.path, token)
        if target is None and has_token(self.headers.get("Authorization", ""), token):
            target = self.path
        return target

    def _pass_on(self, target: str) -> None:
        url = urlsplit(target)
        is_media = "media" in parse_qs(url.query).get("alt", ()) or url.path.startswith("/download/")
        # Answers that describe objects have addresses, which get the token; objects stay as they are.
        has_addresses = url.path.startswith(("/storage/v1/", "/upload/", "/resumable/")) and not is_media
        connection = http.client.HTTPConnection(self.server.upstream, timeout=_SILENT_SECONDS)
        try:
            connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
            chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
            # The credentials are for this gate.
            skipped = _HOP | {"authorization", "expect"}
            skipped |= {"content-length"} if chunked else set()
            skipped |= {"accept-encoding"} if has_addresses else set()
            for name, value in self.headers.items():
                if name.lower() not in skipped:
                    connection.putheader(name, value)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            connection.putheader("Connection", "close")
            connection.endheaders()
            for piece in self._chunks() if chunked else self._body():
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                connection.send(b"0\r\n\r\n")
            self._answer(connection.getresponse(), has_addresses)
        finally:
            connection.close()

    def _body(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self.rfile.read(min(left, _PIECE))
            if not piece:
                raise ConnectionError("the request ended early")
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while length := int(self.rfile.readline(1000).partition(b";")[0], 16):
            yield self.rfile.read(length)
            self.rfile.readline(1000)
        while self.rfile.readline(65_536).strip():  # trailers
            pass

    def _answer(self, response: http.client.HTTPResponse, has_addresses: bool) -> None:
        self.close_connection = self.close_connection or self.headers.get("Connection") == "close"
        whole: bytes | None = None
        if has_addresses and self.command != "HEAD":
            whole = response.read().replace(*self._addresses(b'"'))
        self._answered = True
        self.send_response_only(response.status, response.reason)
        length = response.getheader("Content-Length") if whole is None else str(len(whole))
        for name, value in response.getheaders():
            if name.lower() == "location":
                value = value.encode("latin-1").replace(*self._addresses(b""), 1).decode("latin-1")
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        if self.server.is_open:
            self.send_header(OPEN, "yes")
        has_body = self.command != "HEAD" and response.status not in (204, 304)
        chunked = has_body and length is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is not None and response.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if whole is not None and has_body:
            self.wfile.write(whole)
        while whole is None and has_body and (piece := response.read1(_PIECE)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _addresses(self, before: bytes) -> tuple[bytes, bytes]:
        """How an address of the emulator begins, and how it begins with the token."""
        external = before + self.server.external.encode() + b"/"
        return external, external + self.server.token.encode() + b"/"

    def _refuse(self, code: int, text: str) -> None:
        self.close_connection = True  # A body of the request may follow.
        data = text.encode()
        self.send_response_only(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _start_server(program: str, folder: str, external: str, port: int) -> subprocess.Popen[bytes]:
    def die_with_gate() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-log-level", "warn"]
    command += ["-backend", "filesystem", "-filesystem-root", folder]
    command += ["-external-url", external, "-public-host", urlsplit(external).netloc]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_ENVIRONMENT}
    # This process has one thread: code between fork and exec is safe.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, preexec_fn=die_with_gate)


def main() -> NoReturn:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--external", required=True, help="the address that clients use")
    arguments.add_argument("--folder", help="of the buckets")
    arguments.add_argument("--program", help="fake-gcs-server's")
    arguments.add_argument("--upstream", help="host:port of fake-gcs-server, instead of --folder")
    options = arguments.parse_args()
    server = _Gate((options.host, options.port), _Handler)
    server.token, server.external = os.environ[TOKEN_ENVIRONMENT], options.external
    server.upstream = options.upstream
    if options.folder:
        port = _INNER_PORT
        if _can_enter_namespace():
            _enter_namespace()
        else:
            server.is_open = True
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        server.upstream = f"127.0.0.1:{port}"
        program = _start_server(options.program, options.folder, options.external, port)
        threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()
        sys.exit(program.wait())
    server.serve_forever()
    sys.exit(0)


if __name__ == "__main__":
    main()
