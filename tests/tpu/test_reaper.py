"""Forgotten TPUs are deleted, others are not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.tpu import reaper
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.api.request import TpuRequest

ZONE, TYPE, IMAGE = "us-west4-a", "v5litepod-4", "v2-alpha-tpuv5-lite"
NOW = datetime(2020, 11, 22, 12, 0, tzinfo=UTC)
MINE = {"made-by": "qarib", "run": "r1", "owner": "somebody"}


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", behaviour=Behaviour(scale=0.0)) as emulator:
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", emulator.endpoint)
        yield emulator


@pytest.fixture
def client(emulator: TpuEmulator) -> Iterator[CloudTpuClient]:
    client = CloudTpuClient("emulator", endpoint=emulator.endpoint)
    for name, labels in {
        "late": MINE | {"expires": "2020-11-22_11-00-00"},
        "in-its-grace": MINE | {"expires": "2020-11-22_11-50-00"},
        "in-time": MINE | {"expires": "2020-11-22_13-00-00"},
        "without-expiry": MINE,
        "somebody-else-s": {"expires": "2020-11-22_11-00-00"},
    }.items():
        request = TpuRequest(
            name=name, zone=ZONE, accelerator_type=TYPE, runtime_version=IMAGE, labels=labels
        )
        client.create_queued_resource(request)
    yield client
    client.close()


def test_only_what_is_late_and_ours_is_deleted(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    # A node whose queued resource is gone, as it should not be.
    node = {
        "accelerator_type": TYPE,
        "runtime_version": IMAGE,
        "labels": MINE | {"expires": "2020-11-21_0-0-0"},
    }
    client.api.create_node(parent=client.parent("us-east5-a"), node=node, node_id="alone")
    found = reaper.find(client)
    assert [one.name for one in found] == ["alone", "in-its-grace", "in-time", "late", "without-expiry"]
    late = reaper.expired(found, NOW)
    assert [one.name for one in late] == ["alone", "late"]
    assert "us-west4-a/late: " in str(late[1])
    assert "run r1, owner somebody, until 2020-11-22 11:00 UTC" in str(late[1])
    reaper.delete(client, late)
    assert emulator.queued_resource_ids == ["in-its-grace", "in-time", "somebody-else-s", "without-expiry"]
    assert "alone" not in emulator.node_ids


def test_what_will_not_go_is_named(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    emulator.add_fault(kind="delete_again")
    late = reaper.expired(reaper.find(client), NOW, grace=timedelta(0))
    with pytest.raises(TpuUnavailableError, match="us-west4-a/late"):
        reaper.delete(client, late, within=0.3)


@pytest.mark.parametrize(("dry_run", "left"), [(True, 5), (False, 2)])
def test_the_dag(
    emulator: TpuEmulator, client: CloudTpuClient, monkeypatch: pytest.MonkeyPatch, dry_run: bool, left: int
) -> None:
    import qarib_reap_tpus

    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT",
        '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true, "project": "emulator"}}',
    )
    context: dict[str, Any] = {"params": {"dry_run": dry_run}}
    monkeypatch.setattr(qarib_reap_tpus, "get_current_context", lambda: context)
    reap: Any = qarib_reap_tpus.qarib_reap_tpus().get_task("reap").python_callable
    names = reap()
    # All that have an expiry are past it by now.
    assert len(names) == 5 - left
    assert len(emulator.queued_resource_ids) == left
    monkeypatch.setenv("QARIB_TPU", "machine: local")
    assert reap() == []
