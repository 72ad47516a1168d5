"""BERT for classification, as google-research/bert's `run_classifier.py` defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.train.model.bert import PretrainingBert, initial_values
from qarib_tasks.train.model.dropout import Dropout
from qarib_tasks.train.model.losses import cross_entropy

ENCODER = "bert/"  # begins the names of the variables that the pre-trained model has too


class Classifier(keras.Model):  # type: ignore[misc]
    """The encoder, its pooled [CLS], dropout, and a linear layer. Calling it returns a logit for each label.

    Args:
        vocab_size: the number of word embeddings.
        labels: the number of labels.
        precision: see `bert.PretrainingBert`; the logits are float32.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, labels: int, *, precision: str = "float32"
    ) -> None:
        super().__init__(name="classifier")
        self.bert = PretrainingBert(config, vocab_size, precision=precision)
        self.generator = self.bert.generator
        self.dropout = Dropout(config.hidden_dropout_prob, self.generator, "float32")
        shape = (labels, config.hidden_size)
        self.output_weights = self.add_weight(shape=shape, initializer="zeros", name="output_weights")
        self.output_bias = self.add_weight(shape=(labels,), initializer="zeros", name="output_bias")

    def call(self, batch: Mapping[str, Any], training: bool = False) -> Any:
        """Return logits, float32 [batch, labels].

        Args:
            batch: integer tensors input_ids, input_mask, segment_ids [batch, length].
        """
        hidden = self.bert.encode(batch, training=training)
        pooled = self.dropout(ops.cast(self.bert.pooler(hidden[:, 0]), "float32"), training=training)
        return ops.matmul(pooled, ops.transpose(self.output_weights)) + self.output_bias

    def losses_of(
        self, outputs: Any, batch: Mapping[str, Any], whole: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return loss: the mean over the examples, in nats.

        Args:
            batch: the model's inputs, and integer tensors [batch]: labels, and real, which is 0 for padding.
            whole: see `losses.losses`.
        """
        real = ops.cast(batch["real"], "float32")
        every = real if whole is None else ops.cast(whole["real"], "float32")
        each, _ = cross_entropy(outputs, batch["labels"])
        return {"loss": ops.sum(each * real) / ops.maximum(ops.sum(every), 1.0)}

    def counts_of(self, outputs: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return examples, right_examples, and loss_sum."""
        real = ops.cast(batch["real"], "float32")
        each, right = cross_entropy(outputs, batch["labels"])
        return {
            "examples": ops.sum(real),
            "right_examples": ops.sum(right * real),
            "loss_sum": ops.sum(each * real),
        }

    def vectors(self, batch: Mapping[str, Any]) -> Any:
        """Return the logits, without dropout."""
        return self(batch, training=False)

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return every trainable variable by its name in the checkpoints of `run_classifier.py`."""
        named = {
            name: variable
            for name, variable in self.bert.named_variables().items()
            if name.startswith(ENCODER)
        }
        return named | {"output_weights": self.output_weights, "output_bias": self.output_bias}

    def starting_weights(
        self, config: ModelConfig, pretrained: Mapping[str, np.ndarray], seed: int
    ) -> dict[str, np.ndarray]:
        """Return the pre-trained value of each variable, or the initial one of the seed if there is none."""
        shapes = {name: tuple(variable.shape) for name, variable in self.named_variables().items()}
        kept = {name: pretrained[name] for name in shapes if name.startswith(ENCODER) and name in pretrained}
        return initial_values(shapes, config, seed) | kept


def build_classifier(
    config: ModelConfig, vocab_size: int, labels: int, *, precision: str = "float32"
) -> Classifier:
    """Build a classifier, the first model of the process in Keras' numbering; see `bert.build_model`."""
    keras.utils.clear_session()
    return Classifier(config, vocab_size, labels, precision=precision)
