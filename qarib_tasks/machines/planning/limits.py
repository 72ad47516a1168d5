"""Why a training on a TPU cannot begin: its devices cannot share a batch, or a limit is exceeded."""

from __future__ import annotations

from collections.abc import Iterator

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import chips_of, machines_of, require_divisible
from qarib_tasks.machines.planning.estimate import Estimate
from qarib_tasks.machines.planning.text import figure


def require_devices(train: TrainConfig, accelerator_type: str) -> None:
    """Check that a TPU's devices can share the training.

    Raises:
        ConfigError: they cannot, or the accelerator type is unknown.
    """
    number, chip = chips_of(accelerator_type)
    if train.backend == "tensorflow":
        if machines_of(accelerator_type) > 1:
            raise ConfigError("TensorFlow trains on one machine only", where="backend", do="Set it to auto")
        return
    require_divisible(
        train.train_batch_size,
        number * chip.devices,
        f"devices of {accelerator_type}",
        accumulated=train.accumulation_steps,
    )


def over_limits(tpu: TpuConfig, expected: Estimate) -> Iterator[ConfigError]:
    """Yield an error for each limit that the upper end of the estimate exceeds."""
    cost, hours = expected.cost.high, expected.hours.high
    if tpu.max_cost is not None and cost > tpu.max_cost:
        yield ConfigError(
            f"the upper end of the cost, {figure(cost, ',.2f')} US dollars, is above max_cost "
            f"{figure(tpu.max_cost, ',.2f')}",
            where="max_cost",
            do="Raise it",
        )
    if hours > tpu.running_hours:
        yield ConfigError(
            f"the upper end of the hours, {figure(hours, ',.1f')}, is above running_hours "
            f"{tpu.running_hours:g}",
            where="running_hours",
            do="Raise it",
        )
