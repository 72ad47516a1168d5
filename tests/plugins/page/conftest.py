"""The page's application as Airflow mounts it, and a made-up run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from qarib_airflow.page import app as page
from qarib_airflow.page import database

from tests.support.made_up_run import MadeUpRun, make_run
from tests.support.page_server import allow


@pytest.fixture(scope="module")
def server(airflow_database: Path) -> Iterator[TestClient]:
    """Airflow's auth manager and the page mounted as Airflow mounts it."""
    host = FastAPI()
    manager = init_auth_manager(host)
    host.mount("/qarib", page.app)
    with TestClient(host, raise_server_exceptions=False) as client:
        client.tokens = {  # type: ignore[attr-defined]
            role: manager.generate_jwt(SimpleAuthManagerUser(username=f"a-{role}", role=role))
            for role in ("viewer", "user", None)
        }
        yield client


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_name: str, emulator_address: str
) -> MadeUpRun:
    """A run that Airflow's database would tell of, its files in the workspace and in an emulator's bucket."""
    made = make_run(tmp_path, 3, hostile=True)
    made.record.values["config"]["upload"]["bucket"] = bucket_name
    made.upload_to(emulator_address, bucket_name)
    allow(monkeypatch, tmp_path, f"gs://{bucket_name}/,gs://there-is-none/")
    monkeypatch.setattr(database, "runs", lambda dag_ids, **_: [made.record] if dag_ids else [])
    own = made.record.dag_id, made.record.run_id
    monkeypatch.setattr(database, "records", lambda keys: [made.record] if own in keys else [])
    monkeypatch.setattr(database, "shard_tasks", lambda *_: made.tasks)
    monkeypatch.setattr(database, "repairs", lambda *_: [])
    return made


@pytest.fixture(scope="module")
def serve(airflow_database: Path) -> Iterator[Any]:
    """The page's address, for a browser."""
    from tests.support.browser.in_process import serving

    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.support.browser.in_process import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def look(serve: Any, browser: Any) -> Iterator[Any]:
    from tests.support.browser.in_process import looking

    with looking(serve, browser) as found:
        yield found
