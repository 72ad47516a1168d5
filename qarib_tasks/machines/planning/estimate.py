"""How long a training takes on a TPU, and what the machines cost.

Each estimate is a range. Its lower end assumes that everything overlaps that can, and that each gradient is
exchanged once; its upper end that nothing overlaps, and that gradients are exchanged as the TPU's compiler
has it. Limits of a run are compared with the upper end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import (
    PRICES_OF,
    Chip,
    TrainingShape,
    chips_of,
    hourly_price,
    links_of,
    machines_of,
)

# The optimizer reads weights, gradients and two averages, and writes all except the gradients, in float32.
OPTIMIZER_BYTES = 7 * 4
# A checkpoint has the weights and two averages, in float32.
CHECKPOINT_BYTES = 3 * 4


@dataclass(frozen=True)
class Range:
    """The two ends of an estimate."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    def times(self, factor: float) -> Range:
        return Range(self.low * factor, self.high * factor)


# Seconds in which a host's thread reads and parses a batch, and for each example in it. Measured with
# `benchmarks/training.py --input` on a core of this project's machine; hosts of TPUs have faster ones.
READ_BATCH_SECONDS, READ_EXAMPLE_SECONDS = 1.8e-3, 8.4e-6
# Seconds from the machine's grant, when it begins to cost, to the first step. Assumed, no real TPU was timed:
# boot and installation take most of it. The installation took 102 to 155 seconds on two busy cores of this
# project's machine (docs/rehearsal.md), the compiler 43 to 125 seconds (`benchmarks/tpu_compile.py`).
STARTUP_SECONDS = Range(180.0, 540.0)
# Bytes per second from the device over the disk into the bucket. Assumed: the upper end of the time is what
# docs/scaling.md assumes for a worker, the lower one what a bucket in the region gives to parallel uploads.
CHECKPOINT_BYTES_PER_SECOND = Range(100e6, 500e6)


@dataclass(frozen=True)
class StepTime:
    """The parts of a step, in seconds.

    Attributes:
        products: matrix products, at the given share of the chips' peak. With float32 weights too, JAX
            multiplies in bfloat16 on a TPU by default.
        optimizer: the way of weights, gradients, and averages through the memory of one device.
        exchange: the sum of the gradients over all chips.
        reading: reading and parsing the batch, on the hosts.
    """

    products: float
    optimizer: float
    exchange: Range
    reading: float

    @property
    def seconds(self) -> Range:
        """The step. The optimizer waits for all gradients, because it clips their common norm.

        A thread reads ahead, so reading overlaps in either case: the slower of the two decides.
        """
        overlapped = max(self.products, self.exchange.low) + self.optimizer
        serial = self.products + self.exchange.high + self.optimizer
        return Range(max(overlapped, self.reading), max(serial, self.reading))

    @property
    def waiting_share(self) -> Range:
        """The share of the step in which the chips compute nothing, because they exchange gradients."""
        waits = max(self.exchange.low - self.products, 0.0) / self.seconds.low
        return Range(waits, self.exchange.high / self.seconds.high)


def step_time(shape: TrainingShape, accelerator_type: str, share_of_peak: float) -> StepTime:
    """Estimate a data-parallel step.

    Raises:
        ConfigError: the accelerator type is unknown.
    """
    number, chip = chips_of(accelerator_type)
    devices = number * chip.devices
    # Each core of a v2 or v3 chip holds its own copy.
    optimizer = OPTIMIZER_BYTES * shape.parameters * chip.devices / chip.hbm_bytes_per_second
    sent_per_second = max(links_of(number, chip), 1) * chip.link_bytes_per_second
    return StepTime(
        products=shape.flops / (number * chip.peak_bfloat16_flops * share_of_peak),
        optimizer=optimizer / (devices if shape.shard_optimizer else 1),
        exchange=exchanged_bytes(shape, devices).times(1 / sent_per_second),
        reading=READ_BATCH_SECONDS + READ_EXAMPLE_SECONDS * shape.batch / machines_of(accelerator_type),
    )


