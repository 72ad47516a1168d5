"""The training step, which Keras does not abstract over backends: one adapter per backend, chosen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.train.model.positions.dropping import Dropping
from qarib_tasks.train.model.positions.masking import Masking
from qarib_tasks.train.model.speed import Hardware
from qarib_tasks.train.model.trained import Trained


class Steps(Protocol):
    """A model with its optimizer's state on one backend.

    A batch holds integer arrays. For pre-training they are input_ids, input_mask, segment_ids [batch,
    length]; masked_lm_positions, masked_lm_ids, masked_lm_weights [batch, predictions]; next_sentence_labels
    [batch]; of packed rows, documents [batch, length] in place of segment_ids. Each process passes its own
    part of a batch to `train`, and the full batch to `evaluate`, `predict`, and `embed`.
    """

    hardware: Hardware

    def begin(self, state: Mapping[str, np.ndarray] | None, source: bool = True) -> None:
        """Load a state; None: the model's weights, before the first update.

        Of processes that train together, all call it, and all get what the one whose `source` is true passes.
        """
        ...

    def train(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """Run one update.

        Returns:
            the scalars of the model's `losses_of` and `counts_of`, gradient_norm and learning_rate.
        """
        ...

    def train_several(self, batches: Sequence[Mapping[str, np.ndarray]]) -> Sequence[Mapping[str, Any]]:
        """Run `train` with each batch, in one call of the device."""
        ...

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """Return the scalars of the model's `counts_of`, without dropout."""
        ...

    def predict(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the masked-LM logits, float32 [batch × predictions, entries], without dropout.

        The batch does not need masked_lm_ids, masked_lm_weights and next_sentence_labels.
        """
        ...

    def embed(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the model's `vectors`, float32 [batch, n], without dropout. Each shape is compiled once."""
        ...

    def restart(self, weights: Mapping[str, np.ndarray], seed: int, rate: float) -> None:
        """Begin another training, from these weights and with this peak rate. Nothing is compiled again.

        Only for steps that are made as `restartable`.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the weights by name, the optimizer's averages (`…/adam_m`, `…/adam_v`), `global_step`.

        With token dropping, also `token_losses`, see `Dropping`.

        If the optimizer's state is divided over several hosts, all must call it together.
        """
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Load a state that `state` returned, of a training with or without token dropping."""
        ...


def make_steps(
    model: Trained,
    config: TrainConfig,
    seed: int,
    *,
    masking: Masking | None = None,
    dropping: Dropping | None = None,
    restartable: bool = False,
    updates_before: int = 0,
) -> Steps:
    """Return the adapter of the backend that Keras runs on.

    Args:
        masking: draws the masks of each update; None: those of the examples.
        dropping: chooses the positions that the middle layers compute in an update; None: all.
        restartable: the compiled step gets the seed and the peak rate as values. Otherwise they are constants
            of it, which a compiler may compute with in another order.
        updates_before: updates in the optimizer's averages that the first state has, for the bias correction.
    """
    options: dict[str, Any] = {
        "masking": masking,
        "dropping": dropping,
        "restartable": restartable,
        "updates_before": updates_before,
    }
    if keras.backend.backend() == "tensorflow":
        from qarib_tasks.train.model.steps_tensorflow import TensorFlowSteps

        return TensorFlowSteps(model, config, seed, **options)
    if keras.backend.backend() == "jax":
        from qarib_tasks.train.model.steps_jax import JaxSteps

        return JaxSteps(model, config, seed, **options)
    raise ConfigError(f"the trainer does not support the Keras backend {keras.backend.backend()!r}")
