"""`qarib plan`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.config.presets import resolve
from qarib_tasks.machines.chips import chips_of, training_shape
from qarib_tasks.machines.planning.estimate import STARTUP_SECONDS, estimate
from qarib_tasks.machines.planning.limits import over_limits


def test_the_published_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("preset: qarib\nworkspace: w\n", encoding="utf-8")
    assert run_command(["plan", "--config", str(config), "--within", "6", "--text-gb", "60"]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("128,000,000 examples on v5litepod-8, spot: about 44 to 66 steps/s, ")
    assert "cheapest in time" in out
    assert "\n- This reads 111 of 1,172 shards (9.4% of about 1,356," in out
    # Without sources, there is nothing to read a share of.
    assert run_command(["plan", "--config", str(config)]) == 0
    assert "This reads" not in capfd.readouterr().out


def test_the_size_of_sources(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"\n" * 51_200)  # as 512 lines of 100 bytes: 1,157 examples of 128
    config = tmp_path / "run.yaml"
    config.write_text(
        f"workspace: w\ncollect: {{sources: [{{name: a, path: {tmp_path}/a.txt}}]}}\n"
        "train: {train_batch_size: 128, train_steps: 100}\n",
        encoding="utf-8",
    )
    assert run_command(["plan", "--config", str(config)]) == 0
    assert "- This reads 11.1 epochs (" in capfd.readouterr().out
    assert not (tmp_path / "w").exists()


def test_a_run_without_a_tpu_and_one_that_extends_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("preset: demo\nworkspace: w\nextends: qarib-0123456789\n", encoding="utf-8")
    assert run_command(["plan", "--config", str(config), "--text-gb", "60"]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith(
        "The run trains on its own machine (machine: local), which has no price. On a Cloud TPU:"
    )
    assert "This reads" not in out


def test_a_limit_that_the_run_would_exceed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    for limits in ("max_cost: 1, running_hours: 13.5", "max_cost: 27", "max_cost: 1, machine: local"):
        config.write_text(f"workspace: w\ntpu: {{{limits}}}\n", encoding="utf-8")
        assert run_command(["plan", "--config", str(config)]) == 0
        begin = "No run starts with these limits: the upper end of the "
        found = [line for line in capfd.readouterr().out.splitlines() if line.startswith(begin)]
        both = [
            f"{begin}cost, 26.51 US dollars, is above max_cost 1.00.",
            f"{begin}hours, 13.5, is above running_hours 13.5.",
        ]
        assert found == (both if "hours" in limits else [])


@pytest.mark.parametrize("size", ["nan", "inf", "1e300", "0"])
def test_a_size_is_a_number_of_gigabytes(tmp_path: Path, size: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("workspace: w\n", encoding="utf-8")
    assert run_command(["plan", "--config", str(config), "--text-gb", size]) == 2


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_a_deadline_is_a_number_of_hours(tmp_path: Path, value: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("workspace: w\n", encoding="utf-8")
    assert run_command(["plan", "--config", str(config), "--within", value]) == 2


def test_the_check_on_one_chip_takes_minutes_and_cents() -> None:
    """Of the ten minutes that a start is assumed to take at most, it adds less than one."""
    config = resolve({"preset": "tpu_smoke", "workspace": "w"})
    assert chips_of(config.tpu.accelerator_type)[0] == 1
    assert config.tpu.max_cost == 2.0
    for provisioning in ("spot", "on_demand"):
        tpu = replace(config.tpu, provisioning=provisioning)
        shape = training_shape(config.model, config.vocab.vocab_size, config.train, config.convert)
        found = estimate(shape, config.train, config.evaluate, tpu)
        assert found.hours.high - STARTUP_SECONDS.high / 3600 < 1 / 60
        assert found.cost.high < 0.25
        assert not list(over_limits(tpu, found))


def test_a_gpu_has_the_price_that_is_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config, cluster = tmp_path / "run.yaml", "projects/p/locations/l/clusters/c"
    tpu = f"machine: gke, gke_cluster: {cluster}, image: 'i@sha256:{'0' * 64}', accelerator_type: nvidia-l4-1"
    config.write_text(f"{{preset: demo_modern, workspace: w, tpu: {{{tpu}}}}}\n", encoding="utf-8")
    assert run_command(["plan", "--config", str(config)]) == 1
    assert "no price of nvidia-l4 is known" in capfd.readouterr().err
    text = config.read_text(encoding="utf-8").replace("nvidia-l4-1", "nvidia-l4-1, chip_hour_price: 1.5")
    config.write_text(text, encoding="utf-8")
    assert run_command(["plan", "--config", str(config)]) == 0
    out = capfd.readouterr().out
    assert "at 1.50 per hour (as set)" in out
    assert re.search(r"nvidia-l4-1 +16 .* - +as asked", out)
