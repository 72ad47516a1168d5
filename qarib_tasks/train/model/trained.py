"""What the training step asks of a model, and which tensors of a training's state are the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# In a training's state: see `positions.dropping`.
TOKEN_LOSSES = "token_losses"


def is_weight(name: str) -> bool:
    """Return whether the tensor of this name in a training's state is a variable of the model."""
    return name not in ("global_step", TOKEN_LOSSES) and not name.endswith(("/adam_m", "/adam_v"))


class Trained(Protocol):
    """A model that `Steps` can train: `bert.PretrainingBert`, or `classifier.Classifier`.

    Attributes:
        generator: its state determines the dropout of a call; see `dropout.Draws`.
    """

    generator: Any

    def __call__(self, batch: Mapping[str, Any], training: bool = False) -> Any: ...

    def named_variables(self) -> dict[str, Any]:
        """Return every trainable variable by its name, in a fixed order."""
        ...

    def losses_of(
        self, outputs: Any, batch: Mapping[str, Any], whole: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return scalars; `loss` is the one to minimize.

        If `batch` is a part of the batch `whole`, the scalars of all its parts add up to its own.
        """
        ...

    def counts_of(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return scalars that are sums over the batch's examples."""
        ...

    def vectors(self, batch: Mapping[str, Any]) -> Any:
        """Return a vector for each example, float32 [batch, n], without dropout."""
        ...
