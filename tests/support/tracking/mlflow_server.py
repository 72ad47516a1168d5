"""A real MLflow server with an SQLite store, and what it answers. `make test-slow` installs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from ports import free_ports

PROGRAM = Path(__file__).resolve().parents[3] / "build" / "mlflow" / "bin" / "mlflow"
SECONDS = 600.0  # to start, also on a machine that is busy
STEPS_OF = "metrics/get-history"


@contextmanager
def mlflow_server(folder: Path, port: int = 0) -> Iterator[str]:
    """Start the server, with its files in the folder, and yield its address."""
    assert PROGRAM.is_file(), "make build/mlflow/.installed"
    folder.mkdir(exist_ok=True)
    port = port or free_ports(1)[0]
    command = [str(PROGRAM), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artefacts")]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS
        while not _is_up(address):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _is_up(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=5).ok
    except requests.RequestException:
        return False


def runs_of(address: str) -> list[dict[str, Any]]:
    """All runs of the server, also deleted ones."""
    found = _post(address, "experiments/search", max_results=100)["experiments"]
    ids = [one["experiment_id"] for one in found]
    body = {"experiment_ids": ids, "run_view_type": "ALL", "max_results": 100}
    return list(_post(address, "runs/search", **body).get("runs", ()))


def active(address: str) -> list[dict[str, Any]]:
    return [one for one in runs_of(address) if one["info"]["lifecycle_stage"] == "active"]


def metric(address: str, run: dict[str, Any], name: str) -> list[tuple[int, float]]:
    """A metric's steps and values, in the order in which the server has them."""
    query = {"run_id": run["info"]["run_id"], "metric_key": name}
    answer = requests.get(f"{address}/api/2.0/mlflow/{STEPS_OF}", params=query, timeout=60)
    answer.raise_for_status()
    return [(int(one["step"]), float(one["value"])) for one in answer.json().get("metrics", ())]


def steps(address: str, run: dict[str, Any], name: str) -> list[int]:
    return [step for step, _ in metric(address, run, name)]


def names(run: dict[str, Any], part: str) -> dict[str, str]:
    return {one["key"]: one["value"] for one in run["data"].get(part, ())}


def _post(address: str, call: str, **body: Any) -> Any:
    answer = requests.post(f"{address}/api/2.0/mlflow/{call}", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()
