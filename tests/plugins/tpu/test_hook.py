"""The hook finds the emulator, the project and the TPU."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from qarib_airflow.tpu.hook import CloudTPUAsyncHook, CloudTPUHook

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
    operation = hook.create_queued_resource(request=request())
    assert operation.startswith("projects/test/locations/us-west4-a/operations/")
    emulator.advance(152)
    assert hook.get_operation_error(operation=operation, zone=ZONE) is None
    assert hook.get_node(zone=ZONE, name="a").state.name == "READY"
    assert len(hook.list_queued_resources()) == len(hook.list_nodes(zone=ZONE)) == 1
    assert hook.list_queued_resources(project_id="other") == []
    assert hook.test_connection() == (True, "1 queued resources in test")
    assert not hook.delete_step(zone=ZONE, name="a")
    emulator.advance(1000)
    hook.delete_queued_resource(zone=ZONE, name="a", timeout=0)
    assert hook.get_queued_resource(zone=ZONE, name="a") is None
    with pytest.raises(TpuRequestError, match="v6e-1"):
        hook.check_offered(zone=ZONE, accelerator_type="v6e-1", runtime_version="v2-alpha-tpuv6e")


def test_retries_end(emulator: TpuEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, project="test")
    emulator.add_fault(kind="api_error")
    hook = CloudTPUHook(endpoint=emulator.endpoint, retry_within=0.0)
    with pytest.raises(TpuUnavailableError):
        hook.get_node(zone=ZONE, name="a")
    assert not hook.test_connection()[0]


def test_calls_from_a_trigger(emulator: TpuEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, project="test", tpu_endpoint=emulator.endpoint)

    async def both() -> list[object]:
        hook = CloudTPUAsyncHook()
        calls = (hook.call("create_queued_resource", request=request(name)) for name in "ab")
        return await asyncio.gather(*calls)

    assert len(asyncio.run(both())) == 2
    assert emulator.queued_resource_ids == ["a", "b"]
