"""The one thing Keras has no neutral form of: a training step. One adapter a backend, chosen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from qarib_tasks.config.training import TrainConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.train.model.bert import PretrainingBert
from qarib_tasks.train.model.speed import Hardware


class Steps(Protocol):
    """A model with its optimizer's state on one backend.

    A batch holds integer arrays: input_ids, input_mask, segment_ids [batch, length]; masked_lm_positions,
    masked_lm_ids, masked_lm_weights [batch, predictions]; next_sentence_labels [batch]. To `train` each
    process gives its own part of a batch, to `evaluate` and `predict` all the whole.
    """

    hardware: Hardware

    def share(self, source: bool) -> None:
        """Have all processes that train together go on with the state of the one that is the source."""
        ...

    def train(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """One update. Scalars: those of `model.losses` and `model.counts`, gradient_norm, learning_rate."""
        ...

    def train_several(self, batches: Sequence[Mapping[str, np.ndarray]]) -> Sequence[Mapping[str, Any]]:
        """`train` with each batch, in one call of the device."""
        ...

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """The scalars of `model.counts`, without dropout."""
        ...

    def predict(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The masked-LM logits, float32 [batch × predictions, entries], without dropout.

        The batch need hold no masked_lm_ids, masked_lm_weights and next_sentence_labels.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Weights by name, the optimizer's averages (`…/adam_m`, `…/adam_v`) and `global_step`."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        ...


def make_steps(model: PretrainingBert, config: TrainConfig, seed: int) -> Steps:
    """The adapter of the backend that Keras runs on."""
    if keras.backend.backend() == "tensorflow":
        from qarib_tasks.train.model.steps_tensorflow import TensorFlowSteps

        return TensorFlowSteps(model, config, seed)
    if keras.backend.backend() == "jax":
        from qarib_tasks.train.model.steps_jax import JaxSteps

        return JaxSteps(model, config, seed)
    raise ConfigError(f"the trainer has no steps for the Keras backend {keras.backend.backend()!r}")
