"""For the tests of operator and trigger: jobs in a bucket, machines that run them, and a triggerer's part."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from airflow.sdk.exceptions import TaskDeferred
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from qarib_airflow.tpu.operators import CloudTPUTrainOperator
from qarib_airflow.tpu.trigger import CloudTPUTrainTrigger

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.lifecycle import Memory
from qarib_tasks.tpu.machine.startup import BucketFile
from qarib_tasks.tpu.memory import JobMemory

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
SECONDS = 300.0
# Counts to a hundred and keeps a checkpoint outside of its machine at every tenth step. At the steps named it
# waits for ever the first time: for what befalls its machine.
TRAINS = """
import pathlib, signal, sys, time
checkpoint, waits = pathlib.Path(sys.argv[1]), [int(step) for step in sys.argv[2:]]
def end(*_):
    print("saved", flush=True)
    raise SystemExit(75)
signal.signal(signal.SIGTERM, end)
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("going on from step", done)
for step in range(done + 1, 101):
    print(f"step {step} of 100: loss {1 / step}")
    if step % 10 == 0:
        new = checkpoint.with_suffix(".new")
        new.write_text(str(step))
        new.replace(checkpoint)
    seen = checkpoint.with_suffix(f".{step}")
    if step in waits and not seen.exists():
        seen.touch()
        time.sleep(1000)
"""


class Bench:
    """A bucket, an emulator of Cloud TPU without delays, and the connection to both."""

    def __init__(self, bucket: str, address: str, folder: Path, monkeypatch: Any, **behaviour: Any) -> None:
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        self.folder = folder
        self.bucket = client.bucket(bucket)
        self.address = f"gs://{bucket}/models/m/tpu/run/"
        self.emulator = TpuEmulator(
            folder / "tpu",
            behaviour=Behaviour(scale=0.0, **behaviour),
            environment={"STORAGE_EMULATOR_HOST": address, "QARIB_PYTHON": sys.executable},
        )
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", self.emulator.endpoint)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def job(self, *waits: int, arguments: Sequence[str] | None = None, **tpu: Any) -> dict[str, Any]:
        empty = self.folder / "empty"
        empty.write_bytes(b"")
        Bucket(f"gs://{self.bucket.name}/").upload(empty, "empty")
        file = BucketFile.of(empty, "empty")
        settings = {"accelerator_type": "v5litepod-4", "zones": ("us-west4-a",), "poll_seconds": 0.05}
        return TpuJob(
            run_id=RUN_ID,
            owner="somebody",
            address=self.address,
            tpu=TpuConfig(**(settings | tpu)),  # type: ignore[arg-type]
            arguments=tuple(arguments or ("-c", TRAINS, str(self.checkpoint), *map(str, waits))),
            wheel=file,
            requirements=file,
        ).to_dict()

    def memory(self) -> Memory:
        memory = JobMemory(self.address).load()
        assert memory is not None
        return memory

    @property
    def nothing_is_left(self) -> bool:
        return not self.emulator.queued_resource_ids and not self.emulator.node_ids

    @property
    def made(self) -> int:
        """Nodes that ever were."""
        return len(self.emulator.bills())

    def log(self, name: str) -> str:
        return self.bucket.blob(f"models/m/tpu/run/{name}/worker-0.log").download_as_bytes().decode()


def operator(job: dict[str, Any] | None) -> CloudTPUTrainOperator:
    return CloudTPUTrainOperator(task_id="train", job=job)


def context(cleared: int = 0) -> Any:
    """Of a new try, after the task was cleared so many times."""
    return {"ti": SimpleNamespace(id=uuid4(), max_tries=2 + cleared)}


def deferred(task: CloudTPUTrainOperator, cleared: int = 0) -> CloudTPUTrainTrigger:
    """The trigger that a new try defers to, as it comes back from Airflow's database."""
    try:
        task.execute(context(cleared))
    except TaskDeferred as deferral:
        return again(deferral.trigger)
    raise AssertionError("it did not defer")


def again(trigger: Any) -> CloudTPUTrainTrigger:
    """As another triggerer finds it."""
    path, values = trigger.serialize()
    assert path == "qarib_airflow.tpu.trigger.CloudTPUTrainTrigger"
    return CloudTPUTrainTrigger(**values)


async def event_of(trigger: CloudTPUTrainTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("no event")


def finish(job: dict[str, Any], cleared: int = 0) -> dict[str, Any]:
    """A try of the task from its start to its end: the event."""
    task = operator(job)
    event = asyncio.run(asyncio.wait_for(event_of(deferred(task, cleared)), SECONDS))
    task.execute_complete(context(), event)
    return event


async def until(trigger: CloudTPUTrainTrigger, reached: Callable[[], bool]) -> asyncio.Task[Any]:
    """Let a triggerer run it until something has happened; the running task."""

    async def wait() -> None:
        while not reached():
            assert not running.done(), running.result()
            await asyncio.sleep(0.05)

    running = asyncio.create_task(event_of(trigger))
    await asyncio.wait_for(wait(), SECONDS)
    return running


async def stopped(running: asyncio.Task[Any]) -> None:
    """As a triggerer that shuts down, or that is told that the trigger is no longer wanted."""
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
