"""A stand-in for the program `docker` of a TPU's machine.

It has the calls and options of startup.sh, and refuses others. A container is a process on this machine, with
the options' variables and no others; `python` is this Python. What it cannot show: that Docker takes the
options, and that the image has what it must.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("docker_stand_in.py")


@dataclass
class DockerProgram:
    """The program, in a folder to put first in a machine's PATH.

    Args:
        folder: for the program, and what it keeps; is made.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        command = map(shlex.quote, (sys.executable, "-I", str(PROGRAM), str(self.folder)))
        program = self.folder / "docker"
        program.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        for name in ("images", "registry", "calls"):
            (self.folder / name).touch()

    def publish(self, image: str) -> None:
        """Let it find an image in the registry."""
        with (self.folder / "registry").open("a") as file:
            file.write(f"{image}\n")

    def calls(self, command: str) -> list[list[Any]]:
        """Return the arguments of each call of a command; the last one of `login` is its standard input."""
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [arguments for name, *arguments in map(json.loads, lines) if name == command]
