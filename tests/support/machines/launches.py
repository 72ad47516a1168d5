"""Launches on emulated machines: a bucket, what a launch needs in it, and the machine's reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.machine.startup import BucketFile, Launch, with_launch

NAME, ZONE = "qarib-run-1", "us-west4-a"


class Bench:
    """A bucket with what a launch needs, and a TPU emulator whose machines can reach it."""

    def __init__(self, bucket: str, address: str, folder: Path) -> None:
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        self.bucket = client.bucket(bucket)
        self.folder = folder
        self.environment = {"STORAGE_EMULATOR_HOST": address, "QARIB_PYTHON": sys.executable}

    def put(self, name: str, data: bytes, path: str = "") -> BucketFile:
        file = self.folder / "upload"
        file.write_bytes(data)
        self.bucket.blob(name).upload_from_filename(str(file))
        return replace(BucketFile.of(file, name), path=path)

    def launch(self, arguments: Sequence[str], **changes: Any) -> Launch:
        values: dict[str, Any] = {
            "name": NAME,
            "bucket": self.bucket.name,
            "reports": f"gs://{self.bucket.name}/launches",
            "arguments": arguments,
            "wheel": self.put("launch/qarib-1-py3-none-any.whl", b"wheel"),
            "requirements": self.put("launch/requirements.txt", b""),
        }
        return Launch(**(values | changes))

    def run(
        self,
        launch: Launch,
        pipe: Path,
        accelerator_type: str = "v5litepod-4",
        meanwhile: Callable[[TpuEmulator], None] = lambda emulator: None,
    ) -> None:
        """Boot it, wait until all of its processes are gone, and end the emulator."""
        request = TpuRequest(
            name=NAME, zone=ZONE, accelerator_type=accelerator_type, runtime_version="v2-alpha-tpuv5-lite"
        )
        request = with_launch(request, launch)
        # Held open by the script and all that it starts: its end is theirs.
        request = replace(request, startup_script=f"exec 8>'{pipe}'\n{request.startup_script}")
        clock = ManualClock()
        with TpuEmulator(self.folder / "tpu", clock=clock, environment=self.environment) as emulator:
            client = CloudTpuClient("test", endpoint=emulator.endpoint)
            client.create_queued_resource(request)
            emulator.advance(152)
            with pipe.open() as said:
                meanwhile(emulator)
                assert said.read() == ""
            client.close()

    def report(self, worker: int = 0) -> dict[str, Any]:
        text = self.bucket.blob(f"launches/{NAME}/worker-{worker}.json").download_as_bytes()
        value: dict[str, Any] = json.loads(text)
        return value

    def log(self, worker: int = 0) -> str:
        return self.bucket.blob(f"launches/{NAME}/worker-{worker}.log").download_as_bytes().decode()

    @property
    def canaries(self) -> list[Path]:
        return list(self.folder.rglob("CANARY"))
