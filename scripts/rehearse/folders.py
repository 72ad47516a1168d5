"""Machines of the Cloud TPU emulator whose disk is a folder, without a container engine. Needs root.

The folder has a bare system, for example of `debootstrap --variant=minbase
--include=ca-certificates,curl,python3,python3-pip`. A machine is a namespace of processes with that root. It
shares the network of this process: without a way out, that is a namespace with only the loopback device.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearse.containers import Container

from qarib_tasks.emulators.cloud_tpu.vm import LOOPBACK

NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


class Loopback:
    """In place of a container's network."""

    gateway = LOOPBACK

    def __init__(self, way_out: bool) -> None:
        if not way_out:
            from qarib_tasks.emulators.gcs_gate import _enter_namespace

            _enter_namespace()

    def remove(self) -> None:
        pass


class Folder(Container):
    """A machine whose disk is the folder `root`; what an earlier machine wrote to /root is removed."""

    root: Path

    @classmethod
    def below(cls, root: Path, files: Mapping[str, str]) -> type[Folder]:
        return type("FolderBelow", (cls,), {"host": LOOPBACK, "root": root, "files": files})

    def _make(self) -> None:
        shutil.rmtree(self.root / "root", ignore_errors=True)
        (self.root / "root").mkdir()
        (self.root / "startup-script").write_text(self.startup_script, encoding="utf-8", newline="")
        for place, path in self.files.items():
            shutil.copy(path, self.root / place.lstrip("/"))

    def _power_on(self, variables: Path) -> None:
        shutil.copy(variables, self.root / "environment")

    def _command(self, *command: str) -> list[str]:
        return [*NAMESPACE, f"--root={self.root}", *command]

    def notice(self) -> None:
        self.metadata.set(preempted="TRUE")
        assert self._process is not None
        # Not to the first one, which is the machine's init.
        for pid in descendants(self._process.pid)[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _power_off(self) -> None:
        assert self._process is not None
        self._process.kill()

    def _destroy(self) -> None:
        pass

    def run(self, command: str) -> tuple[int, str]:
        line = self._command("/usr/bin/env", "-i", "bash", "-c", f". /environment; {command}")
        done = subprocess.run(line, capture_output=True, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def descendants(pid: int) -> list[int]:
    """The processes below one, its own children first."""
    found: list[int] = []
    new = [pid]
    while new:
        children: list[Any] = []
        for parent in new:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    children += [int(one) for one in task.read_text().split()]
        found += children
        new = children
    return found
