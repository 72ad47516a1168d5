"""Requests to the page's application, as a user with a role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from qarib_airflow.page import answers

from qarib_tasks.runs.places import PREFIXES_VARIABLE, WORKSPACES_VARIABLE
from qarib_tasks.views.files import Cache

QUERY = {"dag_id": "qarib_pretrain", "run_id": "made-up", "name": "shards/shard_0000"}


def ask(server: TestClient, path: str, role: str | None = "viewer", query: Any = QUERY, **more: Any) -> Any:
    token = server.tokens[role]  # type: ignore[attr-defined]
    return server.get(f"/qarib{path}", params=query, headers={"Authorization": f"Bearer {token}"}, **more)


def allow(monkeypatch: pytest.MonkeyPatch, workspace: Path, prefixes: str) -> None:
    """Have a deployment with this workspace and these prefixes."""
    monkeypatch.setenv(WORKSPACES_VARIABLE, str(workspace))
    monkeypatch.setenv(PREFIXES_VARIABLE, prefixes)
    monkeypatch.setattr(answers, "CACHE", Cache())
