"""Sources far away: web servers and buckets.

Covers qarib_tasks/emulators/gcs.py.
"""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.corpus import sources
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.emulators import gcs
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError, StorageError

BODY = "نص من بعيد\n".encode() * 100


class Server(http.server.BaseHTTPRequestHandler):
    """Serves BODY; the path says how badly."""

    requests: list[str]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.answer()

    def answer(self) -> None:
        kind = self.path.strip("/").partition(".")[0]
        if kind.startswith("status"):
            self.send_response(int(kind.removeprefix("status")))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://localhost:9/secret.txt")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.send_header("ETag", '"one"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(BODY[: len(BODY) // 2] if kind == "short" else BODY)
                self.close_connection = kind == "short"

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.requests = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def fetched(address: str, tmp_path: Path, allowed: AllowedSources | None = None, **settings: Any) -> str:
    values = {"sources": [{"name": "far", "path": address, **settings}], "deduplicate": False}
    out = tmp_path / "out" / "data.txt"
    config = from_dict(CollectConfig, values)
    collect(config, out, heldout=None, random_seed=34, cache=tmp_path / "cache", allowed=allowed)
    return out.read_text(encoding="utf-8")


def test_a_file_of_a_web_server_is_fetched_once_and_checked(server: str, tmp_path: Path) -> None:
    assert fetched(f"{server}/good.txt", tmp_path).encode() == BODY
    (tmp_path / "out" / "data.json").unlink()
    assert fetched(f"{server}/good.txt", tmp_path).encode() == BODY
    assert Server.requests == ["/good.txt"]
    copy = next(path for path in (tmp_path / "cache").iterdir() if path.suffix == ".txt")
    copy.write_bytes(b"damaged")
    assert fetched(f"{server}/good.txt", tmp_path).encode() == BODY
    assert Server.requests == ["/good.txt"] * 2


def test_a_checksum_that_is_given_must_be_right(server: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="the SHA-256 is"):
        fetched(f"{server}/good.txt", tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/status500.txt", StorageError, "the server answered 500"),
        ("/status403.txt", StorageError, "the server answered 403"),
        ("/status404.txt", InputError, "no such file"),
        ("/short.txt", StorageError, "cannot download"),
    ],
)
def test_a_web_server_that_fails_is_a_clear_error(
    server: str, tmp_path: Path, path: str, error: type[QaribError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        fetched(server + path, tmp_path)
    assert path in str(raised.value)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_web_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SILENT_SECONDS", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(StorageError, match="cannot download"):
        fetched(f"http://127.0.0.1:{silent.getsockname()[1]}/a.txt", tmp_path)
    with pytest.raises(StorageError, match="cannot download"):
        fetched("http://127.0.0.1:9/a.txt", tmp_path)


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(server: str, tmp_path: Path) -> None:
    allowed = AllowedSources.of([f"{server}/"])
    assert fetched(f"{server}/good.txt", tmp_path, allowed).encode() == BODY
    with pytest.raises(ConfigError, match=r"may not be read from http://localhost:9/secret\.txt"):
        fetched(f"{server}/redirect.txt", tmp_path, allowed)


def test_sources_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    emulator = gcs.start(tmp_path / "bucket", port)
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        client = storage.Client(project="test", credentials=AnonymousCredentials())
        bucket = client.create_bucket("some-bucket")
        for name in ("b", "a"):
            bucket.blob(f"texts/{name}.txt").upload_from_string(f"نص {name}ب\n", content_type="text/plain")
        allowed = AllowedSources.of_deployment(str(tmp_path), "some-bucket", SAMPLE)
        assert fetched("gs://some-bucket/texts/*.txt", tmp_path, allowed) == "نص aب\n\nنص bب\n"
        first = list_files(SourceConfig(name="s", path="gs://some-bucket/texts/a.txt"))[0]
        bucket.blob("texts/a.txt").upload_from_string("نص جد\n", content_type="text/plain")
        assert (
            list_files(SourceConfig(name="s", path="gs://some-bucket/texts/a.txt"))[0].version
            != first.version
        )
        assert fetched("gs://some-bucket/texts/a.txt", tmp_path, allowed) == "نص جد\n"
        with pytest.raises(InputError, match="no such file"):
            fetched("gs://some-bucket/texts/c.txt", tmp_path, allowed)
    finally:
        emulator.terminate()
        emulator.wait()
