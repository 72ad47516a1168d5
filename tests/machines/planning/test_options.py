"""What other TPUs and batches take, and which are marked."""

from __future__ import annotations

import pytest

from qarib_tasks.config.presets import resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.machines.planning.options import DatasetSize, Option, fitting_parts, needed_bytes, plan

BASE = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64, precision="bfloat16")
QARIB = DatasetSize(shards=1_172, examples=1_356_261_840)


def config(**tpu: object) -> RunConfig:
    return resolve({"workspace": "w", "preset": "qarib", "tpu": tpu})


def found(options: tuple[Option, ...], accelerator_type: str, batch: int) -> Option:
    return next(o for o in options if (o.accelerator_type, o.batch) == (accelerator_type, batch))


def test_memory_is_that_of_the_compiler_s_programs() -> None:
    """By benchmarks/tpu_compile.py, on v5e:2x4."""
    assert needed_bytes(BASE, 8) == pytest.approx(2.9e9, rel=0.05)
    assert needed_bytes(TrainingShape(**{**vars(BASE), "batch": 1_024}), 8) == pytest.approx(4.8e9, rel=0.05)


def test_a_batch_that_is_too_large_is_computed_in_parts() -> None:
    large = TrainingShape(**{**vars(BASE), "batch": 1_024})
    # 2.7 GB and 16.1 MB for each example: 824 fit into 0.9 of 16 GiB, twice as many into 32.
    assert fitting_parts(large, 1, 16 * 2**30) == 2
    assert fitting_parts(large, 1, 32 * 2**30) == 1
    assert fitting_parts(large, 1, 2**30) is None
    assert fitting_parts(TrainingShape(**{**vars(BASE), "batch": 12}), 8, 2**40) is None


def test_the_published_run() -> None:
    made = plan(config(), QARIB, within=6.0)
    asked = made.asked
    assert (asked.accelerator_type, asked.provisioning, asked.batch, asked.steps) == (
        *("v5litepod-8", "spot"),
        *(64, 2_000_000),
    )
    # All options read the same examples.
    assert {option.batch * option.steps for option in made.options} == {128_000_000}
    spot = [option for option in made.options if option.provisioning == "spot"]
    cheapest, fastest, in_time = (made.marked(mark) for mark in ("cheapest", "fastest", "cheapest in time"))
    assert cheapest is not None
    assert fastest is not None
    assert in_time is not None
    assert all(cheapest.estimate.cost.high <= option.estimate.cost.high for option in spot)
    assert all(fastest.estimate.hours.high <= option.estimate.hours.high for option in spot)
    assert in_time.estimate.hours.high <= 6
    assert not plan(config(), within=0.01).marked("cheapest in time")
    # By hand, table 1.3: 18.8 hours, 23 dollars on demand and 4.6 on spot for the steps alone.
    one = found(made.options, "v5litepod-1", 64)
    assert one.estimate.steps_hours.low == pytest.approx(18.8, rel=0.05)
    assert 4.6 < one.estimate.cost.low < one.estimate.cost.high < 5.6


def test_no_option_reads_more_than_the_run() -> None:
    for steps, batches in ((1, {64}), (5, {64, 256}), (16, {64, 256, 1_024})):
        train = {"train_steps": steps, "num_warmup_steps": 0}
        made = plan(resolve({"workspace": "w", "preset": "qarib", "train": train}))
        assert {option.batch for option in made.options} == batches
        assert all(0 < option.batch * option.steps <= 64 * steps for option in made.options)


@pytest.mark.parametrize(
    "values",
    [
        {"tpu": {"share_of_peak": 1e-300}},
        {"tpu": {"chip_hour_price": 1e308}},
        {"train": {"recovery_minutes": 1e-300}},
    ],
)
def test_what_has_no_estimate(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="no estimate"):
        plan(resolve({"workspace": "w", "preset": "qarib", **values}))


def test_a_price_of_one_s_own_is_that_of_the_own_type() -> None:
    made = plan(config(chip_hour_price=0.01))
    assert made.asked.estimate.hourly == pytest.approx(0.08)
    assert found(made.options, "v5litepod-1", 64).estimate.hourly == pytest.approx(0.245)
    with pytest.raises(ConfigError, match="v99-8"):
        plan(config(accelerator_type="v99-8"))
