"""The log of a training on the page, and the request to stop it.

Covers plugins/qarib_airflow/page/control.py, qarib_tasks/views/training_log.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from qarib_airflow.page import answers, database

from qarib_tasks.runs.stopping import request_name
from qarib_tasks.views.files import Cache
from tests.support.made_up_run import MadeUpRun, emulator_bucket
from tests.support.page_server import ask


def ask_to_stop(server: TestClient, role: str | None, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {server.tokens[role]}", **more.pop("headers", {})}  # type: ignore[attr-defined]
    query = {"dag_id": "qarib_pretrain", "run_id": "made-up"}
    return server.post("/qarib/data/stop", params=query, headers=headers, **({"json": {}} | more))


def training(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch, state: str, **config: Any) -> None:
    """Have the run's training in this state."""
    values = {**run.record.values, "config": {**run.record.values["config"], **config}}
    record = replace(run.record, state="running", steps={"train": {state: 1}}, values=values)
    monkeypatch.setattr(database, "runs", lambda dag_ids, **_: [record] if dag_ids else [])


def test_a_training_is_stopped_by_those_who_may_clear_it(
    server: TestClient, run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = run.record.model
    assert model is not None
    request = run.workspace / request_name(model)
    request.parent.mkdir(parents=True)
    training(run, monkeypatch, "running")
    assert ask_to_stop(server, None).status_code == 403
    refused = ask_to_stop(server, "viewer")
    assert (refused.status_code, refused.json()["what"][:12]) == (403, "you may not ")
    # A form of another site can send text only.
    plain = {"content": "{}", "headers": {"Content-Type": "text/plain"}}
    assert ask_to_stop(server, "user", **plain, json=None).status_code == 415
    assert not request.exists()
    assert ask(server, "/data/log", "viewer").json()["may_stop"] is False
    assert ask(server, "/data/log", "user").json()["may_stop"] is True
    made = ask_to_stop(server, "user")
    assert (made.status_code, made.json()["where"]) == (200, str(request))
    assert json.loads(request.read_text()) == {"by": "a-user"}
    training(run, monkeypatch, "success")
    assert ask_to_stop(server, "user").status_code == 409
    assert ask(server, "/data/log", "user").json()["may_stop"] is False


def test_without_the_workspace_and_on_a_tpu_the_bucket_has_the_request(
    server: TestClient,
    run: MadeUpRun,
    monkeypatch: pytest.MonkeyPatch,
    bucket_name: str,
    emulator_address: str,
) -> None:
    model = run.record.model
    assert model is not None
    training(run, monkeypatch, "deferred")
    bucket = emulator_bucket(emulator_address, bucket_name)
    assert ask_to_stop(server, "user").json()["where"] == f"gs://{bucket_name}/{request_name(model)}"
    assert json.loads(bucket.blob(request_name(model)).download_as_text()) == {"by": "a-user"}
    # A TPU reports in a folder of its own, and its machine looks there.
    job = model.tpu_job("made-up")
    memory = {"run_id": "made-up", "attempt": 3, "phase": "running"}
    bucket.blob(f"{job}memory.json").upload_from_string(json.dumps(memory))
    monkeypatch.setattr(answers, "CACHE", Cache())
    where = ask_to_stop(server, "user").json()["where"]
    assert where.startswith(f"gs://{bucket_name}/{job}")
    assert where.endswith("-3/stop")
    log = where.removeprefix(f"gs://{bucket_name}/").removesuffix("stop") + "worker-0.log"
    bucket.blob(log).upload_from_string("x" * 200_000 + "\nstep 7, loss 3.1\n<b>step 8</b>")
    found = ask(server, "/data/log").json()
    assert found["lines"] == ["step 7, loss 3.1", "<b>step 8</b>"]
    assert found["where"] == f"gs://{bucket_name}/{log}"


def test_the_log_of_a_training_on_a_worker(server: TestClient, run: MadeUpRun, tmp_path: Path) -> None:
    model = run.record.model
    assert model is not None
    path = run.workspace / model.name / "train.log"
    assert ask(server, "/data/log").json()["lines"] == []
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"step {number}\n" for number in range(20_000)), encoding="utf-8")
    found = ask(server, "/data/log").json()
    assert (len(found["lines"]), found["lines"][-1], found["where"]) == (300, "step 19999", str(path))
    path.unlink()
    (secret := tmp_path.parent / "secret.txt").write_text("secret", encoding="utf-8")
    path.symlink_to(secret)
    refused = ask(server, "/data/log").json()
    assert refused["lines"] == []
    assert "leads out of the folder" in refused["trouble"]["what"]
