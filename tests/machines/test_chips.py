"""The table of TPU chips and the estimates made of it."""

from __future__ import annotations

import pytest

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.emulators.cloud_tpu.catalog import SLICES
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import CHIPS, TrainingShape, chip_of_device, chips_of, estimate, machines_of

BASE = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)


@pytest.mark.parametrize(
    ("accelerator_type", "chips", "name"),
    [
        ("v2-8", 4, "v2"),
        ("v3-8", 4, "v3"),
        ("v4-8", 4, "v4"),
        ("v4-32", 16, "v4"),
        ("v5litepod-1", 1, "v5e"),
        ("v5litepod-8", 8, "v5e"),
        ("v5p-8", 4, "v5p"),
        ("v6e-8", 8, "v6e"),
    ],
)
def test_chips_of_an_accelerator_type(accelerator_type: str, chips: int, name: str) -> None:
    assert chips_of(accelerator_type) == (chips, CHIPS[name])


@pytest.mark.parametrize("accelerator_type", ["v9-8", "v5litepod", "8", "", "v5-8", "cpu"])
def test_an_unknown_accelerator_type_is_an_error_that_names_those_known(accelerator_type: str) -> None:
    with pytest.raises(ConfigError, match="v5litepod-8"):
        chips_of(accelerator_type)


def test_machines_are_those_of_the_emulated_service() -> None:
    for accelerator_type, kind in SLICES.items():
        assert machines_of(accelerator_type) == kind.machines, accelerator_type


def test_chips_of_devices() -> None:
    assert chip_of_device("TPU v5 lite") is CHIPS["v5e"]
    assert chip_of_device("TPU v5") is CHIPS["v5p"]
    assert chip_of_device("cpu") is None


def test_flops_of_bert_base() -> None:
    # The TPU compiler counted 3.0e11 a chip for an eighth of this, with softmax, dropout and optimizer.
    assert BASE.flops / 8 == pytest.approx(2.89e11, rel=0.01)


def test_twice_the_batch_costs_less_than_twice_and_price_follows_hours() -> None:
    small = estimate(BASE, 2_000_000, "v5litepod-8")
    large = estimate(
        TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=128), 2_000_000, "v5litepod-8"
    )
    assert small.hours < large.hours < 2 * small.hours
    assert small.hours == pytest.approx(2_000_000 / small.steps_per_second / 3600)
    assert small.on_demand_price == pytest.approx(small.hours * 8 * 1.20)
    assert small.spot_price < small.on_demand_price
