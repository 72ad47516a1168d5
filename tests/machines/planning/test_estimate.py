"""How long a training takes on a TPU, against figures that are worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.machines.planning.estimate import Range, estimate, exchanged_bytes, step_time

PUBLISHED = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)

# A wordpiece's products in a layer of BERT-base: 8·768² + 4·768·3072 + 4·64·768 = 14,352,384 operations; in
# twelve layers, for 64 of them: 11.023e9. Ten predictions of 2·768² + 2·768·64,000: 0.995e9. With the
# backward way, three times that: 36.06e9 for each example.
EXAMPLE = 36.06e9
# 64,000·768 for the words and about 86.7 million others.
PARAMETERS = 135.85e6
# Four tenths of the peak of one chip; 28 bytes per parameter through its memory; per step, 7/4 of 4 bytes per
# parameter over two links.
V5E = (0.4 * 197e12, 28 * PARAMETERS / 819e9, 7 / 4 * 4 * PARAMETERS / (2 * 45e9))
V6E = (0.4 * 918e12, 28 * PARAMETERS / 1638e9, 7 / 4 * 4 * PARAMETERS / (2 * 90e9))


def row(chips: int, batch: int, rates: tuple[float, float, float]) -> tuple[float, float]:
    """Examples per second if nothing overlaps, and if the exchange overlaps with the products."""
    speed, optimizer, exchange = rates
    products, exchange = batch * EXAMPLE / (chips * speed), exchange if chips > 1 else 0.0
    return batch / (products + optimizer + exchange), batch / (max(products, exchange) + optimizer)


@pytest.mark.parametrize(
    ("accelerator_type", "batch", "low", "high"),
    [
        # Examples per second of shared/reference/recipes.md, table 1.3.
        ("v5litepod-1", 64, 1_890, 1_890),
        ("v5litepod-8", 64, 3_400, 4_200),
        ("v5litepod-8", 256, 8_600, 13_300),
        ("v5litepod-8", 1_024, 13_900, 16_200),
        ("v5litepod-8", 4_096, 16_400, 17_100),
        ("v6e-1", 64, 7_440, 7_440),
        ("v6e-1", 1_024, 9_960, 9_960),
        ("v6e-8", 1_024, 51_000, 69_000),
        # The others by the same arithmetic.
        ("v5litepod-1", 256, *row(1, 256, V5E)),
        ("v5litepod-1", 1_024, *row(1, 1_024, V5E)),
        ("v5litepod-1", 4_096, *row(1, 4_096, V5E)),
        ("v6e-1", 256, *row(1, 256, V6E)),
        ("v6e-1", 4_096, *row(1, 4_096, V6E)),
        ("v6e-8", 64, *row(8, 64, V6E)),
        ("v6e-8", 256, *row(8, 256, V6E)),
        ("v6e-8", 4_096, *row(8, 4_096, V6E)),
    ],
)
def test_the_published_examples_on_each_machine(
    accelerator_type: str, batch: int, low: float, high: float
) -> None:
    train = TrainConfig(train_batch_size=batch, train_steps=128_000_000 // batch)
    tpu = TpuConfig(accelerator_type=accelerator_type)
    found = estimate(replace(PUBLISHED, batch=batch), train, EvaluateConfig(), tpu)
    assert found.examples_per_second.high == pytest.approx(high, rel=0.05)
    assert found.steps_hours.low == pytest.approx(128e6 / high / 3600, rel=0.05)
    # The table counts each gradient once. The compiler sends those of the words twice.
    step = found.step
    assert batch / (step.products + step.optimizer + step.exchange.low) == pytest.approx(low, rel=0.05)
    chips, link = found.chips, found.chip.link_bytes_per_second
    words = 7 / 4 * 4 * 64_000 * 768 / (2 * link) if chips > 1 else 0.0
    seconds = batch / low + words
    assert found.examples_per_second.low == pytest.approx(batch / seconds, rel=0.05)
    assert found.steps_hours.high == pytest.approx(128e6 / batch * seconds / 3600, rel=0.05)


def test_the_parts_of_the_published_step() -> None:
    step = step_time(PUBLISHED, "v5litepod-8", 0.4)
    assert step.products == pytest.approx(3.7e-3, rel=0.02)
    assert step.optimizer == pytest.approx(4.6e-3, rel=0.02)
    # 543 MB of gradients, and 197 MB of the words' second one: 7/4 of that over 90 GB/s.
    assert step.exchange.low == pytest.approx(10.6e-3, rel=0.02)
    assert step.exchange.high == pytest.approx(14.4e-3, rel=0.02)
    # 10.6 - 3.7 of 15.2 ms if the products overlap, 14.4 of 22.7 if not.
    assert step.waiting_share.low == pytest.approx(6.9 / 15.2, rel=0.02)
    assert step.waiting_share.high == pytest.approx(14.4 / 22.7, rel=0.02)
    assert step_time(PUBLISHED, "v5litepod-1", 0.4).waiting_share == Range(0.0, 0.0)


def test_a_share_of_the_peak_of_one_s_own() -> None:
    half = TpuConfig(share_of_peak=0.2)
    usual, slow = (
        estimate(PUBLISHED, TrainConfig(), EvaluateConfig(), tpu).step for tpu in (TpuConfig(), half)
    )
    assert slow.products == pytest.approx(2 * usual.products)
    assert slow.exchange == usual.exchange


def test_a_slow_reader_decides() -> None:
    """One machine parses about 120,000 examples per second: a tiny model on many chips waits for them."""
    tiny = ModelConfig(num_hidden_layers=1, hidden_size=64, num_attention_heads=2, intermediate_size=64)
    shape = TrainingShape(model=tiny, vocab_size=1_000, batch=8_192)
    found = step_time(shape, "v6e-8", 0.4)
    assert found.seconds.low == found.seconds.high == found.reading
    assert found.reading == pytest.approx(0.0018 + 8_192 * 8.4e-6)
    # Each of several machines reads its part.
    assert step_time(shape, "v6e-16", 0.4).reading == pytest.approx(0.0018 + 2_048 * 8.4e-6)


def test_a_divided_optimizer_updates_an_eighth() -> None:
    whole = step_time(PUBLISHED, "v5litepod-8", 0.4)
    divided = step_time(replace(PUBLISHED, shard_optimizer=True), "v5litepod-8", 0.4)
    assert divided.optimizer == pytest.approx(whole.optimizer / 8)


def test_bytes_that_the_compiler_s_programs_exchange() -> None:
    """By `python benchmarks/tpu_compile.py --topology v5e:2x4 --batch 64`: all, and with a divided state."""
    shape = replace(PUBLISHED, precision="bfloat16")
    assert exchanged_bytes(shape, 8).high == pytest.approx(825e6, rel=0.02)
    assert exchanged_bytes(replace(shape, shard_optimizer=True), 8).high == pytest.approx(729e6, rel=0.02)
    assert exchanged_bytes(shape, 1) == Range(0.0, 0.0)


def test_what_is_not_a_step() -> None:
    train = TrainConfig(train_steps=1_000_000, save_checkpoints_steps=100_000, recovery_minutes=0)
    evaluate = EvaluateConfig(eval_batch_size=64, max_eval_steps=100, probe_seconds=60)
    found = estimate(PUBLISHED, train, evaluate, TpuConfig())
    # Ten checkpoints of 12 bytes per parameter, at 500 to 100 MB/s.
    assert found.checkpoint_hours.low == pytest.approx(10 * 12 * PARAMETERS / 500e6 / 3600, rel=0.01)
    assert found.checkpoint_hours.high == pytest.approx(10 * 12 * PARAMETERS / 100e6 / 3600, rel=0.01)
    # A hundred forward steps of a third of 3.67 ms, then a minute of tasks; ten times.
    assert found.evaluation_hours.low == pytest.approx(10 * 100 * 3.67e-3 / 3 / 3600, rel=0.02)
    assert found.evaluation_hours.high == pytest.approx(10 * (100 * 3.67e-3 / 3 + 60) / 3600, rel=0.02)
    assert found.startup_hours == Range(180 / 3600, 540 / 3600)
    total = found.steps_hours.high + found.checkpoint_hours.high + found.evaluation_hours.high + 540 / 3600
    assert found.hours.high == pytest.approx(total)
    # On spot, $0.245 for each of eight chips.
    assert found.cost.high == pytest.approx(total * 8 * 0.245)
    # A recovery checkpoint every ten minutes besides.
    often = estimate(PUBLISHED, replace(train, recovery_minutes=10), evaluate, TpuConfig())
    more = (often.checkpoint_hours.high - found.checkpoint_hours.high) * 3600
    assert more == pytest.approx(6 * found.steps_hours.high * 12 * PARAMETERS / 100e6, rel=0.01)
