"""Each class of error in a real Airflow: is it tried again, after how long, and where is its reason."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import demo
import pytest
from local_stack import LocalStack

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.runs.run import Run
from qarib_tasks.tpu.api.client import CloudTpuClient
from tests.support.airflow_runs import TINY

pytestmark = pytest.mark.slow
RETRY_AFTER, STOCK_OUT_SECONDS = 12, 16.0
DELAY = 1.0  # of other errors; tripled for each further try, and up to doubled at random
REFUSED = {"missing": 404, "private": 401}
TEXT = (SAMPLE / "muwatta.txt").read_bytes()


class Web(BaseHTTPRequestHandler):
    """A web server that first asks to wait, then is out of order, and then has the file."""

    answers: list[int]
    protocol_version = "HTTP/1.1"

    @property
    def refused(self) -> int:
        return next((status for name, status in REFUSED.items() if name in self.path), 0)

    def do_HEAD(self) -> None:
        """Each try begins with one; its second request, a GET, gets the same answer."""
        waits = self.answers and not self.refused
        self.server.now = self.answers.pop(0) if waits else 200  # type: ignore[attr-defined]
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        status = self.refused or self.server.now  # type: ignore[attr-defined]
        content = TEXT if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", str(RETRY_AFTER))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    Web.answers = [429, 503]
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, web: str) -> Iterator[LocalStack]:
    tpu = {"machine": "cloud_tpu", "poll_seconds": 0.5, "stock_out_hours": STOCK_OUT_SECONDS / 3600}
    environment = {
        "QARIB_ALLOWED_SOURCES": web,
        "QARIB_RETRY_SECONDS": str(DELAY),
        "QARIB_TPU": json.dumps(tpu),
    }
    home = tmp_path_factory.mktemp("stack")
    with LocalStack(home, environment=environment, database=airflow_database) as stack:
        yield stack


def task_of(stack: LocalStack, run_id: str, task_id: str) -> dict[str, Any]:
    return next(t for t in stack.task_instances(demo.DAG, run_id) if t["task_id"] == task_id)


def until(stack: LocalStack, run_id: str, task_id: str, *states: str) -> None:
    while (task := task_of(stack, run_id, task_id))["state"] not in states:
        assert stack.run(demo.DAG, run_id)["state"] in ("queued", "running"), stack.task_log(task)
        time.sleep(0.3)


def end(stack: LocalStack, run_id: str) -> str:
    """Wait for a run that fails, and return its note."""
    while (run := stack.run(demo.DAG, run_id))["state"] not in ("success", "failed"):
        time.sleep(1)
    assert run["state"] == "failed"
    return str(run["note"])


def reason(stack: LocalStack, run_id: str, task_id: str) -> dict[str, Any]:
    """What the task keeps for people and programs, a moment after Airflow has its state."""
    task = f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
    while not stack.api("GET", task, params={"xcom_key_pattern": "qarib_reason"})["xcom_entries"]:
        assert task_of(stack, run_id, task_id)["state"] in ("up_for_retry", "failed")
        time.sleep(0.1)
    return dict(stack.api("GET", f"{task}/qarib_reason?deserialize=true")["value"])


def waits(stack: LocalStack, run_id: str, task_id: str) -> list[float]:
    """The seconds between the tries of a task."""
    path = f"dags/{demo.DAG}/dagRuns/{run_id}/taskInstances/{task_id}/tries"
    tries = sorted(stack.api("GET", path)["task_instances"], key=lambda one: one["try_number"])
    times = [[datetime.fromisoformat(one[name]) for name in ("start_date", "end_date")] for one in tries]
    return [(later[0] - one[1]).total_seconds() for one, later in pairwise(times)]


def log_of_try(stack: LocalStack, run_id: str, task_id: str, number: int) -> str:
    return stack.task_log(task_of(stack, run_id, task_id) | {"try_number": number})


@contextmanager
def stocked_out(stack: LocalStack) -> Iterator[None]:
    before = stack.tpu_faults.read_text(encoding="utf-8")
    stack.tpu_faults.write_text('{"scale": 0.01, "faults": [{"kind": "stock_out"}]}', encoding="utf-8")
    yield
    stack.tpu_faults.write_text(before, encoding="utf-8")


def kill(stack: LocalStack, run_id: str, task_id: str) -> None:
    """Kill the task's process, as when its worker is lost."""
    running = (
        "SELECT pid FROM task_instance WHERE run_id = ? AND task_id = ? AND state = 'running' AND pid > 0"
    )
    database = sqlite3.connect(f"file:{stack.home}/airflow.db?mode=ro", uri=True, timeout=60)
    while not (found := database.execute(running, (run_id, task_id)).fetchone()):
        stack.check()
        time.sleep(0.05)
    database.close()
    os.kill(found[0], signal.SIGKILL)


