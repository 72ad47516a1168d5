"""Sources far away: web servers and buckets.

Covers qarib_tasks/corpus/remote/filesystem.py, qarib_tasks/emulators/gcs.py.
"""

from __future__ import annotations

import gzip
import http.server
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientConnectorCertificateError
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from ports import free_ports

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.remote import filesystem
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.emulators import gcs
from qarib_tasks.emulators.access import new_token
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError, RefusedError, StorageError

HOST: Any = SimpleNamespace(host="x", port=443, is_ssl=True)
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
        kind = self.path.strip("/").partition("?")[0].partition(".")[0]
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
            bodies = {"packed": gzip.compress(BODY, mtime=0), "login": b"<!DOCTYPE html><html>Log in"}
            body = bodies.get(kind, BODY)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"one"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if kind == "short" else body)
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
    shutil.rmtree(tmp_path / "out")
    assert fetched(f"{server}/good.txt", tmp_path).encode() == BODY
    assert Server.requests == ["/good.txt"]
    copy = next(path for path in (tmp_path / "cache").iterdir() if path.suffix == ".txt")
    copy.write_bytes(b"damaged")
    assert fetched(f"{server}/good.txt", tmp_path).encode() == BODY
    assert Server.requests == ["/good.txt"] * 2


def test_what_a_web_server_serves_is_what_its_bytes_say(server: str, tmp_path: Path) -> None:
    assert fetched(f"{server}/packed?id=7", tmp_path).encode() == BODY
    with pytest.raises(InputError, match=f"{server}/login: not plain text, but an HTML page"):
        fetched(f"{server}/login?next=secret", tmp_path)


def test_a_checksum_that_is_given_must_be_right(server: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="the SHA-256 is"):
        fetched(f"{server}/good.txt", tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/status500.txt", StorageError, "the server answered 500"),
        ("/status429.txt", StorageError, "the server answered 429"),
        ("/status401.txt", RefusedError, "the server answered 401.*needs no login"),
        ("/status403.txt", RefusedError, "the server answered 403.*that this machine may read"),
        ("/status451.txt", RefusedError, "the server answered 451.*Correct the address"),
        ("/status404.txt", InputError, "no such file"),
        ("/short.txt", StorageError, "cannot download"),
        # Without an address, there is nothing to follow; and no other answer is the file.
        ("/status302.txt", StorageError, "the server answered 302 Found, not the file"),
        ("/status300.txt", StorageError, "the server answered 300"),
        ("/status304.txt", StorageError, "the server answered 304"),
        ("/status204.txt", StorageError, "the server answered 204"),
    ],
)
def test_a_web_server_that_fails_is_a_clear_error(
    server: str, tmp_path: Path, path: str, error: type[QaribError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        fetched(server + path, tmp_path)
    assert type(raised.value) is error
    assert path in str(raised.value)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("address", "cause", "message"),
    [
        ("https://x/a", ClientConnectorCertificateError(HOST, ssl.SSLError("self-signed")), "SSL_CERT_FILE"),
        ("gs://b/a", OSError("Forbidden: https://storage/b/a"), "Storage Object Viewer"),
    ],
)
def test_what_stays_refused(address: str, cause: Exception, message: str) -> None:
    """As fsspec and gcsfs raise it."""
    with pytest.raises(RefusedError, match=message), filesystem.remote_errors(address):
        raise cause
    with pytest.raises(RefusedError, match=message), filesystem.remote_errors(address):
        raise FileNotFoundError(address) from cause


def test_a_web_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "SILENT_SECONDS", 0.2)
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


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Bucket]:
    (port,), token = free_ports(1), new_token()
    emulator = gcs.start(tmp_path / "bucket", port, token)
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.address(port, token))
        client = storage.Client(project="test", credentials=AnonymousCredentials())
        yield client.create_bucket("some-bucket")
    finally:
        emulator.terminate()
        emulator.wait()


def test_sources_in_a_bucket(bucket: storage.Bucket, tmp_path: Path) -> None:
    for name in ("b", "a"):
        bucket.blob(f"texts/{name}.txt").upload_from_string(f"نص {name}ب\n", content_type="text/plain")
    allowed = AllowedSources.of_deployment([str(tmp_path), "gs://some-bucket/"])
    assert fetched("gs://some-bucket/texts/*.txt", tmp_path, allowed) == "نص aب\n\nنص bب\n"
    first = list_files(SourceConfig(name="s", path="gs://some-bucket/texts/a.txt"))[0]
    bucket.blob("texts/a.txt").upload_from_string("نص جد\n", content_type="text/plain")
    assert list_files(SourceConfig(name="s", path="gs://some-bucket/texts/a.txt"))[0].version != first.version
    assert fetched("gs://some-bucket/texts/a.txt", tmp_path, allowed) == "نص جد\n"
    with pytest.raises(InputError, match="no such file"):
        fetched("gs://some-bucket/texts/c.txt", tmp_path, allowed)


