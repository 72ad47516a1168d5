"""Pinning the base images, with a registry on this machine that wants a token."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pin_images
import pytest

INDEX = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = "sha256:" + hashlib.sha256(INDEX).hexdigest()
OLD = "sha256:" + "0" * 64


class Registry(BaseHTTPRequestHandler):
    said = DIGEST

    def do_GET(self) -> None:
        address = f"http://{self.headers['Host']}"
        if self.path == "/token?service=tests&scope=pull":
            self.answer(200, json.dumps({"token": "T0KEN"}).encode())
        elif self.headers["Authorization"] != "Bearer T0KEN":
            challenge = f'Bearer realm="{address}/token",service="tests",scope="pull"'
            self.answer(401, b"", {"WWW-Authenticate": challenge})
        elif self.path == "/v2/base/image/manifests/1.2-slim" and "index.v1" in self.headers["Accept"]:
            self.answer(200, INDEX, {"Docker-Content-Digest": self.said})
        else:
            self.answer(404, b"")

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def files(folder: Path, image: str) -> tuple[str, str]:
    (folder / "Dockerfile").write_text(f"# A comment.\nARG PYTHON_IMAGE={image}\n\nFROM ${{PYTHON_IMAGE}}\n")
    (folder / "docker-compose.yaml").write_text(f"image: ${{QARIB_IMAGE:-{image}}}\nother: base:1.2\n")
    return (folder / "Dockerfile").read_text(), (folder / "docker-compose.yaml").read_text()


def test_the_digest_of_the_tag_is_written(tmp_path: Path, registry: str) -> None:
    image = f"{registry}/base/image:1.2-slim"
    before = files(tmp_path, f"{image}@{OLD}")
    assert pin_images.pin(tmp_path) == [f"{image}  {OLD} -> {DIGEST}"]
    after = ((tmp_path / "Dockerfile").read_text(), (tmp_path / "docker-compose.yaml").read_text())
    assert after == tuple(text.replace(OLD, DIGEST) for text in before)
    assert pin_images.pin(tmp_path) == [f"{image}  unchanged"]


@pytest.mark.parametrize("tag", ["1.3", "1.2-slim"])
def test_nothing_is_written_without_a_digest(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    monkeypatch.setattr(Registry, "said", OLD)
    before = files(tmp_path, f"{registry}/base/image:{tag}@{OLD}")
    with pytest.raises(pin_images.PinError, match=f"{tag}: {registry}"):
        pin_images.pin(tmp_path)
    assert (tmp_path / "Dockerfile").read_text() == before[0]


def test_the_registry_of_an_image() -> None:
    assert pin_images.place("python") == ("registry-1.docker.io", "library/python")
    assert pin_images.place("someone/image") == ("registry-1.docker.io", "someone/image")
    assert pin_images.place("registry.example/a/b") == ("registry.example", "a/b")


def test_every_base_image_of_the_project_is_found() -> None:
    """And so is kept at its newest by `make images`."""
    texts = [(pin_images.REPOSITORY / name).read_text(encoding="utf-8") for name in pin_images.FILES]
    found = {match["name"] for text in texts for match in pin_images.PINNED.finditer(text)}
    assert found == {"python", "postgres", "redis", "fsouza/fake-gcs-server"}
