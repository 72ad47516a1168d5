"""What a machine does about itself: without access to the bucket and past its lifetime.

Covers qarib_tasks/tpu/job.py, qarib_tasks/tpu/memory.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from qarib_tasks.errors import ChangedError, CorruptError
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.job import TpuJob, expiry
from qarib_tasks.tpu.lifecycle import Memory
from qarib_tasks.tpu.machine.startup import Launch, with_launch
from qarib_tasks.tpu.memory import JobMemory, read_memory
from tests.support.records.damage import damaged_json
from tests.support.tpu_jobs import Bench, finish

ZONE = "us-west4-a"


@contextmanager
def answering(code: int, body: bytes = b"") -> Iterator[str]:
    """A web server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bench(
    bucket_name: str, emulator_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    bench = Bench(bucket_name, emulator_address, tmp_path, monkeypatch)
    with bench.emulator:
        yield bench


def start(bench: Bench, **changes: object) -> str:
    """A machine that nobody follows, with a changed launch: its name."""
    job = TpuJob.from_dict(bench.job())
    memory = Memory(run_id=job.run_id, since=time.time())
    request = job.request(memory, ZONE)
    launch = Launch(
        name=memory.name,
        bucket=bench.bucket.name,
        reports=job.address,
        arguments=job.arguments,
        wheel=job.wheel,
        requirements=job.requirements,
        report_every=0.05,
    )
    client = CloudTpuClient("emulator", endpoint=bench.emulator.endpoint)
    client.create_queued_resource(with_launch(request, replace(launch, **changes)))  # type: ignore[arg-type]
    client.close()
    return memory.name


def wait_until_nothing_is_left(bench: Bench) -> None:
    deadline = time.monotonic() + 300
    while not bench.nothing_is_left:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_account_that_may_not_write_is_named_with_the_command_that_helps(bench: Bench) -> None:
    with answering(403) as storage:
        bench.emulator.state.environment["STORAGE_EMULATOR_HOST"] = storage
        with pytest.raises(AirflowFailException, match=r"worker 0 cannot write to gs://.*403") as error:
            finish(bench.job())
    assert (
        f"gcloud storage buckets add-iam-policy-binding gs://{bench.bucket.name} "
        "--member=serviceAccount:100000000001-compute@developer.gserviceaccount.com "
        "--role=roles/storage.objectAdmin" in str(error.value)
    )
    assert bench.made == 1
    assert bench.nothing_is_left


def test_a_machine_that_nobody_follows_deletes_itself(bench: Bench) -> None:
    name = start(bench, linger=0.0)
    wait_until_nothing_is_left(bench)
    assert bench.checkpoint.read_text() == "100"
    assert "step 100 of 100" in bench.log(name)


def test_past_its_lifetime_it_saves_and_goes(bench: Bench) -> None:
    arguments = tuple(bench.job(50)["arguments"])
    name = start(bench, arguments=arguments, linger=0.0, expires=time.time() - 1)
    wait_until_nothing_is_left(bench)
    assert "the work is asked to stop: expired" in bench.log(name)


def test_work_that_does_not_heed_its_end_goes_with_the_machine(bench: Bench) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)"
    start(bench, arguments=("-c", code), expires=time.time() - 601)
    wait_until_nothing_is_left(bench)


def test_hostile_names_never_reach_a_shell(bench: Bench) -> None:
    hostile = """a'b "c" $(touch CANARY) `touch CANARY`; touch CANARY # برت 🤗\nnew line"""
    bench.address = f"gs://{bench.bucket.name}/{hostile}/run/"
    code = "import sys; print(repr(sys.argv[1:]))"
    values = bench.job(arguments=("-c", code, hostile)) | {"run_id": hostile, "owner": hostile}
    assert finish(values)["status"] == "success"
    memory = bench.memory()
    log = bench.bucket.blob(f"{hostile}/run/{memory.name}/worker-0.log").download_as_bytes().decode()
    assert repr([hostile]) in log
    assert not list(bench.folder.rglob("CANARY"))


def test_the_lifetime_is_the_same_whoever_asks(bench: Bench) -> None:
    job = TpuJob.from_dict(bench.job(queueing_hours=1, booting_hours=1, running_hours=10))
    memory = Memory(run_id=job.run_id, since=1_800_000_000.0)
    request = job.request(memory, ZONE)
    assert request == job.request(memory, ZONE)
    expires = expiry(request.labels)
    assert expires is not None
    assert expires.timestamp() == 1_800_000_000 + 12 * 3600 + 600
    assert f"EXPIRES={int(expires.timestamp())}\n" in request.startup_script
    assert expiry({}) is expiry({"expires": "soon"}) is None


def test_a_memory_that_cannot_be_read_is_not_replaced(bench: Bench) -> None:
    memory = JobMemory(bench.address, run_id="run", zones=2)
    saved = Memory(run_id="run", zone=1, tried=(0, 1), history=("a",))
    JobMemory(bench.address).save(saved)
    assert memory.load() == saved
    blob = bench.bucket.blob("models/m/tpu/run/memory.json")
    for other in ({"run_id": "other"}, {"zone": 2}, {"tried": [0, 7]}, {"since": 1e300}, {"phase": "lost"}):
        blob.upload_from_string(json.dumps(saved.to_dict() | other))
        with pytest.raises(CorruptError, match=r"memory\.json: not a TPU's memory: .*Clear the task that"):
            memory.load()


def test_a_memory_is_read_as_it_is_or_refused() -> None:
    saved = Memory(run_id="run", zone=1, tried=(0, 1), seconds={"running": 1.5}, history=("a",))
    data = json.dumps(saved.to_dict()).encode()
    assert read_memory(data) == saved
    read = []
    for damage, damaged in damaged_json(data).items():
        try:
            read_memory(damaged)
        except CorruptError:
            continue
        read.append(damage)
    # What a memory can be, too. The last ones an earlier version did not write.
    texts = ("run_id", "holder", "heartbeat", "reason", "history.0", "answer")
    newer = ("seconds", "seconds.running", "emulated", "answer", "answered", "deleted")
    empty = ["tried: empty", "history: empty", "seconds: empty", "operation: text"]
    wanted = [*(f"{name}: other text" for name in texts), *(f"{name}: removed" for name in newer), *empty]
    assert sorted(read) == sorted(wanted)


def test_what_was_made_of_an_old_memory_is_not_saved(bench: Bench) -> None:
    """A triggerer in the middle of a look must not undo what the next try has written."""
    follows, takes_over = JobMemory(bench.address), JobMemory(bench.address)
    takes_over.save(Memory(run_id="run", since=1.0, holder="old"))
    looked_at = follows.load()
    assert looked_at is not None
    taken = takes_over.change(lambda memory: memory and replace(memory, holder="new"))
    with pytest.raises(ChangedError):
        follows.save(replace(looked_at, phase="running"))
    assert follows.load() == taken == replace(looked_at, holder="new")

    met: list[str] = []

    def slow(memory: Memory | None) -> Memory | None:
        assert memory is not None
        met.append(memory.holder)
        if len(met) == 1:
            takes_over.save(replace(memory, holder="newer"))
        return replace(memory, attempt=2)

    follows.change(slow)
    assert met == ["new", "newer"]
    assert bench.memory() == replace(looked_at, holder="newer", attempt=2)
