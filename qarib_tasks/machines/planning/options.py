"""What other TPUs and batches would take for the same examples, and which of them to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import ON_GKE_ONLY, TrainingShape, chips_of, training_shape
from qarib_tasks.machines.planning.estimate import Estimate, Range, calculable, estimate

# Google's types of at most 16 chips.
TYPES = (
    *("v5litepod-1", "v5litepod-4", "v5litepod-8", "v5litepod-16", "v6e-1", "v6e-4", "v6e-8", "v6e-16"),
    *("v5p-8", "v5p-16", "v4-8", "v4-16", "v3-8", "v2-8"),
)
BATCHES = (1, 4, 16, 64)  # times that of the run
# Bytes of memory per parameter, and per example of length 64 in BERT-base with bfloat16. From the TPU's
# compiler (benchmarks/tpu_compile.py): 2.9 GB at 8 examples per chip, 4.8 GB at 128.
FIXED_BYTES, EXAMPLE_BYTES, EXAMPLE_PLACES = 20.2, 16.1e6, 64 * 12 * 768
USABLE = 0.9  # of a chip's memory
MOST_PARTS = 64
Mark = Literal["as asked", "cheapest", "fastest", "cheapest in time"]


@dataclass(frozen=True)
class DatasetSize:
    """How much there is to read, estimated or counted."""

    shards: int
    examples: int


@dataclass(frozen=True)
class Option:
    """One TPU and batch for the examples of the run.

    Attributes:
        steps: that read as many examples as the run.
        parts: in which a batch is computed, so that it fits into memory (`accumulation_steps`).
        estimate: at the price of `provisioning`.
    """

    accelerator_type: str
    provisioning: str
    batch: int
    steps: int
    parts: int
    estimate: Estimate
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The options of a run, and advice as sentences.

    Attributes:
        options: of each type and batch, one per provisioning. The prices of spot and on demand are those of
            the table, that of the run's own type and provisioning is its own, if it sets one.
        dataset: None if its size is not known.
        within: hours of the deadline, if there is one.
    """

    options: tuple[Option, ...]
    dataset: DatasetSize | None
    within: float | None

    def marked(self, mark: Mark) -> Option | None:
        return next((option for option in self.options if mark in option.marks), None)

    @property
    def asked(self) -> Option:
        found = self.marked("as asked")
        assert found
        return found

    @property
    def shards_read(self) -> float | None:
        """The number of shards that all steps read, more than all of them in several epochs."""
        if not self.dataset:
            return None
        return self.asked.batch * self.asked.steps / self.dataset.examples * self.dataset.shards


def highest_cost(option: Option) -> float:
    """Return the upper end of an option's cost, in US dollars."""
    return option.estimate.cost.high


def plan(config: RunConfig, dataset: DatasetSize | None = None, within: float | None = None) -> Plan:
    """Return what the run takes on its TPU and on others.

    The marks compare the upper ends among the options of the run's own provisioning.

    Args:
        within: hours in which the training should end.

    Raises:
        ConfigError: the accelerator type is unknown, or a number is too large to calculate with.
    """
    with calculable():
        options = list(_options(config))
    own = config.tpu.provisioning
    among = [option for option in options if option.provisioning == own]
    in_time = [option for option in among if within is not None and option.estimate.hours.high <= within]
    marks: list[tuple[Option, Mark]] = [
        (among[0], "as asked"),
        (min(among, key=highest_cost), "cheapest"),
        (min(among, key=lambda option: option.estimate.hours.high), "fastest"),
    ]
    if in_time:
        marks.append((min(in_time, key=highest_cost), "cheapest in time"))
    found = (replace(o, marks=tuple(mark for one, mark in marks if one is o)) for o in options)
    return Plan(tuple(found), dataset, within)


def _options(config: RunConfig) -> Iterator[Option]:
    """Yield the option of the run first."""
    train, tpu = config.train, config.tpu
    shape = training_shape(config.model, config.vocab.vocab_size, train, config.convert)
    examples = train.train_batch_size * train.train_steps
    for accelerator_type in dict.fromkeys((tpu.accelerator_type, *TYPES)):
        number, chip = chips_of(accelerator_type)
        devices = number * chip.devices
        for times in BATCHES:
            batch = times * train.train_batch_size
            is_asked = accelerator_type == tpu.accelerator_type and times == 1
            fitting = fitting_parts(replace(shape, batch=batch), devices, chip.hbm_bytes / chip.devices)
            parts = train.accumulation_steps if is_asked else fitting
            # None: it does not fit. A batch of more examples than the run reads would be a longer training.
            if parts is None or batch > examples:
                continue
            steps = examples // batch
            wanted = (tpu.provisioning,) if is_asked and tpu.provisioning == "reserved" else ()
            # Only the price that the run sets is known of what is not in the table of prices.
            listed = () if chip.name in ON_GKE_ONLY else ("spot", "on_demand")
            for provisioning in dict.fromkeys((*wanted, tpu.provisioning, *listed)):
                if provisioning == "reserved" and not is_asked:
                    continue
                same = provisioning == tpu.provisioning and accelerator_type == tpu.accelerator_type
                machine = replace(
                    tpu,
                    accelerator_type=accelerator_type,
                    provisioning=provisioning,
                    reservation=tpu.reservation if provisioning == "reserved" else "",
                    chip_hour_price=tpu.chip_hour_price if same else None,
                )
                # Only these settings count; the others need not suit so few steps.
                usual = TrainConfig(
                    train_batch_size=batch,
                    train_steps=steps,
                    num_warmup_steps=0,
                    save_checkpoints_steps=max(train.save_checkpoints_steps // times, 1),
                    recovery_minutes=train.recovery_minutes,
                )
                found = estimate(replace(shape, batch=batch, parts=parts), usual, config.evaluate, machine)
                yield Option(accelerator_type, provisioning, batch, steps, parts, found)


def fitting_parts(shape: TrainingShape, devices: int, memory: float) -> int | None:
    """Return in how many parts a batch fits into the memory of each device; None if it does not."""
    parts = 1
    while shape.batch % (devices * parts) == 0 and parts <= MOST_PARTS:
        if needed_bytes(replace(shape, parts=parts), devices) <= USABLE * memory:
            return parts
        parts *= 2
    return None


def needed_bytes(shape: TrainingShape, devices: int) -> float:
    """Estimate the memory of a step on each device, within about a third."""
    places = shape.length * shape.model.num_hidden_layers * shape.model.hidden_size
    width = 2 if shape.precision == "float32" else 1
    examples = shape.batch / devices / shape.parts
    return FIXED_BYTES * shape.parameters + width * EXAMPLE_BYTES * places / EXAMPLE_PLACES * examples


def waiting(option: Option) -> Range:
    """The share of the time that the option's chips wait for the exchange of gradients."""
    return option.estimate.step.waiting_share
