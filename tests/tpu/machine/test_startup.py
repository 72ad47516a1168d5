"""The startup script, run by bash on emulated machines: nothing that a user typed is ever run by a shell.

Covers qarib_tasks/tpu/api/request.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uv import find_uv_bin

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.errors import ConfigError
from qarib_tasks.storage.files import checksums
from qarib_tasks.tpu.machine import startup
from qarib_tasks.tpu.machine.startup import UV, BucketFile, Launch, render
from tests.support.deploy.locks import locked
from tests.support.machines.launches import NAME, Bench

HOSTILE = """a b'c"d $(touch CANARY) `touch CANARY` ${HOME} \\ ; touch CANARY & | > x * ? ~ # برت 🤗 ' -rf"""
# Says what it was given, and lets the reader of a pipe know that it ended.
SAYS = "import json, os, sys; json.dump([sys.argv[2:], sorted(os.listdir())], open(sys.argv[1], 'w'))"


# A pipe's end that never comes must be a failure.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def bench(bucket_name: str, emulator_address: str, tmp_path: Path) -> Bench:
    return Bench(bucket_name, emulator_address, tmp_path)


def test_hostile_values_arrive_as_they_are(bench: Bench, pipe: Path, tmp_path: Path) -> None:
    arguments = [HOSTILE, "two\nlines\n", "", "-n", "$NAME", "'", "\\"]
    config = bench.put(f"launch/{HOSTILE}", b"a: 1\n", HOSTILE.replace("/", "_"))
    said = tmp_path / "said.json"
    launch = bench.launch(["-c", SAYS, str(said), *arguments], files=[config], python=HOSTILE, uv=HOSTILE)
    bench.run(launch, pipe)
    report = bench.report()
    assert report["state"] == "succeeded", report["message"]
    received, files = json.loads(said.read_text(encoding="utf-8"))
    assert received == arguments
    assert config.local in files
    assert bench.canaries == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_any_arguments_arrive_as_they_are(arguments: list[str]) -> None:
    file = BucketFile("o", "0", "f")
    script = render(
        Launch(name=NAME, bucket="b", reports="gs://b/r", arguments=arguments, wheel=file, requirements=file)
    )
    head = script[: script.index("set -Eeuo pipefail")]
    code = f'{head}\nprintf "%s\\0" "${{ARGUMENTS[@]+"${{ARGUMENTS[@]}}"}}"'
    output = subprocess.run(["bash"], input=code.encode(), capture_output=True, check=True).stdout
    assert output.split(b"\0")[:-1] == [a.encode() for a in arguments] or not arguments


def test_the_end_of_the_work_is_seen_though_its_line_is_lost(tmp_path: Path) -> None:
    """As bash loses it if it arrives when the time of `read` is over."""
    script = (Path(startup.__file__).parent / "startup.sh").read_text(encoding="utf-8")
    watch = script[script.index("\nwatch() {") :]
    watch = watch[: watch.index("\n}\n") + 3]
    nothing = "\n".join(f"{name}() {{ false; }}" for name in ("is_asked_to_stop", "is_leaving", "is_expired"))
    reports = 'report() { echo "$1" >> reports; if [ "$(wc -l < reports)" = 3 ]; then touch .ended; fi; }'
    code = f"set -u\nEVERY=0.01\nmkfifo .wake\nexec 7<> .wake\n{nothing}\n{reports}\n{watch}\nwatch\n"
    subprocess.run(["bash", "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "reports").read_text() == "running\n" * 3


@pytest.mark.parametrize(("host", "platforms"), [("127.0.0.1:1", "cpu"), ("", "tpu")])
def test_only_an_emulated_machine_trains_without_its_tpu(host: str, platforms: str) -> None:
    """Its variable is what the emulator sets; a real machine has none for its metadata server."""
    script = (Path(startup.__file__).parent / "startup.sh").read_text(encoding="utf-8")
    work = script[script.index("\nwork() {") :]
    lines = [line for line in work.splitlines() if "JAX_PLATFORMS" in line]
    environment = {"GCE_METADATA_HOST": host, "JAX_PLATFORMS": "cpu"}
    code = "set -u\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"qarib: JAX_PLATFORMS={platforms}\n"


def test_a_failure_reports_the_end_of_its_log(bench: Bench, pipe: Path) -> None:
    code = """for i in range(30): print("line", i)
