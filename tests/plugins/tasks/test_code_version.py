"""A run's version of the code, and a task under another; in a real Airflow: tests/end_to_end/.

Covers plugins/qarib_code_version.py.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import qarib_code_version
from qarib_airflow.reporting import reasons
from qarib_airflow.tasks.code_version import KEY

from qarib_tasks.storage.records import made_by


class Instance(SimpleNamespace):
    """What a task's process has of its task, with the run's XComs."""

    def __init__(self, task_id: str, xcoms: dict[str, Any], **more: Any) -> None:
        values = {"dag_id": "qarib_pretrain", "map_index": -1, "try_number": 1, "bundle_instance": None}
        super().__init__(task_id=task_id, xcoms=xcoms, asked=0, **values | more)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        self.asked += 1
        return self.xcoms.get(key)


def starts(task_id: str, xcoms: dict[str, Any], **more: Any) -> int:
    instance = Instance(task_id, xcoms, **more)
    qarib_code_version.on_task_instance_running(None, instance)
    return int(instance.asked)


def test_a_task_under_another_version(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    xcoms: dict[str, Any] = {}
    monkeypatch.setenv(made_by.VARIABLE, "one")
    starts("preflight", xcoms)
    assert xcoms == {KEY: "one"}
    starts("vocab", xcoms)
    assert (xcoms, caplog.text) == ({KEY: "one"}, "")
    monkeypatch.setenv(made_by.VARIABLE, "two")
    assert starts("shard.convert", xcoms, map_index=3) == 0, "a request for each shard"
    starts("shard.convert", xcoms, map_index=3, try_number=2)
    said = "started with the code one, and a later task runs with two"
    assert said in caplog.text
    assert said in xcoms[reasons.REMARK]
    # Cleared from its first task on, the run starts again.
    xcoms.clear()
    starts("preflight", xcoms)
    starts("vocab", xcoms)
    assert xcoms == {KEY: "two"}


def test_a_bundle_s_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(made_by.VARIABLE, "")
    monkeypatch.setattr(made_by, "OF_CODE", "own")
    xcoms: dict[str, Any] = {}
    bundle = SimpleNamespace(version=40 * "b")
    starts("preflight", xcoms, bundle_instance=bundle)
    assert xcoms[KEY] == "own"
    monkeypatch.setattr(made_by, "OF_CODE", "")
    starts("preflight", xcoms, bundle_instance=bundle)
    assert xcoms[KEY] == 12 * "b"
    assert os.environ[made_by.VARIABLE] == bundle.version
    monkeypatch.setenv(made_by.VARIABLE, "")
    starts("preflight", xcoms := {})
    assert xcoms == {}
