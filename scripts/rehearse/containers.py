"""Machines of the Cloud TPU emulator that are containers with a network of their own."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.emulators.cloud_tpu.vm import STARTUP_SCRIPT, Machine

IMAGE = "qarib:bare-machine"
# How this machine reaches the package index: the containers reach it in the same way.
OF_THE_INDEX = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"),
    *("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):
    """A check of the rehearsal, or what it needs."""


def docker(*arguments: str, check: bool = True, given: bytes | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=given, capture_output=True, check=False)
    if check and done.returncode != 0:
        raise Failed(f"docker {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def build(base: str) -> None:
    file = Path(__file__).with_name("bare.Dockerfile")
    command = ["docker", "build", "--quiet", "--tag", IMAGE, "--build-arg", f"BASE={base}", "-"]
    with file.open("rb") as source:
        done = subprocess.run(
            command, stdin=source, env=os.environ | {"DOCKER_BUILDKIT": "1"}, capture_output=True
        )
    if done.returncode != 0:
        raise Failed(done.stderr.decode(errors="replace"))


class Network:
    """A network of containers. Without a way out, they reach this machine and nothing else."""

    def __init__(self, name: str, way_out: bool) -> None:
        self.name = name
        docker("network", "create", *([] if way_out else ["--internal"]), name)
        form = "{{(index .IPAM.Config 0).Gateway}}"
        self.gateway = docker("network", "inspect", "--format", form, name).strip()

    def remove(self) -> None:
        docker("network", "rm", self.name, check=False)


class Container(Machine):
    """A machine whose disk is a container's, and whose power is the container's.

    The subclass that `on` returns knows the network. The startup script runs as Google's guest agent runs it:
    as root, by its path, with few variables; HOME is not one of them.
    """

    network: Network
    files: Mapping[str, str]

    @classmethod
    def on(cls, network: Network, files: Mapping[str, str]) -> type[Container]:
        """The machines of a network.

        Args:
            files: paths on this machine, by the paths on the containers' disks.
        """
        values: dict[str, Any] = {"host": network.gateway, "network": network, "files": files}
        return type("ContainerOn", (cls,), values)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.name = f"qarib-rehearsal-{os.getpid()}-{self.folder.parent.name}"
        self._made = False

    def boot(self) -> None:
        self.power_off()
        self.metadata.set(preempted="FALSE", maintenance_event="NONE")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._made:
            self._make()
            self._made = True
        values = {name: os.environ[name] for name in OF_THE_INDEX if os.environ.get(name)}
        values |= {"PATH": PATH, "LANG": "C.UTF-8", "JAX_PLATFORMS": "cpu"} | self.environment
        values["GCE_METADATA_HOST"] = self.metadata.address
        # In a file, not in a command line, which every user could read.
        variables = self.folder / "environment"
        variables.touch(mode=0o600)
        variables.write_text("".join(f"export {name}='{value}'\n" for name, value in values.items()))
        self._power_on(variables)
        command = "set -eu; unset HOME; . /environment; bash /startup-script; echo exit status $?"
        with self.serial_log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("/usr/bin/env", "-i", "bash", "-c", command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        threading.Thread(target=self._process.wait, daemon=True).start()

    def _make(self) -> None:
        docker("create", "--name", self.name, "--network", self.network.name, IMAGE)
        script = self.folder / STARTUP_SCRIPT
        script.write_text(self.startup_script, encoding="utf-8", newline="")
        docker("cp", str(script), f"{self.name}:/startup-script")
        for place, path in self.files.items():
            docker("cp", path, f"{self.name}:{place}")

    def _power_on(self, variables: Path) -> None:
        docker("start", self.name)
        docker("cp", str(variables), f"{self.name}:/environment")

    def _command(self, *command: str) -> list[str]:
        return ["docker", "exec", self.name, *command]

    def notice(self) -> None:
        self.metadata.set(preempted="TRUE")
        docker("exec", self.name, "bash", "-c", "kill -TERM -1", check=False)

    def run(self, command: str) -> tuple[int, str]:
        """Run a command on the machine: its exit status and output."""
        line = self._command("bash", "-c", f". /environment; {command}")
        done = subprocess.run(line, capture_output=True, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def freeze(self) -> None:
        docker("pause", self.name)

    def power_off(self) -> None:
        if self._process is None:
            return
        self._power_off()
        self._process.wait()
        self._process = None

    def _power_off(self) -> None:
        docker("kill", self.name, check=False)

    def destroy(self) -> None:
        self.power_off()
        if self._made:
            self._destroy()
        self.metadata.close()

    def _destroy(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)