print('"\\\\ tab\\tبرت')
raise SystemExit("loss is not a number")"""
    bench.run(bench.launch(["-c", code]), pipe)
    report = bench.report()
    assert (report["name"], report["state"]) == (NAME, "failed")
    assert report["message"].endswith('line 29\n"\\ tabبرت\nloss is not a number\n')
    assert "line 10\n" not in report["message"]
    assert "line 0\n" in bench.log()


def test_other_bytes_than_were_uploaded_are_refused(bench: Bench, pipe: Path) -> None:
    config = bench.put("launch/config.yaml", b"a: 1\n", "config.yaml")
    bench.bucket.blob("launch/config.yaml").upload_from_string(b"a: 2\n")
    bench.run(bench.launch(["-c", "print('trained')"], files=[config]), pipe)
    assert bench.report()["state"] == "failed"
    assert "config.yaml differs from the uploaded file" in bench.report()["message"]
    assert "trained" not in bench.report()["message"]


def test_every_worker_of_a_slice_runs_it(bench: Bench, pipe: Path) -> None:
    code = "import os; print('worker', os.environ['QARIB_TPU_WORKER'], 'of', os.environ['QARIB_TPU_NAME'])"
    bench.run(bench.launch(["-c", code]), pipe, "v5litepod-16")
    for worker in range(4):
        assert f"worker {worker} of {NAME}\n" in bench.report(worker)["message"]


@pytest.mark.slow
@pytest.mark.parametrize("uv_from", ["wheelhouse", "index"])
def test_it_brings_its_own_environment(bench: Bench, pipe: Path, tmp_path: Path, uv_from: str) -> None:
    """With the real uv, from a wheelhouse in the bucket or by the machine's pip, without a package index."""
    wheel = make_wheel(
        tmp_path, "tiny_qarib", "1.0", {"tiny_qarib.py": "import sys; print('in', sys.prefix)"}
    )
    changes: dict[str, Any] = {}
    if uv_from == "wheelhouse":
        with tarfile.open(tmp_path / "wheelhouse.tar", "w") as archive:
            archive.add(find_uv_bin(), "uv")
        data = (tmp_path / "wheelhouse.tar").read_bytes()
        changes["wheelhouse"] = bench.put("launch/w.tar", data, "wheelhouse.tar")
    else:
        changes["uv"] = offer_uv(bench, Path(find_uv_bin()).read_bytes())
    del bench.environment["QARIB_PYTHON"]
    launch = bench.launch(
        ["-m", "tiny_qarib"],
        wheel=bench.put("launch/tiny.whl", wheel.read_bytes(), wheel.name),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        **changes,
    )
    bench.run(launch, pipe)
    report = bench.report()
    assert report["state"] == "succeeded", report["message"]
    assert f"disk/qarib/{NAME}/environment\n" in report["message"]


def test_another_uv_than_the_expected_is_not_run(bench: Bench, pipe: Path) -> None:
    """The version that the script asks for, with other bytes."""
    offer_uv(bench, b"#!/bin/sh\ntouch CANARY\n")
    del bench.environment["QARIB_PYTHON"]
    bench.run(bench.launch(["-c", "print('trained')"]), pipe)
    assert bench.report()["state"] == "failed"
    assert "pip can't install uv with the expected SHA-256" in bench.report()["message"]
    assert "DO NOT MATCH THE HASHES" in bench.log()
    assert bench.canaries == []


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes | str]) -> Path:
    """A wheel for any machine."""
    info = f"{name}-{version}.dist-info"
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            entry = ZipInfo(path)
            entry.external_attr = 0o100755 << 16  # A file that may be run.
            archive.writestr(entry, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", kind)
        archive.writestr(f"{info}/RECORD", "")
    return folder / f"{name}-{version}-py3-none-any.whl"


def offer_uv(bench: Bench, program: bytes) -> str:
    """Let the machine's pip find it as uv, and nothing else: pip's requirements that install it."""
    version = UV.read_text(encoding="utf-8").partition("uv==")[2].split()[0]
    folder = bench.folder / "packages"
    folder.mkdir()
    wheel = make_wheel(folder, "uv", version, {f"uv-{version}.data/scripts/uv": program})
    bench.environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
    }
    return f"uv=={version} --hash=sha256:{checksums(wheel).sha256}\n"


def test_uv_is_named_by_its_checksums() -> None:
    """And by the version that the rest of the project uses."""
    assert locked(UV) == {"uv": locked(Path(__file__).parents[3] / "requirements" / "dev.txt")["uv"]}


# Prints a line a moment until it is told to end; then saves, and ends with an error.
WORKS = """
import signal, sys, time
def end(*_):
    print("saved", flush=True)
    raise SystemExit(75)
signal.signal(signal.SIGTERM, end)
for step in range(100_000):
    print("step", step, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    "by",
    ["notice", *(pytest.param(by, marks=pytest.mark.slow) for by in ("stop", "metadata", "maintenance"))],
)
def test_work_that_is_told_to_end_saves_first(bench: Bench, pipe: Path, by: str) -> None:
    launch = bench.launch(["-c", WORKS], report_every=0.1)

    def tell(emulator: TpuEmulator) -> None:
        marks: set[str] = set()
        while len(marks) < 3:  # It works, and says so.
            blob = bench.bucket.get_blob(f"launches/{NAME}/worker-0.json")
            marks |= {json.loads(blob.download_as_bytes())["mark"]} if blob else set()
        if by == "stop":
            bench.bucket.blob(f"launches/{NAME}/stop").upload_from_string(b"")
        elif by == "notice":
            emulator.strike(NAME, kind="preempt", notice=30)
        elif by == "metadata":
            emulator.machines(NAME)[0].metadata.set(preempted="TRUE")
        else:
            emulator.machines(NAME)[0].metadata.set(maintenance_event="TERMINATE_ON_HOST_MAINTENANCE")

    bench.run(launch, pipe, meanwhile=tell)
    report = bench.report()
    assert report["state"] == ("stopped" if by == "stop" else "preempted"), report["message"]
    assert "saved\n" in report["message"]


def test_work_that_somebody_else_told_to_end_can_go_on(bench: Bench, pipe: Path) -> None:
    bench.run(bench.launch(["-c", "print('saved'); raise SystemExit(75)"]), pipe)
    assert bench.report()["state"] == "preempted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": ["a\0b"]}, "zero byte"),
        ({"arguments": ["x" * 300_000]}, "longer than"),
        ({"reports": "gs://other/r"}, "own bucket"),
        ({"files": [BucketFile("o", "0", "../../etc/passwd")]}, "below the working folder"),
        ({"files": [BucketFile("o", "0", "/etc/passwd")]}, "below the working folder"),
    ],
)
def test_what_cannot_be_launched(changes: dict[str, Any], message: str) -> None:
    file = BucketFile("o", "0", "f")
    values: dict[str, Any] = {"name": NAME, "bucket": "b", "reports": "gs://b/r", "arguments": ()}
    with pytest.raises(ConfigError, match=message):
        render(Launch(**(values | {"wheel": file, "requirements": file} | changes)))
