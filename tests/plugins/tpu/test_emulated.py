"""Whether the deployment's Cloud TPU is an emulator."""

from __future__ import annotations

import json

import pytest
from qarib_airflow.tpu.emulated import is_emulated

HOST = "CLOUD_TPU_EMULATOR_HOST"


@pytest.mark.parametrize(
    ("extra", "environment", "emulated"),
    [
        ({}, "", False),
        ({}, "token@localhost:9470", True),
        ({"tpu_endpoint": "token@localhost:9470"}, "", True),
        ({"tpu_endpoint": "https://tpu.example"}, "token@localhost:9470", False),
        (None, "", False),
        (None, "token@localhost:9470", True),
    ],
)
def test_by_the_connection_before_the_environment(
    extra: dict[str, str] | None, environment: str, emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if extra is not None:
        values = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
        monkeypatch.setenv("AIRFLOW_CONN_A_CLOUD", values)
    monkeypatch.setenv(HOST, environment)
    assert is_emulated("a_cloud") is emulated
