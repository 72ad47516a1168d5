"""The hook finds the emulator, the project and the TPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from qarib_airflow.tpu.hook import CloudTPUHook

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.tpu.api.errors import TpuRequestError, TpuUnavailableError
from qarib_tasks.tpu.api.request import TpuRequest

ZONE = "us-west4-a"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


def set_connection(monkeypatch: pytest.MonkeyPatch, **extra: object) -> None:
    value = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(value))


def request(name: str = "a") -> TpuRequest:
    return TpuRequest(
        name=name, zone=ZONE, accelerator_type="v5litepod-4", runtime_version="v2-alpha-tpuv5-lite"
    )


@pytest.mark.parametrize("by", ["argument", "connection", "environment"])
def test_the_way_of_a_tpu(emulator: TpuEmulator, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    extra = {"tpu_endpoint": emulator.endpoint} if by == "connection" else {}
    set_connection(monkeypatch, project="test", **extra)
    if by == "environment":
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", emulator.endpoint)
    hook = CloudTPUHook(endpoint=emulator.endpoint if by == "argument" else None)
    client = hook.get_conn()
    operation = client.create_queued_resource(request())
    assert operation
    assert operation.startswith("projects/test/locations/us-west4-a/operations/")
    emulator.advance(152)
    assert client.operation_error(operation, zone=ZONE) is None
    assert client.node(ZONE, "a").state.name == "READY"
    assert len(client.queued_resources()) == len(client.nodes(ZONE)) == 1
    assert hook.get_conn("other").queued_resources() == []
    assert hook.get_conn("test") is client
    with pytest.raises(TpuRequestError, match="v6e-1"):
        hook.check_offered(zone=ZONE, accelerator_type="v6e-1", runtime_version="v2-alpha-tpuv6e")


def test_retries_end(emulator: TpuEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, project="test")
    emulator.add_fault(kind="api_error")
    hook = CloudTPUHook(endpoint=emulator.endpoint, retry_within=0.0)
    with pytest.raises(TpuUnavailableError):
        hook.get_conn().node(ZONE, "a")
