"""A person's request to stop a training, in the workspace or the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.stopping import BUCKET_SECONDS, StopRequests, request_name, request_text
from qarib_tasks.storage.bucket import Bucket


@pytest.fixture
def run(tmp_path: Path, bucket_name: str) -> Run:
    (text := tmp_path / "text.txt").write_text("نص قصير\n" * 20, encoding="utf-8")
    values = {"preset": "demo", "workspace": str(tmp_path / "w"), "upload": {"bucket": bucket_name}}
    return prepare(resolve({**values, "collect": {"sources": [{"name": "text", "path": str(text)}]}}))


@pytest.fixture
def client(bucket_name: str) -> storage.Client:
    return storage.Client(project="emulator", credentials=AnonymousCredentials())


def test_in_the_workspace(run: Run) -> None:
    requests = StopRequests(run)
    assert requests.made() is None
    path = Path(run.config.workspace) / request_name(run.model)
    path.parent.mkdir(parents=True)
    path.write_text(request_text("Amina"), encoding="utf-8")
    assert requests.made() == "Amina asked it to stop; its state is saved"
    path.write_text("[7", encoding="utf-8")
    assert requests.made() == "it was asked to stop; its state is saved"
    requests.clear()
    assert not path.exists()
    assert requests.made() is None


def test_in_the_bucket_at_intervals(run: Run, client: storage.Client) -> None:
    now = [0.0]
    requests = StopRequests(run, client, clock=lambda: now[0])
    assert requests.made() is None
    assert run.address is not None
    bucket = Bucket(run.address, client)
    bucket.write_text(request_name(run.model), request_text("Amina"))
    assert requests.made() is None
    now[0] = BUCKET_SECONDS
    assert requests.made() == "Amina asked it to stop; its state is saved"
    requests.clear()
    now[0] *= 2
    assert requests.made() is None


def test_a_bucket_that_does_not_answer_stops_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Unreachable:
        def bucket(self, name: str) -> Any:
            return self

        def blob(self, name: str) -> Any:
            raise OSError("no route")

    requests = StopRequests(run, Unreachable())
    assert requests.made() is None
    assert "Could not look for a request to stop: no route" in caplog.text
