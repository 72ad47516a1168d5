"""A deployment to check: a stand-in for Google's APIs, an emulated Cloud TPU, and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.google.stand_in import MACHINE, GoogleStandIn, World

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Checked:
    """A deployment that a test breaks before it runs the doctor.

    Attributes:
        settings: of the run's config file.
        environment: of the command.
    """

    folder: Path
    google: GoogleStandIn
    tpu: str
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = {
            "workspace": str(self.folder / "work"),
            "upload": {"bucket": "my-bucket"},
            "tpu": {"zones": ["us-central1-a"], "service_account": MACHINE},
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "QARIB_GOOGLE_APIS": self.google.address,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.google.key_file(self.folder / "key.json")),
            "CLOUD_TPU_EMULATOR_HOST": self.tpu,
            # google-auth asks a host of its own in a thread. Nothing beyond this machine answers at once.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }

    @property
    def world(self) -> World:
        return self.google.world

    def run(self, *, with_config: bool = True) -> subprocess.CompletedProcess[str]:
        config = self.folder / "run.yaml"
        config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "qarib_tasks.cli",
                "doctor",
                *(("--config", str(config)) if with_config else ()),
            ],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )


def lines(text: str, state: str) -> list[tuple[str, str]]:
    """The subject and the text of each line of this state, with its command."""
    found = []
    for line in text.replace(f"\n{' ' * 26}do: ", " DO: ").splitlines():
        if line.startswith(f"{state:<9}"):
            found.append((line[9:26].strip(), line[26:]))
    return found
