"""The figures of a training's speed."""

from __future__ import annotations

import pytest

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.train.model.speed import Hardware, Speed

SHAPE = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)


def test_speed_on_eight_chips_of_v5e() -> None:
    hardware = Hardware("jax", "TPU v5 lite", 8)
    figures = Speed(hardware, SHAPE).figures(steps=100, seconds=2.0)
    assert figures["examples_per_second"] == 3_200
    assert figures["tokens_per_second"] == 3_200 * 64
    assert figures["model_flops_utilization"] == pytest.approx(50 * SHAPE.flops / (8 * 197e12), abs=1e-4)


def test_a_v3_chip_is_two_devices() -> None:
    assert Hardware("jax", "TPU v3", 8).peak_flops == 4 * 123e12


def test_of_a_cpu_no_peak_is_known() -> None:
    hardware = Hardware("tensorflow", "cpu", 1)
    assert hardware.peak_flops is None
    assert set(Speed(hardware, SHAPE).figures(1, 1.0)) == {"examples_per_second", "tokens_per_second"}
