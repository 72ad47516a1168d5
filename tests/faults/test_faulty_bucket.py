"""A bucket that refuses, fails, or cuts every download: one line with cause and remedy, after a limited time.

Covers qarib_tasks/storage/bucket.py.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.errors import StorageError
from qarib_tasks.storage.bucket import PATIENCE, Bucket
from tests.support.google.retries import Clock, moved_clock

SIZE = 100_000


@contextmanager
def serving(status: int, asked: list[str]) -> Iterator[Bucket]:
    """A bucket that answers everything with this status; with 200, it cuts every download.

    Args:
        asked: gets the path of each request.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if status == 200 and self.path.startswith("/download/"):
                self.send_response(200)
                self.send_header("Content-Length", str(SIZE))
                self.end_headers()
                self.wfile.write(b"x" * 10)
                self.close_connection = True
                return
            values = {
                "name": "file",
                "bucket": "b",
                "size": str(SIZE),
                "crc32c": "AAAAAA==",
                "generation": "1",
            }
            text = json.dumps(values if status == 200 else {"error": {"message": "for a reason"}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"api_endpoint": f"http://127.0.0.1:{server.server_port}"}
    client = storage.Client("p", credentials=AnonymousCredentials(), client_options=options)
    try:
        yield Bucket("gs://b/prefix/", client)
    finally:
        server.shutdown()
        server.server_close()


CALLS: dict[str, Callable[[Bucket, Path], object]] = {
    "get": lambda bucket, path: bucket.get("file"),
    "list": lambda bucket, path: bucket.list(),
    "folders": lambda bucket, path: bucket.folders(),
    "upload": lambda bucket, path: bucket.upload(path, "file"),
    "download": lambda bucket, path: bucket.download("file", path),
    "read_start": lambda bucket, path: bucket.read_start("file", 10),
    "read_text": lambda bucket, path: bucket.read_text("file"),
    "read_version": lambda bucket, path: bucket.read_version("file"),
    "write_text": lambda bucket, path: bucket.write_text("file", "text"),
    "delete": lambda bucket, path: bucket.delete("file"),
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return moved_clock(monkeypatch)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "what"),
    [
        *((401, "does not accept the credentials"), (403, "denies access"), (400, "refuses the request")),
        *((status, "does not answer as it should") for status in (429, 500, 502, 503, 504)),
    ],
)
def test_the_error_says_why_and_what_to_do(
    tmp_path: Path, clock: Clock, status: int, what: str, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    asked: list[str] = []
    with serving(status, asked) as bucket, pytest.raises(StorageError) as error:
        CALLS[call](bucket, path)
    assert what in str(error.value)
    assert str(error.value).startswith("gs://b/prefix/")
    assert error.value.do
    assert "\n" not in str(error.value)
    passes = status in (429, 500, 502, 503, 504)
    if passes:
        assert max(Counter(asked).values()) > 1
    assert bool(clock.now) == passes
    assert clock.now <= PATIENCE
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("call", ["upload", "write_text"])
def test_a_bucket_that_is_gone(tmp_path: Path, call: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    with (
        serving(404, []) as bucket,
        pytest.raises(StorageError, match=r"file: no such bucket\. Create") as error,
    ):
        CALLS[call](bucket, path)
    assert str(error.value).startswith("gs://b/prefix/file")


def test_downloads_that_are_always_cut_come_to_an_end(tmp_path: Path) -> None:
    asked: list[str] = []
    with serving(200, asked) as bucket, pytest.raises(StorageError, match="does not answer as it should"):
        bucket.download("file", tmp_path / "file")
    assert len([path for path in asked if path.startswith("/download/")]) > 1
    assert list(tmp_path.iterdir()) == []
