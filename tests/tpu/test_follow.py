"""Launch script, reports, lifecycle and emulators together: a training that outlives its machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient
from qarib_tasks.tpu.api.request import TpuRequest
from qarib_tasks.tpu.follow import TpuRun
from qarib_tasks.tpu.lifecycle import Limits, Memory
from qarib_tasks.tpu.machine.reports import BucketReports
from qarib_tasks.tpu.machine.startup import BucketFile, Launch, with_launch

# Counts to a hundred, and keeps a checkpoint outside of its machine at every tenth step.
TRAINS = """
import pathlib, sys, time
checkpoint = pathlib.Path(sys.argv[1])
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("going on from step", done)
for step in range(done + 1, 101):
    print(f"step {step} of 100: loss {1 / step}")
    if step % 10 == 0:
        new = checkpoint.with_suffix(".new")
        new.write_text(str(step))
        new.replace(checkpoint)
    seen = checkpoint.with_suffix(f".{step}")
    if step in (25, 55, 85) and not seen.exists():
        seen.touch()
        time.sleep(1000)  # Until it is preempted.
"""


# Works for a moment, and then hangs.
HANGS = """
import time
for step in range(30):
    print("step", step)
    time.sleep(0.1)
time.sleep(1000)
"""


@pytest.fixture
def run(
    bucket_name: str, emulator_address: str, tmp_path: Path
) -> Callable[[TpuEmulator, str, Limits], tuple[Memory, BucketReports]]:
    client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    bucket = client.bucket(bucket_name)
    file = tmp_path / "wheel.whl"
    file.write_bytes(b"")
    bucket.blob("wheel.whl").upload_from_filename(str(file))
    wheel = BucketFile.of(file, "wheel.whl")
    reports = BucketReports(f"gs://{bucket_name}/reports", client)

    def drive(
        emulator: TpuEmulator, code: str, limits: Limits, now: Callable[[], float] = time.time
    ) -> tuple[Memory, BucketReports]:
        def request(memory: Memory, zone: str) -> TpuRequest:
            name = memory.name
            launch = Launch(
                name=name,
                bucket=bucket_name,
                reports=reports.address,
                arguments=["-c", code, str(tmp_path / "checkpoint")],
                wheel=wheel,
                requirements=wheel,
                report_every=0.2,
            )
            kind, version = "v5litepod-4", "v2-alpha-tpuv5-lite"
            empty = TpuRequest(name=name, zone=zone, accelerator_type=kind, runtime_version=version)
            return with_launch(empty, launch)

        deadline = time.monotonic() + 600

        def save(memory: Memory) -> None:
            assert time.monotonic() < deadline, memory
            json.dumps(memory.to_dict())

        tpu_run = TpuRun(
            client=CloudTpuClient("test", endpoint=emulator.endpoint, backoff=Backoff(first=0.01)),
            training=reports,
            request=request,
            zones=["us-west4-a"],
            limits=limits,
            save=save,
        )
        memory = Memory(run_id="scheduled__2026")
        while memory.phase not in ("succeeded", "failed"):
            memory = tpu_run.step(memory, now())
        tpu_run.client.close()
        assert emulator.queued_resource_ids == emulator.node_ids == []
        return memory, reports

    return drive


def log_of(reports: BucketReports, memory: Memory) -> str:
    return Bucket(f"{reports.address}/", reports.client).read_text(f"{memory.name}/worker-0.log") or ""


def environment(emulator_address: str) -> dict[str, str]:
    return {"STORAGE_EMULATOR_HOST": emulator_address, "QARIB_PYTHON": sys.executable}


def test_three_preemptions_between_checkpoints(
    run: Callable[..., tuple[Memory, BucketReports]], emulator_address: str, tmp_path: Path
) -> None:
    behaviour = Behaviour(scale=0.0)
    with TpuEmulator(
        tmp_path / "tpu", behaviour=behaviour, environment=environment(emulator_address)
    ) as emulator:
        for step in (25, 55, 85):
            emulator.add_fault(kind="preempt", at_step=step, times=1)
        emulator.add_fault(kind="api_error", method="Get*", rate=0.1, codes=[14], seed=2)
        memory, reports = run(emulator, TRAINS, Limits())
        assert memory.phase == "succeeded", memory.history
        assert memory.preemptions == 3
        assert len(emulator.bills()) == memory.attempt == 4
    assert (tmp_path / "checkpoint").read_text() == "100"
    text = log_of(reports, memory)
    assert "going on from step 80\nstep 81 of 100" in text
    assert text.splitlines()[-1].startswith("step 100 of 100")


@pytest.mark.slow
def test_a_training_that_fails_leaves_nothing(
    run: Callable[..., tuple[Memory, BucketReports]], emulator_address: str, tmp_path: Path
) -> None:
    with TpuEmulator(
        tmp_path / "tpu", behaviour=Behaviour(scale=0.0), environment=environment(emulator_address)
    ) as emulator:
        memory, _ = run(emulator, "raise SystemExit('loss is not a number')", Limits())
    assert memory.phase == "failed"
    assert "loss is not a number" in memory.reason


@pytest.mark.slow
def test_work_that_hangs_or_freezes_is_lost(
    run: Callable[..., tuple[Memory, BucketReports]], emulator_address: str, tmp_path: Path
) -> None:
    with TpuEmulator(
        tmp_path / "tpu", behaviour=Behaviour(scale=0.0), environment=environment(emulator_address)
    ) as emulator:
        # Either limit may find it out: it depends on whether a first report came through.
        limits = Limits(booting=20.0, heartbeat=1.0, max_preemptions=1)
        emulator.add_fault(kind="freeze", at_step=20, times=1)
        memory, _ = run(emulator, HANGS, limits)
    assert memory.phase == "failed"
    assert len(memory.history) == 2
    assert "2 TPUs lost, 1 are replaced" in memory.reason


@pytest.mark.slow
def test_work_is_stopped_when_its_time_is_over(
    run: Callable[..., tuple[Memory, BucketReports]], emulator_address: str, tmp_path: Path
) -> None:
    code = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
pathlib.Path(sys.argv[1]).touch()
while True:
    print("works")
    time.sleep(0.05)
"""
    works = tmp_path / "checkpoint"

    def now() -> float:
        """Once it works, it has worked for an hour."""
        return time.time() + (3600 if works.exists() else 0)

    limits = Limits(running=1800.0, heartbeat=7200.0, stopping=7200.0)
    with TpuEmulator(
        tmp_path / "tpu", behaviour=Behaviour(scale=0.0), environment=environment(emulator_address)
    ) as emulator:
        memory, reports = run(emulator, code, limits, now)
    assert "limit of running" in memory.reason
    assert "saved\n" in log_of(reports, memory)
