"""Pin the base images of Dockerfile and docker-compose.yaml to what their tags name now.

    make images

Asks each image's registry for the digest of the tag, which stands for all platforms of the image, compares it
with the SHA-256 of the registry's answer, and writes it after the tag. Without a change, nothing is written.
Exit status 1: a registry did not answer, and no file was changed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = ("Dockerfile", "docker-compose.yaml")
PINNED = re.compile(r"(?P<name>[a-z0-9][a-z0-9._:/-]*):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
# Of all platforms first; an image of one platform has only the others.
KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class PinError(Exception):
    """A registry's answer cannot be used. The message has the image and the reason."""


def newest(name: str, tag: str) -> str:
    """Return the digest that a tag names now.

    Args:
        name: as in a Dockerfile: `python`, `someone/image`, `registry.example/image`.

    Raises:
        PinError: the registry does not answer, or its answer has another checksum than it says.
    """
    registry, path = place(name)
    scheme = "http" if registry.partition(":")[0] in ("127.0.0.1", "localhost") else "https"
    address = f"{scheme}://{registry}/v2/{path}/manifests/{tag}"
    headers = {"Accept": ", ".join(KINDS)}
    try:
        with httpx.Client(timeout=60, follow_redirects=True) as client:
            answer = client.get(address, headers=headers)
            if answer.status_code == 401:
                token = anonymous_token(client, answer.headers.get("WWW-Authenticate", ""))
                answer = client.get(address, headers=headers | {"Authorization": f"Bearer {token}"})
            answer.raise_for_status()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise PinError(f"{name}:{tag}: {registry} gave no digest: {error!r}") from None
    digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
    if (said := answer.headers.get("Docker-Content-Digest", digest)) != digest:
        raise PinError(f"{name}:{tag}: {registry} says {said}, but its answer has the digest {digest}")
    return digest


def place(name: str) -> tuple[str, str]:
    """Return an image's registry and its path there. Docker Hub is the default."""
    first, slash, rest = name.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        return first, rest
    return "registry-1.docker.io", name if slash else f"library/{name}"


def anonymous_token(client: httpx.Client, challenge: str) -> str:
    """Return a token for reading, from where a registry's `WWW-Authenticate` says."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    answer = client.get(fields.pop("realm"), params=fields)
    return str(answer.raise_for_status().json()["token"])


def pin(folder: Path) -> list[str]:
    """Write the newest digests into the files of a folder.

    Returns:
        a line for each image.

    Raises:
        PinError: see `newest`; no file was changed.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in (folder / name for name in FILES)}
    pinned = {found[0]: found for text in texts.values() for found in PINNED.finditer(text)}
    digests = {whole: newest(found["name"], found["tag"]) for whole, found in pinned.items()}
    for path, text in texts.items():
        new = PINNED.sub(lambda found: f"{found['name']}:{found['tag']}@{digests[found[0]]}", text)
        if new != text:
            path.write_text(new, encoding="utf-8")
    return [
        f"{found['name']}:{found['tag']}  "
        + ("unchanged" if digests[whole] == found["digest"] else f"{found['digest']} -> {digests[whole]}")
        for whole, found in pinned.items()
    ]


if __name__ == "__main__":
    try:
        print("\n".join(pin(REPOSITORY)))
    except PinError as error:
        sys.exit(str(error))