def test_an_object_that_is_stored_compressed(bucket: storage.Bucket, tmp_path: Path) -> None:
    stored = gzip.compress(BODY)
    for name in ("a.txt", "b.txt.gz"):
        blob = bucket.blob(name)
        blob.content_encoding = "gzip"
        blob.upload_from_string(stored, content_type="text/plain")
    expected = BODY.decode() + "\n" + BODY.decode()
    assert fetched("gs://some-bucket/*", tmp_path, document="file") == expected
    (copy,) = (tmp_path / "cache").glob("*a.txt")
    assert copy.read_bytes() == stored


NAMES_IN_A_BUCKET = [
    ("book [2013].txt", ["book [2013].txt"]),
    ("data[1].txt", ["data[1].txt"]),
    ("data[1-9].txt", ["data1.txt"]),
    ("data*.txt", ["data1.txt", "data[1].txt"]),
    ("dir [ar]/*.txt", ["dir [ar]/a.txt", "dir [ar]/b.txt"]),
    ("dir [ar]/**/*.txt", ["dir [ar]/a.txt", "dir [ar]/b.txt", "dir [ar]/deep/c.txt"]),
    ("dir [ar]", ["dir [ar]/a.txt", "dir [ar]/b.txt", "dir [ar]/deep/c.txt"]),
    ("dir [ar]/", ["dir [ar]/a.txt", "dir [ar]/b.txt", "dir [ar]/deep/c.txt"]),
    ("50% #1?.txt", ["50% #1?.txt"]),
    ("*/deep/c.txt", ["dir [ar]/deep/c.txt"]),
]


def test_names_in_a_bucket(bucket: storage.Bucket) -> None:
    for name in (
        "book [2013].txt",
        "data1.txt",
        "data[1].txt",
        "dir [ar]/b.txt",
        "dir [ar]/a.txt",
        "dir [ar]/deep/c.txt",
        "dir [ar]/.hidden",
        "50% #1?.txt",
        "50% #12.txt",
    ):
        bucket.blob(name).upload_from_string(f"{name}\n")
    start = "gs://some-bucket/"
    for path, names in NAMES_IN_A_BUCKET:
        found = list_files(SourceConfig(name="s", path=start + path))
        assert [file.address.removeprefix(start) for file in found] == names, path
        assert [file.name for file in found] == [name.rpartition("/")[2] for name in names]
        assert all(file.bytes and file.version for file in found)
    with pytest.raises(InputError, match=r"gs://some-bucket/none/\*\.txt: no such file"):
        list_files(SourceConfig(name="s", path="gs://some-bucket/none/*.txt"))


def test_a_file_of_a_bucket_is_copied_whatever_its_name(bucket: storage.Bucket, tmp_path: Path) -> None:
    for name in ("50% #1?.txt", "x" * 200 + ".txt"):
        bucket.blob(name).upload_from_string("نص جد\n", content_type="text/plain")
        assert fetched(f"gs://some-bucket/{name}", tmp_path) == "نص جد\n"


@pytest.mark.parametrize(
    ("path", "requested"),
    [
        ("/my file [1].txt?a=*&b=%20#top", "/my%20file%20%5B1%5D.txt?a=*&b=%20"),
        ("/50%25%20it's.txt", "/50%25%20it's.txt"),
    ],
)
def test_a_web_address_is_no_pattern(server: str, tmp_path: Path, path: str, requested: str) -> None:
    assert fetched(server + path, tmp_path).encode() == BODY
    assert Server.requests == [requested]


def test_an_error_names_the_whole_address(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        fetched(f"{server}/folder/good.jsonl?version=7", tmp_path, format="jsonl")
    assert str(raised.value).startswith(f"{server}/folder/good.jsonl:1: ")
    for name in ("AA", "BB"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text('{"text": 1}\n' if name == "BB" else '{"text": "نص"}\n')
    with pytest.raises(InputError) as raised:
        fetched(f"{tmp_path}/*/x.jsonl", tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/BB/x.jsonl:1: ")


def test_sources_with_the_same_settings_read_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("نص\n", encoding="utf-8")
    (tmp_path / "b.txt").symlink_to("a.txt")
    sources = [{"name": name, "path": f"{tmp_path}/{name}.txt"} for name in ("a", "b")]
    for more, count in (({}, 1), ({"document": "line"}, 2)):
        config = from_dict(CollectConfig, {"sources": [sources[0], sources[1] | more], "deduplicate": False})
        out = tmp_path / f"out{count}" / "data.txt"
        manifest = collect(config, out, heldout=None, random_seed=34)
        assert manifest.statistics["documents"] == count
    same = from_dict(CollectConfig, {"sources": [sources[0], sources[0]]})
    with pytest.raises(ConfigError, match="several sources have the name a"):
        collect(same, tmp_path / "out" / "data.txt", heldout=None, random_seed=34)


def test_the_log_has_no_traceback_of_a_bucket_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    logging.getLogger("gcsfs").setLevel(logging.NOTSET)
    filesystem.filesystem("gs://bucket/a.txt", None)
    assert not logging.getLogger("gcsfs").isEnabledFor(logging.ERROR)
