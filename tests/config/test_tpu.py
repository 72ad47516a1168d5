"""Where a training runs: checked, and without a trace in what it makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"provisioning": "reserved"}, "set both provisioning `reserved` and a reservation"),
        (
            {"reservation": "projects/p/locations/us-west4-a/reservations/r"},
            "set both provisioning `reserved`",
        ),
        ({"zones": []}, "zones"),
        ({"zones": ["us-west4-a", "us-west4-a"]}, "duplicate zone"),
        ({"zones": ["us-west4"]}, r"zones\.0"),
        ({"accelerator_type": "v5e"}, "accelerator_type"),
        ({"service_account": "trainer"}, "service_account"),
        ({"max_cost": 0}, "max_cost"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"running_hours": 0}, "running_hours"),
        ({"machine": "gpu"}, "machine"),
        ({"image": "us-docker.pkg.dev/p/r/qarib:1"}, "docker images describe us-docker.pkg.dev/p/r/qarib:1 "),
        ({"image": "us-docker.pkg.dev/p/r/qarib@sha256:12"}, "image"),
        ({"image": f"two words@sha256:{'0' * 64}"}, "image"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(TpuConfig, values)


def test_the_presets() -> None:
    assert resolve({"preset": "qarib", "workspace": "w"}).tpu == TpuConfig()
    assert resolve({"preset": "demo", "workspace": "w"}).tpu.machine == "local"
    assert from_dict(TpuConfig, to_dict(TpuConfig())) == TpuConfig()


def test_where_it_runs_is_not_what_it_makes(tmp_path: Path) -> None:
    config = resolve({"preset": "demo", "workspace": str(tmp_path)})
    elsewhere = replace(
        config,
        tpu=TpuConfig(accelerator_type="v6e-8", zones=("us-east5-b",), max_cost=10.0, poll_seconds=1.0),
    )
    one, other = prepare(config), prepare(elsewhere)
    assert (one.dataset_id, one.model_id) == (other.dataset_id, other.model_id)
    assert Run.from_dict(other.to_dict()) == other