def require_at_once(stack: LocalStack, conf: dict[str, Any], what: str, do: str) -> None:
    """The first task fails in its first try, with the reason and the remedy."""
    run_id = stack.trigger(demo.DAG, conf)
    note = end(stack, run_id)
    assert task_of(stack, run_id, "preflight")["try_number"] == 1
    kept = reason(stack, run_id, "preflight")
    assert (what in kept["what"], do in kept["do"]) == (True, True), kept
    assert note.startswith("× preflight failed: ")
    assert what in note
    assert do in note


def test_each_class_of_error(stack: LocalStack, web: str) -> None:
    source = {"name": "text", "path": f"{web}text.txt"}
    # A setting, and an input: at once.
    require_at_once(
        stack, TINY | {"max_seq_length": 600}, "max_seq_length 600 is above", "Correct these settings"
    )
    missing = {"name": "text", "path": f"{web}missing.txt"}
    require_at_once(stack, TINY | {"sources": [missing]}, "no such file", "Correct the address")
    private = {"name": "text", "path": f"{web}private.txt"}
    require_at_once(stack, TINY | {"sources": [private]}, "the server answered 401", "needs no login")

    # A service that says how long to wait, and one that is out of order.
    with stocked_out(stack):
        conf = TINY | {"sources": [source], "train_steps": 10, "save_checkpoints_steps": 10}
        run_id = stack.trigger(demo.DAG, conf)
        until(stack, run_id, "preflight", "up_for_retry")
        assert "the server answered 429" in reason(stack, run_id, "preflight")["what"]
        until(stack, run_id, "preflight", "success")
        assert "the server answered 503" in log_of_try(stack, run_id, "preflight", 2)
        asked, delayed = waits(stack, run_id, "preflight")
        assert asked >= RETRY_AFTER
        assert delayed >= 3 * DELAY
        run = demo.read_run(stack, run_id)
        stranger = stranger_at(run)
        # A worker that is lost: tried again by Airflow itself.
        kill(stack, run_id, "vocab")

        # No zone has a TPU: long, and nothing is held.
        until(stack, run_id, "train", "up_for_retry")
        kept = reason(stack, run_id, "train")
        assert "no TPU in any of the zones tried" in kept["what"]
        assert "tries again 0.00444 h (stock_out_hours)" in kept["do"]
        assert stack.api("GET", "pools/default_pool")["occupied_slots"] == 0
        client = CloudTpuClient("emulator", endpoint=stack.environment["CLOUD_TPU_EMULATOR_HOST"])
        assert not [*client.queued_resources(), *client.nodes()]
    # A trainer that refuses a file (status 78): at once.
    note = end(stack, run_id)
    assert waits(stack, run_id, "train")[0] >= STOCK_OUT_SECONDS
    states = {t["task_id"]: (t["state"], t["try_number"]) for t in stack.task_instances(demo.DAG, run_id)}
    assert (states["vocab"], states["train"][0]) == (("success", 2), "success")
    assert states["evaluate"] == ("failed", 1)
    assert f"{stranger}: exists and was not made by qarib" in reason(stack, run_id, "evaluate")["what"]
    assert note.startswith("× evaluate failed: ")
    assert str(stranger) in note

    # What is known of no task: the note says which one, and where its log is.
    last = stack.trigger(demo.DAG, conf | {"train_steps": 12, "approval_above": 1e-6})
    until(stack, last, "prepare_tpu", "awaiting_input")
    path = f"dags/{demo.DAG}/dagRuns/{last}/taskInstances/prepare_tpu"
    stack.api("PATCH", path, json={"new_state": "failed"})
    note = end(stack, last)
    assert note.startswith("× prepare_tpu failed: no reason is known")
    assert note.endswith("/tasks/prepare_tpu")


def stranger_at(run: Run) -> Path:
    """A file of a user where the trainer would write."""
    path = run.model.export / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": true}\n', encoding="utf-8")
    return path
