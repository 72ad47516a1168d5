"""Estimates as text."""

from __future__ import annotations

from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.machines.planning.estimate import Range, estimate
from qarib_tasks.machines.planning.options import plan
from qarib_tasks.machines.planning.text import price, span, summary, table


def test_a_range_whose_ends_read_the_same_is_one_number() -> None:
    assert span(Range(1.01, 1.04), ".1f") == "1.0"
    assert span(Range(1_000.0, 2_000.4), ",.0f") == "1,000 to 2,000"


def test_what_is_too_large_to_be_meant_is_short() -> None:
    assert span(Range(999.0, 1e300), ",.2f") == "999.00 to 1e+300"


def test_prices_and_counts_read_well() -> None:
    assert [price(one) for one in (0.245, 1.96, 8.0, 0.5442, 1e-9)] == [
        *("0.245", "1.96", "8.00", "0.544"),
        "less than 0.001",
    ]
    shape = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)
    train = TrainConfig(train_steps=1, num_warmup_steps=0)
    assert " for 1 step, " in summary(estimate(shape, train, EvaluateConfig(), TpuConfig()), 1)


def test_the_published_training() -> None:
    shape = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)
    text = summary(estimate(shape, TrainConfig(), EvaluateConfig(), TpuConfig()), 2_000_000)
    assert text.startswith("44 to 66 steps/s, ")
    assert "hours for 2,000,000 steps" in text
    assert "US dollars at 1.96 per hour (list of" in text
    assert "products 3.7 ms, optimizer 4.6 ms, exchange of gradients 10.6 to 14.4 ms" in text
    alone = summary(
        estimate(shape, TrainConfig(), EvaluateConfig(), TpuConfig(chip_hour_price=1.0)), 2_000_000
    )
    assert "at 8.00 per hour (as set)" in alone


def test_a_small_training_takes_minutes_and_not_nothing() -> None:
    shape = TrainingShape(
        model=ModelConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2),
        vocab_size=1_000,
        batch=16,
    )
    train = TrainConfig(train_steps=100, num_warmup_steps=10)
    text = summary(estimate(shape, train, EvaluateConfig(), TpuConfig(chip_hour_price=1e-3)), 100)
    assert " minutes for 100 steps, less than 0.01 US dollars at" in text
    assert "0.0 hours" not in text


def test_the_table() -> None:
    made = plan(resolve({"workspace": "w", "preset": "qarib"}))
    lines = table(made)
    assert lines[0].split() == ["type", "batch", "steps/s", "hours", "spot", "$", "on", "demand", "$"]
    assert lines[1].startswith("v5litepod-8")
    assert lines[1].endswith("as asked")
    marked = table(made, marked_only=True)
    # As asked, cheapest, and fastest are three rows.
    assert len(marked) == 1 + 3
    assert marked[1].endswith("as asked")
    assert all(any(mark in row for mark in ("cheapest", "fastest")) for row in marked[2:])
