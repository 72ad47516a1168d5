"""What to know before a training is paid for, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from qarib_tasks.config.run import RunConfig
from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import chips_of, training_shape
from qarib_tasks.machines.planning.estimate import Range, exchanged_bytes, step_time
from qarib_tasks.machines.planning.limits import require_devices
from qarib_tasks.machines.planning.options import (
    USABLE,
    DatasetSize,
    Option,
    Plan,
    fitting_parts,
    highest_cost,
    needed_bytes,
    waiting,
)
from qarib_tasks.machines.planning.text import dollars, hours, span

PRECISIONS: tuple[Literal["float32"], Literal["bfloat16"]] = ("float32", "bfloat16")
WAITS_MUCH = 0.3
WORTH = 0.8  # of the price, to be named
WORTH_A_SETTING = 0.98  # of the time of a step


def advice(config: RunConfig, plan: Plan) -> list[str]:
    """Return the sentences, the most important first."""
    return list(_sentences(config, plan))


def _sentences(config: RunConfig, plan: Plan) -> Iterator[str]:
    asked = plan.asked
    yield from _troubles(config, asked)
    if plan.dataset and plan.shards_read is not None:
        yield f"This reads {_read(plan.shards_read, plan.dataset)}."
    if waiting(asked).high > WAITS_MUCH:
        yield (
            f"Batch {asked.batch:,} on {counted(asked.estimate.chips, 'chip')} waits for the exchange of "
            f"gradients {span(waiting(asked), '.0%')} of the time."
        )
    own = [option for option in plan.options if option.provisioning == asked.provisioning]
    same_batch = min((o for o in own if o.batch == asked.batch), key=highest_cost)
    if highest_cost(same_batch) < WORTH * highest_cost(asked):
        yield f"The same training costs least on {same_batch.accelerator_type}: {_terms(same_batch, asked)}."
    same_type = min((o for o in own if o.accelerator_type == asked.accelerator_type), key=highest_cost)
    if highest_cost(same_type) < WORTH * highest_cost(asked):
        yield (
            f"Batch {same_type.batch:,} on {asked.accelerator_type} reads the same examples for "
            f"{_terms(same_type, asked)}. It is another training: it needs a higher learning_rate."
        )
    yield from _settings(config, asked)
    if plan.within is not None and not plan.marked("cheapest in time"):
        within = "1 hour" if plan.within == 1 else f"{plan.within:,g} hours"
        yield f"No option of the table surely ends within {within}."
    if asked.provisioning == "spot":
        yield "Spot TPUs can be preempted; each preemption adds a startup and the steps since a checkpoint."


def _read(shards: float, dataset: DatasetSize) -> str:
    share = shards / dataset.shards
    if share >= 1:
        read = f"{share:,.1f} epochs"
    else:
        read = f"{shards:,.0f}" if shards >= 1 else "less than 1"
        read += f" of {counted(dataset.shards, 'shard')}"
    percent = f"{share:,.1%}" if share >= 0.001 else "less than 0.1%"
    return f"{read} ({percent} of about {counted(dataset.examples, 'example')})"


def _troubles(config: RunConfig, asked: Option) -> Iterator[str]:
    """Yield why the training cannot begin, or may end at once."""
    try:
        require_devices(config.train, asked.accelerator_type)
    except ConfigError as error:
        yield f"No run can start like this: {error.what}. {error.do}."
        return
    number, chip = chips_of(asked.accelerator_type)
    devices, memory = number * chip.devices, chip.hbm_bytes / chip.devices
    shape = training_shape(config.model, config.vocab.vocab_size, config.train, config.convert)
    if needed_bytes(shape, devices) > USABLE * memory:
        parts = fitting_parts(replace(shape, parts=1), devices, memory)
        do = f"set accumulation_steps to {parts}" if parts else "use more chips, or a smaller batch or model"
        yield f"Batch {asked.batch:,} may not fit into the memory of {asked.accelerator_type}: {do}."


def _settings(config: RunConfig, asked: Option) -> Iterator[str]:
    """Yield the settings that would shorten the steps."""
    shape = training_shape(config.model, config.vocab.vocab_size, config.train, config.convert)
    number, chip = chips_of(asked.accelerator_type)

    def faster(**settings: Any) -> bool:
        other = step_time(replace(shape, **settings), asked.accelerator_type, config.tpu.share_of_peak)
        return other.seconds.high < WORTH_A_SETTING * asked.estimate.step.seconds.high

    if config.train.precision == "float32" and faster(precision="bfloat16"):
        devices = number * chip.devices
        now, then = (exchanged_bytes(replace(shape, precision=one), devices) for one in PRECISIONS)
        less = sorted((1 - then.low / now.low, 1 - then.high / now.high))
        yield f"Set precision to auto: in bfloat16, the chips exchange {span(Range(*less), '.0%')} less."
    if not config.train.shard_optimizer and faster(shard_optimizer=True):
        yield "Turn shard_optimizer on: each chip then updates a part of the weights, not all of them."


def _terms(option: Option, asked: Option) -> str:
    time, other = hours(option.estimate.hours), hours(asked.estimate.hours)
    if time.rpartition(" ")[2] == other.rpartition(" ")[2]:
        other = other.rpartition(" ")[0]  # The unit is said once.
    return f"{dollars(option.estimate.cost)} and {time}, not {span(asked.estimate.cost, ',.2f')} and {other}"
