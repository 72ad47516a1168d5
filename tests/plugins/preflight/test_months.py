"""The month of a run in Airflow's words: its partition key, the deployment's settings, and other runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from qarib_airflow.preflight.months import month_of, settle_month, take_month
from qarib_airflow.reporting import waits
from qarib_airflow.tasks.month import MonthSensor

from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.promotion import record_of
from qarib_tasks.runs.run import Run

FIRST, SECOND = Month(2025, 12), Month(2026, 1)


class Airflow:
    """What a task instance asks Airflow: which runs have not ended."""

    dag_id = "qarib_retrain"

    def __init__(self, *active: str) -> None:
        self.active = active
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert (dag_id, states) == ("qarib_retrain", ["queued", "running"])
        return sum(run in self.active for run in run_ids)


def context(key: str | None, run_id: str = "a", *active: str, **params: Any) -> Any:
    run = SimpleNamespace(partition_key=key)
    return {"dag_run": run, "run_id": run_id, "params": params, "ti": Airflow(*active)}


@pytest.fixture
def bucket(tmp_path: Path, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a deployment's bucket, with a promoted model."""
    values = {"preset": "demo", "sources": [{"name": "text", "path": str(tmp_path / "work" / "{month}.txt")}]}
    for name, value in (
        ("RETRAIN", json.dumps(values)),
        ("RETRAIN_FIRST_MONTH", str(FIRST)),
        ("TIMEZONE", "America/New_York"),
        ("WORKSPACE", str(tmp_path / "work")),
        ("BUCKET", bucket_name),
    ):
        monkeypatch.setenv(f"QARIB_{name}", value)
    record_of(tmp_path / "work", f"gs://{bucket_name}/").change(
        lambda values: {**values, "presets": {"demo": {"promoted": "x"}}}
    )
    return f"gs://{bucket_name}/"


def test_the_month_is_the_run_s_partition() -> None:
    assert month_of(context("2025-12")) == FIRST
    assert month_of(context(None)) is None
    for key in ("2025-1", "2025-13", "december"):
        with pytest.raises(ConfigError, match="is not a month") as caught:
            month_of(context(key, "manual__1"))
        assert caught.value.where == "the partition key of the run manual__1"


def test_a_run_takes_its_month_once_its_files_are_there(bucket: str, tmp_path: Path) -> None:
    late = take_month(context(str(FIRST)), FIRST, None)
    assert (late.state, late.reason) == (
        "waiting",
        f"2025-12 is not complete: {tmp_path}/work/2025-12.txt: no such file",
    )
    for month in (FIRST, SECOND):
        (tmp_path / "work" / f"{month}.txt").write_text("نص\n")
    assert take_month(context(str(SECOND)), SECOND, None).reason == "2026-01 waits for 2025-12"
    assert take_month(context(str(FIRST), "a"), FIRST, None).state == "due"
    assert take_month(context(str(FIRST), "b", "a"), FIRST, None).reason == "the run a trains on 2025-12"
    assert take_month(context(str(FIRST), "b"), FIRST, None).state == "due"
    upload = UploadConfig(bucket=bucket.split("/")[2])
    config = RunConfig(workspace=str(tmp_path / "work"), preset="demo", partition=str(FIRST), upload=upload)
    settle_month(Run(config, "", ""), "only repeats", None)
    assert (
        take_month(context(str(FIRST), "c"), FIRST, None).reason
        == "2025-12 is done: nothing new, only repeats"
    )
    assert take_month(context(str(SECOND)), SECOND, None).state == "due"


def test_the_page_gets_what_a_month_waits_for(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GCSHook, "get_conn", lambda self: None)
    task = MonthSensor(task_id="wait_for_month")
    late, settled = context(str(SECOND)), context(str(FIRST), skip_months=[str(FIRST)])
    assert not task.poke(late)
    text = "waits for its month: 2026-01 waits for 2025-12"
    assert late["ti"].pushed[waits.KEY]["text"] == text
    assert task.poke(settled)
    assert settled["ti"].pushed == {}


def test_the_form_can_skip_a_month(bucket: str) -> None:
    turn = take_month(context(str(FIRST), skip_months=[str(FIRST)]), FIRST, None)
    assert (turn.state, turn.reason) == ("settled", "2025-12 is in skip_months")


def test_a_month_that_has_not_ended_waits_by_the_clock_of_the_deployment(bucket: str) -> None:
    future = Month(2999, 6)
    skipped = [str(month) for month in FIRST.through(Month(2999, 5))]
    turn = take_month(context(str(future), skip_months=skipped), future, None)
    assert turn.reason == "2999-06 ends on 2999-07-01T00:00:00-04:00"


def test_a_run_without_a_month_settles_none(bucket: str, tmp_path: Path) -> None:
    settle_month(Run(RunConfig(workspace=str(tmp_path / "work"), preset="demo"), "", ""), "why", None)
    assert "months" not in record_of(tmp_path / "work", bucket).read()["presets"]["demo"]
