"""The port of the Cloud Storage emulator, with the real emulator after it, and with a recording server.

Covers qarib_tasks/emulators/gcs.py, too.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from ports import free_ports

from qarib_tasks.emulators import gcs
from qarib_tasks.emulators.access import new_token
from qarib_tasks.storage.bucket import Bucket


def status(host: str, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> int:
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def place(emulator_address: str) -> tuple[str, str]:
    """Host and port of the emulator, and its token."""
    url = urlsplit(emulator_address)
    return url.netloc, url.path.removeprefix("/")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_without_the_token(place: tuple[str, str], bucket_name: str, method: str) -> None:
    host, token = place
    wrong = new_token()
    objects = f"storage/v1/b/{bucket_name}/o"
    for path in (f"/{objects}", f"/{wrong}/{objects}", f"/{bucket_name}/a", f"/{token[:-1]}/{objects}", "/"):
        assert status(host, path, method) == 401
    upload = f"/upload/storage/v1/b/{bucket_name}/o?uploadType=media&name=a"
    assert status(host, upload, "POST", b"x" * 100, Authorization=f"Bearer {wrong}") == 401
    assert Bucket(f"gs://{bucket_name}/").list() == {}
    assert status(host, upload, "POST", b"x" * 100, Authorization=f"Bearer {token}") == 200
    assert list(Bucket(f"gs://{bucket_name}/").list()) == ["a"]


def test_all_ways_of_an_object(bucket_name: str, tmp_path: Path) -> None:
    """Through Google's client: media, multipart and resumable uploads, ranges, pages, text with addresses."""
    bucket = Bucket(f"gs://{bucket_name}/نص/")
    data = os.urandom(9_000_000)  # Above 8 MB, the client's upload is resumable.
    (tmp_path / "large").write_bytes(data)
    bucket.upload(tmp_path / "large", "a b/large%2F?")
    bucket.download("a b/large%2F?", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data
    assert bucket.read_start("a b/large%2F?", 1000) == data[:1000]
    address = os.environ["STORAGE_EMULATOR_HOST"].rpartition("/")[0]
    text = json.dumps({"mediaLink": f"{address}/download", "x": [f"{address}/"]})
    bucket.write_text("text.json", text)
    assert bucket.read_text("text.json") == text, "an object is not changed"
    blob = bucket.get("text.json")
    assert blob is not None
    assert blob.download_as_bytes().decode() == text
    assert blob.size == len(text)
    bucket.write_text("empty", "")
    assert bucket.read_text("empty") == ""
    assert sorted(bucket.list()) == ["a b/large%2F?", "empty", "text.json"]
    assert bucket.folders() == ("a b/",)
    bucket.delete("text.json")
    assert bucket.get("text.json") is None


def test_a_chunked_upload_without_a_length(emulator_address: str, bucket_name: str) -> None:
    url = f"{emulator_address}/upload/storage/v1/b/{bucket_name}/o?uploadType=media&name=a"
    pieces = iter([b"one", b"two" * 100_000, b"three"])
    request = urllib.request.Request(url, pieces, {"Content-Type": "text/plain"}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    assert Bucket(f"gs://{bucket_name}/").read_text("a") == "one" + "two" * 100_000 + "three"


def test_the_server_has_no_port_that_others_reach(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unless the kernel refuses namespaces; then the user is warned."""
    (port,), token = free_ports(1), new_token()
    with caplog.at_level(logging.WARNING):
        process = gcs.start(tmp_path / "buckets", port, token, log=tmp_path / "log")
    try:
        (server,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        own = os.readlink("/proc/self/ns/net")
        is_apart = os.readlink(f"/proc/{server}/ns/net") != own
        assert is_apart != ("other users of this machine" in caplog.text)
        # Every user can read a command line, and nothing of an environment.
        for pid in (process.pid, server):
            assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert (tmp_path / "buckets").stat().st_mode & 0o77 == 0
    finally:
        process.kill()
        process.wait()
    # With the gate, its server ends.
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


class Recorder(BaseHTTPRequestHandler):
    """A server that answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        host = self.headers["Host"]
        answer = {"headers": dict(self.headers), "body": body.decode(), "selfLink": f"http://{host}/x"}
        data = json.dumps({"path": self.path, **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", f"http://{host}/upload/storage/v1/b/x/o?upload_id=1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def recorded() -> Iterator[tuple[str, str]]:
    """A gate with a recording server: the gate's host and port, and its token."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (port,), token = free_ports(1), new_token()
    host = f"127.0.0.1:{port}"
    options = ["--upstream", f"127.0.0.1:{server.server_port}"]
    process = gcs.start_gate(port, token, f"http://{host}", options)
    while True:
        try:
            if status(host, f"/{token}/") == 200:
                break
        except ConnectionError:
            assert process.poll() is None
    yield host, token
    process.kill()
    process.wait()
    server.shutdown()
    server.server_close()


def asked(host: str, path: str, **headers: str) -> tuple[dict[str, Any], str]:
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("POST", path, b"body", headers)
    answer = connection.getresponse()
    found = json.loads(answer.read()), str(answer.getheader("Location"))
    connection.close()
    return found


def test_what_is_passed_on(recorded: tuple[str, str]) -> None:
    host, token = recorded
    for path, headers in (
        (f"/{token}/storage/v1/b/x/o?prefix=a%2Fb", {}),
        ("/storage/v1/b/x/o?prefix=a%2Fb", {"Authorization": f"Bearer {token}"}),
    ):
        given, location = asked(host, path, **headers, **{"X-Own": "1"})
        assert given["path"] == "/storage/v1/b/x/o?prefix=a%2Fb"
        assert given["body"] == "body"
        assert given["headers"]["X-Own"] == "1"
        assert given["headers"]["Host"] == host
        assert "Authorization" not in given["headers"]
        # What a client requests next has the token.
        assert given["selfLink"] == f"http://{host}/{token}/x"
        assert location == f"http://{host}/{token}/upload/storage/v1/b/x/o?upload_id=1"


@pytest.mark.parametrize("path", ["download/storage/v1/b/x/o/a", "storage/v1/b/x/o/a?alt=media", "x/a"])
def test_the_bytes_of_an_object_are_passed_on(recorded: tuple[str, str], path: str) -> None:
    host, token = recorded
    given, _ = asked(host, f"/{token}/{path}")
    assert given["selfLink"] == f"http://{host}/x"


def test_a_server_that_is_gone_is_said(tmp_path: Path) -> None:
    (port, nothing), token = free_ports(2), new_token()
    process = gcs.start_gate(port, token, f"http://127.0.0.1:{port}", ["--upstream", f"127.0.0.1:{nothing}"])
    try:
        while True:
            try:
                assert status(f"127.0.0.1:{port}", f"/{token}/storage/v1/b") == 502
                break
            except ConnectionError:
                assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_google_and_airflow_find_it_by_one_variable(bucket_name: str) -> None:
    """As the connection google_cloud_default and gcsfs do."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    from qarib_tasks.corpus.sources import filesystem

    client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    client.bucket(bucket_name).blob("a/b").upload_from_string(b"text")
    assert GCSHook().download(bucket_name, "a/b") == b"text"
    files = filesystem(f"gs://{bucket_name}/a/b", None)
    assert files.ls(f"{bucket_name}/a") == [f"{bucket_name}/a/b"]
    assert files.cat_file(f"{bucket_name}/a/b") == b"text"
