"""BERT's optimizer and learning-rate schedule, as google-research/bert's `optimization.py` defines them.

The functions work on tensors of the backend that Keras uses. The step adapters, `steps_jax.py` and
`steps_tensorflow.py`, call them and hold the variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-6
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0


def learning_rate_at(step: Any, *, peak: float, train_steps: int, num_warmup_steps: int) -> Any:
    """Return the rate of the update `step`, counted from 0: linear warm-up from 0, then linear decay to 0.

    The decay spans all training steps: its line starts at `peak` at step 0, hidden by the warm-up.

    Args:
        step: scalar integer tensor, or an int.

    Returns:
        scalar float32 tensor.
    """
    step = ops.cast(step, "float32")
    falling = peak * (1.0 - ops.minimum(step, float(train_steps)) / train_steps)
    if not num_warmup_steps:
        return falling
    return ops.where(step < num_warmup_steps, peak * step / num_warmup_steps, falling)


def is_decayed(name: str) -> bool:
    """Return whether weight decay applies to the variable with this TF 1 name."""
    return not any(part in name for part in ("LayerNorm", "layer_norm", "bias"))


def global_norm(gradients: Sequence[Any]) -> Any:
    """Return the square root of the sum of all squares, a float32 scalar."""
    squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]
    return ops.sqrt(ops.sum(ops.stack(squares)))


def clip_by_global_norm(gradients: Sequence[Any], norm: Any) -> list[Any]:
    """Scale all gradients together so that their global norm is at most 1.0."""
    scale = CLIP_NORM / ops.maximum(norm, CLIP_NORM)
    return [gradient * scale for gradient in gradients]


def adamw(
    variable: Any, gradient: Any, first: Any, second: Any, rate: Any, *, decayed: bool
) -> tuple[Any, Any, Any]:
    """Compute an update of BERT's AdamW: no bias correction, weight decay in the update, not in the loss.

    Args:
        variable, gradient, first, second: tensors of one shape: the variable, its clipped gradient, and the
            running averages of the gradient and of its square.
        rate: learning rate, a scalar.

    Returns:
        the new variable, first and second.
    """
    first = BETA_1 * first + (1.0 - BETA_1) * gradient
    second = BETA_2 * second + (1.0 - BETA_2) * ops.square(gradient)
    update = first / (ops.sqrt(second) + EPSILON)
    if decayed:
        update = update + WEIGHT_DECAY * variable
    return variable - rate * update, first, second
