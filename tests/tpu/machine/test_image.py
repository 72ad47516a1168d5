"""A machine whose Docker runs an image: fetched once by its digest, told to end, and started again.

A program stands in for Docker, see tests/support/machines/docker.py: containers are processes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from tests.support.machines.docker import DockerProgram
from tests.support.machines.launches import NAME, Bench

pytestmark = pytest.mark.timeout(600)
IMAGE = f"us-docker.pkg.dev/p/images/qarib@sha256:{'0' * 64}"
SAYS = """
import json, os
print(json.dumps({"files": sorted(os.listdir()), "home": os.environ["HOME"], "here": os.getcwd()}))
print(json.dumps({name: value for name, value in os.environ.items() if name.startswith("QARIB")}))
"""


@pytest.fixture
def docker(tmp_path: Path) -> DockerProgram:
    return DockerProgram(tmp_path / "docker")


@pytest.fixture
def bench(bucket_name: str, emulator_address: str, tmp_path: Path, docker: DockerProgram) -> Bench:
    one = Bench(bucket_name, emulator_address, tmp_path)
    del one.environment["QARIB_PYTHON"]
    one.environment["PATH"] = f"{docker.folder}:{os.environ['PATH']}"
    return one


def said(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.log().splitlines() if line.startswith("{")]


def test_the_image_runs_instead_of_an_environment(bench: Bench, docker: DockerProgram, pipe: Path) -> None:
    docker.publish(IMAGE)
    config = bench.put("launch/config.yaml", b"a: 1\n")
    bench.run(bench.launch(["-c", SAYS], image=IMAGE, files=[config]), pipe)
    assert bench.report()["state"] == "succeeded", bench.log()
    assert f"qarib: image {IMAGE}, code 102bb296a001\n" in bench.log()
    place, variables = said(bench)
    # Nothing is installed, and the registry's token is not left on the disk.
    assert "config.yaml" in place["files"]
    assert not {"environment", "tpu.txt", "uv", ".docker"} & {*place["files"]}
    assert place["home"] == place["here"]
    assert (variables["QARIB_TPU_NAME"], variables["QARIB_TPU_WORKERS"]) == (NAME, "1")
    ((*login, token),) = docker.calls("login")
    assert login == ["--username", "oauth2accesstoken", "--password-stdin", "https://us-docker.pkg.dev"]
    assert token
    assert token not in json.dumps(docker.calls("run"))
    ((*options, image, dash, code),) = docker.calls("run")
    assert (image, dash, code) == (IMAGE, "-c", SAYS)
    # For libtpu, its devices, and the other machines of a slice.
    assert " ".join(options).startswith("--rm --init")
    assert {"--privileged", "--network host", "--ipc host"} <= {
        *options,
        *(f"{one} {value}" for one, value in pairwise(options)),
    }


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (75, "preempted"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((76, "other_ended"), (3, "failed"))),
    ],
)
def test_the_status_is_the_works(
    bench: Bench, docker: DockerProgram, pipe: Path, status: int, state: str
) -> None:
    docker.publish(IMAGE)
    bench.run(bench.launch(["-c", f"raise SystemExit({status})"], image=IMAGE), pipe)
    assert bench.report()["state"] == state, bench.log()


@pytest.mark.slow
@pytest.mark.parametrize("image", [IMAGE, f"example.org/qarib@sha256:{'0' * 64}"])
def test_an_image_that_cannot_be_had(bench: Bench, docker: DockerProgram, pipe: Path, image: str) -> None:
    bench.run(bench.launch(["-c", "print('trained')"], image=image), pipe)
    report = bench.report()
    assert report["state"] == "failed"
    assert (
        f"Docker can't pull {image} as 100000000001-compute@developer.gserviceaccount.com"
        in report["message"]
    )
    assert "denied" in report["message"]
    assert "roles/artifactregistry.reader" in report["message"]
    # Only Google's registries get the account's token.
    assert len(docker.calls("login")) == (image == IMAGE)
    assert docker.calls("run") == []


PROGRAMS = (
    *("bash", "curl", "sed", "awk", "tail", "tr", "stat", "mkdir", "flock", "sha256sum", "mv", "dirname"),
    *("date", "rm", "mkfifo", "touch", "tee", "sleep", "cat"),
)


def test_a_machine_without_docker(bench: Bench, docker: DockerProgram, pipe: Path) -> None:
    only = docker.folder / "only"
    only.mkdir()
    for name in PROGRAMS:
        (only / name).symlink_to(shutil.which(name) or "missing")
    bench.environment["PATH"] = str(only)
    bench.run(bench.launch(["-c", "print('trained')"], image=IMAGE), pipe)
    assert "this runtime version has no Docker" in bench.report()["message"]


# Saves how often it began. The first one prints a line a moment until it is told to end.
WORKS = """
import pathlib, signal, sys, time
begun = pathlib.Path("begun")
number = len(begun.read_text()) if begun.exists() else 0
begun.write_text("x" * (number + 1))
def end(*_):
    print("saved", flush=True)
    raise SystemExit(75)
signal.signal(signal.SIGTERM, end)
print("begins for the", number + 1, flush=True)
while number == 0:
    print("step", flush=True)
    time.sleep(0.01)
"""


def wait_for_work(emulator: TpuEmulator, number: int = 1) -> None:
    (machine,) = emulator.machines(NAME)
    while f"begins for the {number}" not in machine.output():
        time.sleep(0.05)


@pytest.mark.parametrize("by", ["notice", pytest.param("stop", marks=pytest.mark.slow)])
def test_a_container_that_is_told_to_end_saves_first(
    bench: Bench, docker: DockerProgram, pipe: Path, by: str
) -> None:
    docker.publish(IMAGE)

    def tell(emulator: TpuEmulator) -> None:
        wait_for_work(emulator)
        if by == "notice":
            emulator.strike(NAME, kind="preempt", notice=30)
        else:
            bench.bucket.blob(f"launches/{NAME}/stop").upload_from_string(b"")

    bench.run(bench.launch(["-c", WORKS], image=IMAGE, report_every=0.1), pipe, meanwhile=tell)
    report = bench.report()
    assert report["state"] == ("preempted" if by == "notice" else "stopped"), report["message"]
    assert "saved\n" in report["message"]


def test_after_another_boot_it_goes_on(bench: Bench, docker: DockerProgram, pipe: Path) -> None:
    """Of a machine that lost its power: the container's record is left, and is in the way."""
    docker.publish(IMAGE)

    def boot_again(emulator: TpuEmulator) -> None:
        wait_for_work(emulator)
        (machine,) = emulator.machines(NAME)
        machine.power_off()
        assert list((docker.folder / "containers").iterdir())
        machine.boot()
        wait_for_work(emulator, 2)

    bench.run(bench.launch(["-c", WORKS], image=IMAGE, report_every=0.1), pipe, meanwhile=boot_again)
    assert bench.report()["state"] == "succeeded", bench.log()
    assert "begins for the 2\n" in bench.log()
    assert len(docker.calls("run")) == 2
    assert len(docker.calls("pull")) == 1
