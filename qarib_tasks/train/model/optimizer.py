"""BERT's optimizer and learning-rate schedule, as google-research/bert's `optimization.py` defines them.

The defaults of `TrainConfig` are BERT's own constants. The functions work on tensors of the backend that
Keras uses. The step adapters, `steps_jax.py` and `steps_tensorflow.py`, call them and hold the variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from qarib_tasks.config.training.recipe import TrainConfig


def learning_rate_at(step: Any, config: TrainConfig, *, peak: Any) -> Any:
    """Return the rate of the update `step`, counted from 0: linear warm-up from 0, then the schedule.

    The decay of `linear` spans all training steps: its line starts at `peak` at step 0, hidden by the
    warm-up. Those of `cosine` and `wsd` start at `peak`, and end at `decay_floor` of it.

    Args:
        step: scalar integer tensor, or an int.
        peak: a number, or a scalar float32 tensor.

    Returns:
        scalar float32 tensor.
    """
    step = ops.cast(step, "float32")
    warmup = config.warmup_steps
    falling = peak * _share_of_peak(step, config)
    if not warmup:
        return falling
    return ops.where(step < warmup, peak * step / warmup, falling)


def _share_of_peak(step: Any, config: TrainConfig) -> Any:
    """Return the schedule's share of the peak at a float32 step, without the warm-up."""
    steps = config.train_steps
    if config.schedule == "linear":
        return 1.0 - ops.minimum(step, float(steps)) / steps
    if config.schedule == "cosine":
        done = ops.clip((step - config.warmup_steps) / (steps - config.warmup_steps), 0.0, 1.0)
        falling = 0.5 + 0.5 * ops.cos(math.pi * done)
    else:
        falling = ops.clip((steps - step) / config.decay_steps, 0.0, 1.0)
    return config.decay_floor + (1.0 - config.decay_floor) * falling


def is_decayed(name: str) -> bool:
    """Return whether weight decay applies to the variable with this TF 1 name."""
    return not any(part in name for part in ("LayerNorm", "layer_norm", "bias"))


def global_norm(gradients: Sequence[Any]) -> Any:
    """Return the square root of the sum of all squares, a float32 scalar."""
    squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]
    return ops.sqrt(ops.sum(ops.stack(squares)))


def clip_by_global_norm(gradients: Sequence[Any], norm: Any, most: float) -> list[Any]:
    """Scale all gradients together so that their global norm is at most `most`; 0 leaves them."""
    if not most:
        return list(gradients)
    scale = most / ops.maximum(norm, most)
    return [gradient * scale for gradient in gradients]


def adamw(
    variable: Any,
    gradient: Any,
    first: Any,
    second: Any,
    rate: Any,
    updates: Any,
    config: TrainConfig,
    *,
    decayed: bool,
) -> tuple[Any, Any, Any]:
    """Compute an update of BERT's AdamW: weight decay in the update, not in the loss.

    Args:
        variable, gradient, first, second: tensors of one shape: the variable, its clipped gradient, and the
            running averages of the gradient and of its square.
        rate: learning rate, a scalar.
        updates: number of updates in the averages before this one, for the bias correction.

    Returns:
        the new variable, first and second.
    """
    first = config.beta_1 * first + (1.0 - config.beta_1) * gradient
    second = config.beta_2 * second + (1.0 - config.beta_2) * ops.square(gradient)
    mean, square = first, second
    if config.bias_correction:
        # Both averages start at 0; these are the sums of the weights in them.
        updates = ops.cast(updates, "float32") + 1.0
        mean = first / -ops.expm1(updates * math.log(config.beta_1))
        square = second / -ops.expm1(updates * math.log(config.beta_2))
    update = mean / (ops.sqrt(square) + config.epsilon)
    if decayed:
        update = update + config.weight_decay * variable
    return variable - rate * update, first, second
