"""The lock files, read."""

from __future__ import annotations

import re
from pathlib import Path


def locked(path: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """The versions of each package in a lock, with their checksums."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *rest = line.split()
            name, _, version = requirement.partition("==")
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)
            assert version, f"{path.name}: {line}"
            found.setdefault(name, []).append((version, hashes))
            assert not [word for word in rest if "://" in word or word.startswith(("-i", "--index"))]
    return found
