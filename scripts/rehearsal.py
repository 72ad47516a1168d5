"""Rehearse a TPU machine's first contact with the startup script: a container that is bare, as its image is.

    make rehearsal                          both ways
    python scripts/rehearsal.py index       the package index is reached
    python scripts/rehearsal.py wheelhouse  no network but this machine: from a wheelhouse only

The real startup script runs as root in a container with bash, curl, python3 with pip, coreutils, and tar,
against the emulators of Cloud TPU and Cloud Storage, over a network of its own. It makes its environment from
requirements/tpu.txt, and trains with JAX. The machine is preempted, and boots again with its disk; the
training resumes, succeeds, and the machine deletes itself. Differences from a real one: JAX_PLATFORMS=cpu,
the addresses of the emulators, and how soon it deletes itself. Needs a Docker engine, 20 GB of disk, and a
package index. Exit status 0: every check passed.

Without Docker, `--root FOLDER` takes a bare system in a folder, see rehearse/folders.py. Where uv's builds of
Python cannot be downloaded, `--python-build FILE` gives one in their form (a .tar.gz with python/bin/python3)
that stands in for it.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from compose.images import say
from local_stack import REPOSITORY, TINY_MODEL
from ports import free_ports
from rehearse.containers import Container, Failed, Network, build
from rehearse.folders import Folder, Loopback

from qarib_tasks.layout import PROGRESS

MINUTES = 60
WAYS = {
    "index": "from the package index",
    "wheelhouse": "from a wheelhouse, without a way out of the network",
}
LINGER = 20.0
NAME = "rehearsal"
BASE = "python:3.12-slim-bookworm"
BUILD_URL = (
    "https://github.com/astral-sh/python-build-standalone/releases/download/20260101/cpython-{}%2B20260101-{}"
)
KIND = "x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
BUILDS = "/opt/python-builds.json"  # on the machine
SETTINGS: dict[str, Any] = {
    "preset": "demo",
    "collect": {"sources": [{"name": "muwatta", "path": str(REPOSITORY / "sample" / "muwatta.txt")}]},
    "vocab": {"vocab_size": 800},
    "split": {"shard_lines": 1000},
    "convert": {"dupe_factor": 1},
    "model": TINY_MODEL,
    "train": {
        "train_batch_size": 16,
        "train_steps": 3000,
        "num_warmup_steps": 10,
        "save_checkpoints_steps": 1000,
        "backend": "jax",
    },
    "evaluate": {"eval_batch_size": 16, "max_eval_steps": 4, "free_tasks": False},
    "tpu": {
        "machine": "cloud_tpu",
        "accelerator_type": "v5litepod-1",
        "zones": ["us-west4-a"],
        "provisioning": "spot",
        "poll_seconds": 2.0,
    },
}


def require(holds: object, what: str) -> None:
    if not holds:
        raise Failed(f"{what}")


class Builds:
    """A build of Python in place of uv's: a mirror, and the list that uv reads."""

    def __init__(self, archive: Path, version: str, folder: Path) -> None:
        from qarib_tasks.storage.files import checksums

        url = BUILD_URL.format(version, KIND)
        self.mirror = folder / "mirror"
        place = self.mirror / "20260101" / url.rsplit("/", 1)[-1].replace("%2B", "+")
        place.parent.mkdir(parents=True)
        shutil.copy(archive, place)
        major, minor, patch = map(int, version.split("."))
        about = {
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
        }
        about |= {"major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None}
        about |= {"url": url, "sha256": checksums(archive).sha256, "build": "20260101"}
        self.list = folder / "python-builds.json"
        self.list.write_text(json.dumps({f"cpython-{version}-linux-x86_64-gnu": about}))

    @contextmanager
    def served(self, host: str) -> Iterator[str]:
        handler = partial(_Quiet, directory=str(self.mirror))
        server = http.server.ThreadingHTTPServer((host, 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Rehearsal:
    """One machine's life, on one network.

    Args:
        way: "index" or "wheelhouse".
        root: folder with a bare system; by default, a container has one.
    """

    def __init__(
        self, folder: Path, way: str, builds: Builds | None, root: Path | None, stack: ExitStack
    ) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        from qarib_tasks.emulators import gcs
        from qarib_tasks.emulators.access import new_token
        from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
        from qarib_tasks.emulators.cloud_tpu.faults import Behaviour

        self.folder, self.way, self.builds = folder, way, builds
        way_out = way == "index"
        network: Network | Loopback = (
            Loopback(way_out) if root else Network(f"qarib-rehearsal-{os.getpid()}-{way}", way_out)
        )
        stack.callback(network.remove)
        (port,) = free_ports(1)
        token = new_token()
        buckets = folder / "buckets"
        (buckets / NAME).mkdir(parents=True)
        options = ["--host", network.gateway, "--folder", str(buckets), "--program", str(gcs.program())]
        external = f"http://{network.gateway}:{port}"
        gate = gcs.start_gate(port, token, external, options, log=folder / "gcs.log")
        stack.callback(gate.wait)
        stack.callback(gate.kill)
        os.environ["STORAGE_EMULATOR_HOST"] = gcs.address(port, token, network.gateway)
        environment = {"STORAGE_EMULATOR_HOST": os.environ["STORAGE_EMULATOR_HOST"]}
        files = {}
        if builds:
            environment["UV_PYTHON_DOWNLOADS_JSON_URL"] = f"file://{BUILDS}"
            files[BUILDS] = str(builds.list)
            if way == "index":
                mirror = stack.enter_context(builds.served(network.gateway))
                environment["UV_PYTHON_INSTALL_MIRROR"] = mirror
        self.emulator = stack.enter_context(
            TpuEmulator(
                folder / "tpu",
                behaviour=Behaviour(scale=0.0),
                environment=environment,
                machine=Folder.below(root, files) if root else Container.on(network, files),
            )
        )
        self.bucket = storage.Client(project="emulator", credentials=AnonymousCredentials()).bucket(NAME)
        self.until(self._answers, 1)

    def _answers(self) -> bool:
        try:
            return bool(self.bucket.exists())
        except Exception:
            return False

    def until(self, reached: Callable[[], Any], minutes: float) -> Any:
        """Poll until it is true."""
        deadline = time.monotonic() + minutes * MINUTES
        while not (found := reached()):
            if time.monotonic() > deadline:
                print(self.log()[-4000:])
                raise Failed(f"not within {minutes:g} minutes: {reached}")
            time.sleep(0.3)
        return found

    def prepare(self, wheelhouse: Path | None) -> None:
        """Make a dataset, and upload all that the machine needs, as the DAG does; request the TPU."""
        from qarib_tasks import pipeline
        from qarib_tasks.config.presets import resolve
        from qarib_tasks.runs.prepare import prepare
        from qarib_tasks.tpu import job as jobs
        from qarib_tasks.tpu.api.client import CloudTpuClient
        from qarib_tasks.tpu.lifecycle import Memory
        from qarib_tasks.tpu.prepare import prepare_job

        os.environ.pop("QARIB_TPU_WHEELHOUSE", None)
        if wheelhouse:
            os.environ["QARIB_TPU_WHEELHOUSE"] = str(wheelhouse)
        tpu = SETTINGS["tpu"] | {"external_ips": wheelhouse is None}
        settings = SETTINGS | {"workspace": str(self.folder / "work"), "upload": {"bucket": NAME}, "tpu": tpu}
        self.run = prepare(resolve(settings))
        names = pipeline.make_dataset(self.run)
        pipeline._publish_dataset(self.run, names)
        job = prepare_job(self.run, NAME, "rehearsal")
        more = " and a wheelhouse" if wheelhouse else ""
        say(f"uploaded {job.wheel.local}, requirements and settings{more}")
        jobs.LINGER_SECONDS = LINGER
        memory = Memory(run_id=job.run_id, since=time.time())
        self.name, self.reports = memory.name, job.address.removeprefix(f"gs://{NAME}/") + memory.name
        client = CloudTpuClient("emulator", endpoint=self.emulator.endpoint)
        client.create_queued_resource(job.request(memory, "us-west4-a"))
        client.close()

    @property
    def machine(self) -> Container:
        (machine,) = self.emulator.machines(self.name)
        assert isinstance(machine, Container)
        return machine

    def report(self) -> dict[str, Any]:
        blob = self.bucket.get_blob(f"{self.reports}/worker-0.json")
        return json.loads(blob.download_as_bytes()) if blob else {"state": "none", "mark": "", "message": ""}

    def log(self) -> str:
        blob = self.bucket.get_blob(f"{self.reports}/worker-0.log")
        return blob.download_as_bytes().decode(errors="replace") if blob else ""

    def ended(self, state: str) -> bool:
        found = self.report()
        if found["state"] in ("failed", "stopped"):
            print(self.log()[-6000:])
            raise Failed(f"the machine reports {found['state']}, expected {state}")
        return found["state"] == state

    def live(self) -> None:
        """From the first boot to the machine's end."""
        self.until(lambda: self.emulator.node_ids, 1)
        machine = self.machine
        if self.way == "wheelhouse":
            status, text = machine.run("curl -sS -m 20 -o /dev/null https://storage.googleapis.com")
            require(status != 0, "the machine has a way out")
            say(f"the machine has no way out: {text.strip()}")
        begun = time.monotonic()
        self.until(lambda: self.ended("running"), 2)
        say("first heartbeat")
        self.until(lambda: "JAX_PLATFORMS=" in self.log() or self.ended("preempted"), 60)
        say(f"the environment is made, after {time.monotonic() - begun:.0f} s: {self.packages(machine)}")
        self.until(lambda: self.steps() or self.ended("succeeded"), 30)
        before = self.steps()
        say(f"it trains: step {before}; the notice of a preemption is sent")
        machine.notice()
        self.until(lambda: self.ended("preempted"), 10)
        saved = re.findall(r"step (\d+) is saved", self.log())
        require(saved, "the training has not saved")
        say(f"it has saved step {saved[-1]} and reported: preempted")
        machine.boot()
        begun = time.monotonic()
        say("the machine boots again, with its disk")
        resumed = f"resuming from the checkpoint of step {saved[-1]}"
        self.until(lambda: resumed in machine.output() or self.ended("succeeded"), 20)
        say(f"the training resumes {time.monotonic() - begun:.0f} s later")
        self.until(lambda: self.ended("succeeded"), 60)
        say("it reports: succeeded")
        self.until(lambda: not self.emulator.queued_resource_ids and not self.emulator.node_ids, 5)
        say("the machine has deleted itself")
        self.check()

    def keep_logs(self, folder: Path) -> None:
        """The log in the bucket, and the machine's serial log of all boots."""
        (folder / f"{self.way}.log").write_text(self.log(), encoding="utf-8")
        for serial in (self.folder / "tpu").rglob("serial.log"):
            (folder / f"{self.way}.serial.log").write_bytes(serial.read_bytes())

    def steps(self) -> int:
        found = re.findall(r"step ([0-9,]+) of", self.machine.output())
        return int(found[-1].replace(",", "")) if found else 0

    @staticmethod
    def packages(machine: Container) -> str:
        code = "import importlib.metadata as m, sys; "
        code += "print(sys.version.split()[0], *(m.version(n) for n in sys.argv[1:]))"
        python = "/root/qarib/*/environment/bin/python"
        status, text = machine.run(f"{python} -c '{code}' jax libtpu keras tensorflow")
        require(status == 0, text)
        return "Python {}, jax {}, libtpu {}, keras {}, tensorflow {}".format(*text.split())

    def check(self) -> None:
        progress = json.loads(self.bucket.blob(self.run.model.name + PROGRESS).download_as_bytes())
        steps = SETTINGS["train"]["train_steps"]
        require((progress["state"], progress["step"]) == ("finished", steps), f"its progress: {progress}")
        log = self.log()
        require(log.count("qarib: JAX_PLATFORMS=cpu") == 2, "the machine has not booted twice")
        require("resuming from the checkpoint of step" in log, "the training has not resumed")
        state = f"{self.run.model.name}bert_model/"
        require(any(True for _ in self.bucket.list_blobs(prefix=state)), "no checkpoint is in the bucket")
        say(f"the bucket has the training's checkpoints and progress: finished, step {steps}")


def rehearse(options: argparse.Namespace) -> None:
    if options.root:
        say("a folder with a bare system in a namespace stands in for a container")
    else:
        build(options.base)
        say("the bare image is built")
    with ExitStack() as outer:
        temporary = tempfile.TemporaryDirectory(prefix="qarib-rehearsal-")
        folder = (options.folder or Path(outer.enter_context(temporary))).absolute()
        builds = None
        if options.python_build:
            (folder / "python").mkdir(parents=True)
            builds = Builds(options.python_build, options.python_version, folder / "python")
            say("a build of Python of this machine stands in for uv's, which cannot be downloaded here")
        for way in options.ways or WAYS:
            say(f"--- {WAYS[way]}")
            path = options.wheelhouse or folder / "wheelhouse.tar"
            wheelhouse = make_wheelhouse(path, builds) if way == "wheelhouse" else None
            with ExitStack() as stack:
                (folder / way).mkdir(parents=True)
                rehearsal = Rehearsal(folder / way, way, builds, options.root, stack)
                rehearsal.prepare(wheelhouse)
                try:
                    rehearsal.live()
                finally:
                    rehearsal.keep_logs(folder)
    say("every check passed")


def make_wheelhouse(path: Path, builds: Builds | None) -> Path:
    from qarib_tasks.tpu.prepare import REQUIREMENTS
    from qarib_tasks.tpu.wheelhouse import make

    if builds:
        os.environ["UV_PYTHON_DOWNLOADS_JSON_URL"] = builds.list.as_uri()
        os.environ["UV_PYTHON_INSTALL_MIRROR"] = builds.mirror.as_uri()
    made = make.make_wheelhouse(path, REQUIREMENTS)
    how = "installed" if made.tried else "resolved"
    say(f"wheelhouse: {made.wheels} wheels and uv, {made.bytes / 1e6:,.0f} MB, {how} without a network")
    return made.path


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("ways", nargs="*", metavar="index|wheelhouse", help="default: both")
    arguments.add_argument("--python-build", type=Path, metavar="FILE")
    arguments.add_argument("--python-version", default="3.12.1", help="of that build")
    arguments.add_argument("--base", default=os.environ.get("QARIB_PYTHON_IMAGE", BASE))
    arguments.add_argument("--folder", type=Path, help="kept, with the logs; default: temporary")
    arguments.add_argument("--wheelhouse", type=Path, metavar="FILE", help="made if it is not current")
    arguments.add_argument(
        "--root", type=Path, metavar="FOLDER", help="a bare system, without Docker; one way at a time"
    )
    options = arguments.parse_args()
    if options.root and len(options.ways) != 1:
        arguments.error("with --root, give one way")
    if wrong := set(options.ways) - set(WAYS):
        arguments.error(f"no such way: {', '.join(wrong)}")
    try:
        rehearse(options)
    except Failed as error:
        raise SystemExit(f"failed: {error}") from None


if __name__ == "__main__":
    main()
