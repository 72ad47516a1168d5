"""What a training cannot begin with."""

from __future__ import annotations

import pytest

from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.machines.planning.estimate import estimate
from qarib_tasks.machines.planning.limits import over_limits, require_devices

SHAPE = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)


def exceeded(**limits: float) -> list[str]:
    tpu = TpuConfig(**limits)  # type: ignore[arg-type]
    return [fault.what for fault in over_limits(tpu, estimate(SHAPE, TrainConfig(), EvaluateConfig(), tpu))]


def test_limits_are_compared_with_the_upper_ends() -> None:
    # 8.6 to 13.5 hours, 16.79 to 26.51 US dollars.
    assert exceeded(max_cost=26.55, running_hours=13.6) == []
    assert exceeded(max_cost=26.50, running_hours=13.5) == [
        "the upper end of the cost, 26.51 US dollars, is above max_cost 26.50",
        "the upper end of the hours, 13.5, is above running_hours 13.5",
    ]


def test_devices_share_a_batch() -> None:
    require_devices(TrainConfig(), "v5litepod-8")
    require_devices(TrainConfig(train_batch_size=100, backend="tensorflow"), "v5litepod-8")
    with pytest.raises(ConfigError, match="a batch of 64 cannot be divided over 128 devices"):
        require_devices(TrainConfig(), "v5litepod-128")
    with pytest.raises(ConfigError, match=r"in 16 parts .* over 8 devices of v3-8"):
        require_devices(TrainConfig(accumulation_steps=16), "v3-8")
    with pytest.raises(ConfigError, match="on one machine only"):
        require_devices(TrainConfig(backend="tensorflow"), "v5litepod-16")
