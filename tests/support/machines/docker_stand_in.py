"""The stand-in for the program `docker`: see docker.py. Arguments: the folder of its files, then docker's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[1])
CONTAINERS = HERE / "containers"
FLAGS = ("--rm", "--init", "--privileged")
VALUES = (
    *("--name", "--user", "--network", "--ipc", "--log-driver", "--stop-timeout", "--volume", "--workdir"),
    *("--env", "--entrypoint"),
)


def known(name: str) -> set[str]:
    return set((HERE / name).read_text().split())


def main(command: str, *arguments: str) -> int:
    call = [command, *arguments]
    if command == "login":
        call.append(sys.stdin.read().strip())
        config = Path(os.environ["DOCKER_CONFIG"])
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.json").write_text(call[-1])
    with (HERE / "calls").open("a") as calls:
        calls.write(json.dumps(call) + "\n")
    if command in ("info", "login"):
        return 0
    if command == "image":
        if "--format" in arguments:
            print("PATH=/opt/venv/bin\nQARIB_CODE_VERSION=102bb296a001")
        return 0 if arguments[-1] in known("images") else 1
    if command == "pull":
        if arguments[-1] not in known("registry"):
            print("Error response from daemon: denied", file=sys.stderr)
            return 1
        with (HERE / "images").open("a") as images:
            images.write(arguments[-1] + "\n")
        return 0
    if command == "rm":
        (CONTAINERS / arguments[-1]).unlink(missing_ok=True)
        return 0
    assert command == "run", command
    return run(list(arguments))


def run(left: list[str]) -> int:
    options: dict[str, Any] = {"--env": []}
    while left[0].startswith("--"):
        name = left.pop(0)
        if name in FLAGS:
            options[name] = True
            continue
        assert name in VALUES, name
        value = left.pop(0)
        if name == "--env":
            options[name].append(value)
        else:
            options[name] = value
    image, *command = left
    assert image in known("images"), image
    assert options["--volume"] == options["--workdir"] + ":" + options["--workdir"], options
    assert options["--entrypoint"] == "python"
    container = CONTAINERS / options["--name"]
    CONTAINERS.mkdir(exist_ok=True)
    if container.exists():
        print("Conflict. The container name is already in use", file=sys.stderr)
        return 125
    container.touch()
    pairs = [one if "=" in one else f"{one}={os.environ[one]}" for one in options["--env"]]
    environment = {"PATH": os.defpath} | dict(one.split("=", 1) for one in pairs)
    work: subprocess.Popen[bytes] | None = None

    def forward(number: int, frame: Any) -> None:
        if work is not None:
            work.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    work = subprocess.Popen([sys.executable, *command], cwd=options["--workdir"], env=environment)
    status = work.wait()
    container.unlink()
    return status if status >= 0 else 128 - status


sys.exit(main(*sys.argv[2:]))
