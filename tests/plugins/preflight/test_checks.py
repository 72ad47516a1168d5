"""Whether a run can train on the TPU that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qarib_airflow.preflight.checks import check_tpu
from qarib_airflow.preflight.pretrain import preflight

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.errors import ConfigError
from qarib_tasks.tpu.api.errors import TpuRequestError
from tests.support.datasets import CONNECTION, tpu_run


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", behaviour=Behaviour(scale=0.0)) as emulator:
        monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", emulator.endpoint)
        yield emulator


def test_hours_and_price_are_told_before_anything_is_made(
    emulator: TpuEmulator,
    bucket_name: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    source = tmp_path / "source.txt"
    source.write_text("نص قصير\n" * 100, encoding="utf-8")
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", str(tmp_path))
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("QARIB_BUCKET", bucket_name)
    params = {"preset": "qarib", "workspace": str(tmp_path / "w"), "bucket": bucket_name}
    preflight(params | {"sources": [{"name": "text", "path": str(source)}]}, CONNECTION)
    assert (
        "TPU v5litepod-8 (8 chips, spot) in us-central1-a, us-west4-a, europe-west4-b: about" in caplog.text
    )
    assert "hours for 2,000,000 steps" in caplog.text
    assert "US dollars at 1.96 per hour (list of" in caplog.text
    assert "- The same training costs least on v6e-1: " in caplog.text
    assert emulator.calls.get("CreateQueuedResource") is None


def test_zones_that_lack_it(
    emulator: TpuEmulator, bucket_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_tpu(tpu_run(tmp_path, bucket_name, zones=["us-central1-c", "us-west4-a"]), CONNECTION)
    assert "us-central1-c: the zone has no accelerator type v5litepod-8" in caplog.text
    with pytest.raises(TpuRequestError, match=r"no accelerator type v5litepod-8.*Set other zones"):
        check_tpu(tpu_run(tmp_path, bucket_name, zones=["us-central1-c"]), CONNECTION)
    with pytest.raises(TpuRequestError, match="no runtime version v2-alpha"):
        check_tpu(
            tpu_run(tmp_path, bucket_name, zones=["us-west4-a"], runtime_version="v2-alpha"), CONNECTION
        )


@pytest.mark.parametrize(
    ("tpu", "message"),
    [
        ({"max_cost": 1e-9}, r"above max_cost 0\.00"),
        ({"running_hours": 1e-9}, "above running_hours"),
        ({"accelerator_type": "v99-8"}, "unknown accelerator type 'v99-8'"),
        ({"accelerator_type": "v5litepod-256"}, "cannot be divided over 256 devices of v5litepod-256"),
        ({"accelerator_type": "v3-128"}, "cannot be divided over 128 devices of v3-128"),
    ],
)
def test_what_cannot_end_well_is_not_begun(
    emulator: TpuEmulator, bucket_name: str, tmp_path: Path, tpu: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_tpu(tpu_run(tmp_path, bucket_name, **tpu), CONNECTION)