def exchanged_bytes(shape: TrainingShape, devices: int) -> Range:
    """Return the bytes that each device sends in a step, to add up the gradients.

    The devices form a ring. To add up an array, each sends (n - 1)/n of its bytes (reduce-scatter), and as
    many again to give the sum to all (all-gather), over all its links at once. With a divided optimizer, the
    second is of the updated weights, in float32; and the compiler gives all devices the gradients of the
    embedded wordpieces, float32 [batch, length, hidden], instead of adding up those of the look-up. The upper
    end adds up the gradients of each part of a batch that is computed in parts.
    """
    ring = (devices - 1) / devices
    once, compiled = shape.gradient_bytes
    if not shape.shard_optimizer:
        return Range(once, shape.parts * compiled).times(2 * ring)
    embedded = 4 * shape.batch * shape.length * shape.model.hidden_size
    besides = compiled - shape.embedding_bytes + 4 * shape.parameters
    most = besides + embedded + (shape.parts - 1) * compiled
    return Range(besides + min(embedded, shape.embedding_bytes), most).times(ring)


@dataclass(frozen=True)
class Estimate:
    """What a training takes.

    Attributes:
        batch: examples per step.
        step: of one step.
        steps_hours: of all steps.
        startup_hours: of one TPU; each preemption adds as much again.
        checkpoint_hours, evaluation_hours: of all of them; the training waits for each.
        chips, chip: of the TPU.
        hourly: US dollars per hour of all chips.
        price_source: where the price is from.
    """

    batch: int
    step: StepTime
    steps_hours: Range
    startup_hours: Range
    checkpoint_hours: Range
    evaluation_hours: Range
    chips: int
    chip: Chip
    hourly: float
    price_source: str

    @property
    def steps_per_second(self) -> Range:
        return Range(1 / self.step.seconds.high, 1 / self.step.seconds.low)

    @property
    def examples_per_second(self) -> Range:
        return self.steps_per_second.times(self.batch)

    @property
    def hours(self) -> Range:
        """From the machine's grant to the end of the training, without preemptions."""
        return self.steps_hours + self.startup_hours + self.checkpoint_hours + self.evaluation_hours

    def at(self, examples_per_second: float, steps: int) -> Estimate:
        """Return the same with a measured speed in place of the estimated one."""
        hours = steps * self.batch / examples_per_second / 3600
        return replace(self, steps_hours=Range(hours, hours))

    @property
    def cost(self) -> Range:
        """US dollars."""
        return self.hours.times(self.hourly)


@contextmanager
def calculable() -> Iterator[None]:
    """Say which error it is when numbers are too large to calculate with.

    Raises:
        ConfigError: they are.
    """
    try:
        yield
    except ArithmeticError:
        raise ConfigError(
            "these settings have no estimate: a number is too large or too small",
            do="Correct the numbers of the model, the training, and the TPU",
        ) from None


def estimate(shape: TrainingShape, train: TrainConfig, evaluate: EvaluateConfig, tpu: TpuConfig) -> Estimate:
    """Estimate the training of `train.train_steps` steps of this shape on this TPU.

    Raises:
        ConfigError: the accelerator type is unknown, or a number is too large to calculate with.
    """
    with calculable():
        found = _estimate(shape, train, evaluate, tpu)
        if not math.isfinite(found.hours.high) or not math.isfinite(found.cost.high):
            raise OverflowError
    return found


def _estimate(shape: TrainingShape, train: TrainConfig, evaluate: EvaluateConfig, tpu: TpuConfig) -> Estimate:
    number, chip = chips_of(tpu.accelerator_type)
    step = step_time(shape, tpu.accelerator_type, tpu.share_of_peak)
    steps_hours = step.seconds.times(train.train_steps / 3600)
    planned = max(-(-train.train_steps // train.save_checkpoints_steps), 1)
    saved = Range(planned, planned)
    if train.recovery_minutes:
        saved += steps_hours.times(60 / train.recovery_minutes)
    size, speed = CHECKPOINT_BYTES * shape.parameters, CHECKPOINT_BYTES_PER_SECOND
    # Only forward, which is a third of a step's operations; and the tasks, which take no longer than allowed.
    examples = evaluate.eval_batch_size * evaluate.max_eval_steps
    forward = step.products / shape.batch / 3 * examples
    tasks = evaluate.probe_seconds if evaluate.tasks or evaluate.free_tasks else 0.0
    return Estimate(
        batch=shape.batch,
        step=step,
        steps_hours=steps_hours,
        startup_hours=STARTUP_SECONDS.times(1 / 3600),
        checkpoint_hours=Range(saved.low * size / speed.high, saved.high * size / speed.low).times(1 / 3600),
        evaluation_hours=Range(forward, forward + tasks).times(planned / 3600),
        chips=number,
        chip=chip,
        hourly=hourly_price(tpu),
        price_source="as set" if tpu.chip_hour_price else f"list of {PRICES_OF}, {chip.region}",
    )
