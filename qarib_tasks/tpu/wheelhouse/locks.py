"""Lock files: the versions and checksums of requirements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "requirements"
_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)\s*(?:;(?P<marker>[^\\]*))?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass
class Pin:
    """A requirement of a lock file."""

    name: str
    version: str
    marker: str = ""
    hashes: set[str] = field(default_factory=set)


def read_pins(lock: Path) -> list[Pin]:
    """The requirements of a lock file, with their hashes."""
    pins: list[Pin] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if found := _PIN.match(line):
            marker = (found["marker"] or "").strip()
            pins.append(Pin(normal(found["name"]), found["version"].strip(), marker))
        if pins:
            pins[-1].hashes.update(_HASH.findall(line))
    return pins


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
