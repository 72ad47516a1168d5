"""Of files far away, only the beginning is downloaded."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.preview import stream
from qarib_tasks.errors import StorageError
from qarib_tasks.storage.bucket import default_client
from tests.support.collecting import as_parquet, as_text, seen, sentences

LINES = sentences(150_000)
BODY = as_text(LINES)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves bodies by path, with ranges below /ranges; counts the bytes that were sent."""

    bodies: dict[str, bytes]
    sent: int
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.bodies[self.path.rpartition("/")[2]]
        ranges = self.path.startswith("/ranges/")
        asked = self.headers.get("Range") if ranges else None
        start, end = 0, len(body)
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(end, int(last) + 1 if last else end)
        self.send_response(206 if asked else 200)
        if ranges:
            self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            for place in range(start, end, 1 << 16):
                part = body[place : min(end, place + (1 << 16))]
                try:
                    self.wfile.write(part)
                except OSError:
                    self.close_connection = True
                    return
                type(self).sent += len(part)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", BODY)
    Server.sent = 0
    Server.bodies = {"a.txt": BODY * 4, "a.zip": packed.getvalue(), "a.parquet": as_parquet(LINES)}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("ranges/a.txt", 0.15),
        ("plain/a.txt", 0.3),  # What the machine's buffers hold is sent, too.
        ("ranges/a.zip", 0.5),
        ("ranges/a.parquet", 0.8),
    ],
)
def test_a_web_server_sends_only_the_beginning(path: str, most: float, server: str) -> None:
    found = seen(f"{server}/{path}", cleaning={"cleaning": []})
    size = len(Server.bodies[path.rpartition("/")[2]])
    assert size > 4_000_000
    assert 0 < Server.sent < most * size
    assert not found.complete
    assert found.bytes == size
    whole = len(LINES) * (4 if path.endswith(".txt") else 1)
    assert found.lines
    assert 0.7 * whole < found.lines < 1.3 * whole


def test_an_archive_without_ranges_is_read_to_a_limit(server: str) -> None:
    """Its directory is at its end."""
    limits = Limits(preview_download=2 << 20)
    found = seen(f"{server}/plain/a.zip", AllowedSources(addresses=(f"{server}/",), limits=limits))
    assert found.sample_lines == 0
    assert found.warnings == ("the sample is small: 2 MiB are downloaded",)
    assert Server.sent < len(Server.bodies["a.zip"])


def test_an_object_is_read_from_its_beginning(bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = default_client().bucket(bucket_name)
    bucket.blob("a.txt").upload_from_string(BODY)
    stored = bucket.blob("b.txt")
    stored.content_encoding = "gzip"
    stored.upload_from_string(gzip.compress(BODY, 1))
    opened: list[stream.Beginning] = []

    class Kept(stream.Beginning):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(self)

    monkeypatch.setattr(stream, "Beginning", Kept)
    found = seen(f"gs://{bucket_name}/a.txt", cleaning={"cleaning": []})
    assert found.lines
    assert 0.9 * len(LINES) < found.lines < 1.1 * len(LINES)
    assert 0 < opened[0].passed < 0.4 * len(BODY)
    found = seen(f"gs://{bucket_name}/b.txt", cleaning={"cleaning": []})
    assert found.formats == ("text in gz",)
    assert found.lines
    assert 0.9 * len(LINES) < found.lines < 1.1 * len(LINES)


def test_a_server_that_fails_is_named(bucket_name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9/a\.txt: cannot download"):
        seen("http://127.0.0.1:9/a.txt")
