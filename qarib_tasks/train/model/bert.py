"""BERT for pre-training: encoder, pooler, masked-LM head and next-sentence head (Devlin et al., 2018).

Built from Keras 3 layers, following google-research/bert's `modeling.py` and `run_pretraining.py`. Every
variable has the name that it has in the reference's checkpoints, such as
`bert/encoder/layer_0/output/dense/kernel`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.train.model.dropout import Draws, Dropout
from qarib_tasks.train.model.losses import counts, losses
from qarib_tasks.train.model.positions.documents import kept_apart
from qarib_tasks.train.runtime import chosen_precision

# Added to the attention scores of padding, so that its attention weights are 0 in float32.
MASKED_SCORE = -10_000.0
INPUTS = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")


def gelu(x: Any) -> Any:
    """The tanh approximation of GELU, which BERT uses."""
    return ops.gelu(x, approximate=True)


def normalization(policy: str) -> layers.LayerNormalization:
    """LayerNorm, which computes in float32 at any precision of its input and output."""
    return layers.LayerNormalization(epsilon=1e-12, name="LayerNorm", dtype=policy)


class EncoderLayer(layers.Layer):  # type: ignore[misc]
    """Self-attention and feed-forward network, each followed by dropout, residual and LayerNorm."""

    def __init__(self, config: ModelConfig, generator: Draws, policy: str, name: str) -> None:
        super().__init__(name=name, dtype=policy, autocast=False)
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.query = layers.Dense(config.hidden_size, dtype=policy)
        self.key = layers.Dense(config.hidden_size, dtype=policy)
        self.value = layers.Dense(config.hidden_size, dtype=policy)
        self.attention_dropout = Dropout(config.attention_probs_dropout_prob, generator, policy)
        self.attention_output = layers.Dense(config.hidden_size, dtype=policy)
        self.attention_norm = normalization(policy)
        self.intermediate = layers.Dense(config.intermediate_size, dtype=policy)
        self.output_dense = layers.Dense(config.hidden_size, dtype=policy)
        self.output_norm = normalization(policy)
        self.hidden_dropout = Dropout(config.hidden_dropout_prob, generator, policy)

    def call(self, hidden: Any, scores_of_padding: Any, training: bool = False, read: Any = None) -> Any:
        """[batch, length, hidden], [batch, 1, 1 or length, length] float32 → [batch, length, hidden].

        Args:
            read: what the attention reads, [batch, other length, hidden]; None: `hidden`.
        """
        read = hidden if read is None else read
        given = ((self.query, hidden), (self.key, read), (self.value, read))
        query, key, value = (self._heads(dense(x)) for dense, x in given)
        scores = ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")
        shares = ops.softmax(scores * (self.head_size**-0.5) + scores_of_padding)
        shares = self.attention_dropout(ops.cast(shares, value.dtype), training=training)
        attended = ops.reshape(ops.swapaxes(ops.matmul(shares, value), 1, 2), ops.shape(hidden))
        attended = self.hidden_dropout(self.attention_output(attended), training=training)
        hidden = self.attention_norm(attended + hidden)
        output = self.output_dense(gelu(self.intermediate(hidden)))
        return self.output_norm(self.hidden_dropout(output, training=training) + hidden)

    def _heads(self, x: Any) -> Any:
        """[batch, length, hidden] → [batch, heads, length, head size]."""
        batch, length = ops.shape(x)[:2]
        return ops.swapaxes(ops.reshape(x, (batch, length, self.heads, self.head_size)), 1, 2)


class PretrainingBert(keras.Model):  # type: ignore[misc]
    """The model. Calling it returns logits; `losses` and `counts` below compute losses and accuracies.

    Args:
        precision: "bfloat16" multiplies matrices in bfloat16 (mixed precision, as on TPUs); the variables,
            softmax, LayerNorm, logits and losses stay float32.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, *, next_sentence: bool = True, precision: str = "float32"
    ) -> None:
        super().__init__(name="bert")
        self.config = config
        self.vocab_size = vocab_size
        self.next_sentence = next_sentence
        self.generator = Draws(0, name="seed_generator")
        policy = "mixed_bfloat16" if precision == "bfloat16" else precision
        hidden = config.hidden_size
        for name, rows in (
            ("word_embeddings", vocab_size),
            ("token_type_embeddings", config.type_vocab_size),
            ("position_embeddings", config.max_position_embeddings),
        ):
            setattr(self, name, self.add_weight(shape=(rows, hidden), initializer="zeros", name=name))
        self.embeddings_norm = normalization(policy)
        self.embeddings_dropout = Dropout(config.hidden_dropout_prob, self.generator, policy)
        self.encoder = [
            EncoderLayer(config, self.generator, policy, f"layer_{number}")
            for number in range(config.num_hidden_layers)
        ]
        self.transform = layers.Dense(hidden, activation=gelu, dtype=policy)
        self.transform_norm = normalization(policy)
        self.output_bias = self.add_weight(shape=(vocab_size,), initializer="zeros", name="output_bias")
        if next_sentence:
            self.pooler = layers.Dense(hidden, activation="tanh", dtype=policy)
            self.seq_weights = self.add_weight(shape=(2, hidden), initializer="zeros", name="seq_weights")
            self.seq_bias = self.add_weight(shape=(2,), initializer="zeros", name="seq_bias")
        # Calling the model creates its variables; on a symbolic batch nothing is computed.
        self({name: keras.KerasTensor((1, 2), "int32", name=name) for name in INPUTS})

    def call(self, batch: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the logits of the masked positions and of the next sentence.

        Args:
            batch: integer tensors: input_ids, input_mask, segment_ids [batch, length] and
                masked_lm_positions [batch, predictions].

        Returns:
            float32: masked_lm [batch · predictions, vocabulary]; unless turned off, next_sentence [batch, 2].
        """
        hidden = self.encode(batch, training=training)
        length, size = ops.shape(hidden)[1:]
        # A product with one-hot rows selects exactly the same numbers as an index does. Its gradient is a
        # product too. It stays within each example, so a batch that is divided over chips stays divided.
        picked = ops.one_hot(batch["masked_lm_positions"], length, dtype=hidden.dtype)
        masked = ops.reshape(ops.matmul(picked, hidden), (-1, size))
        masked = self.transform_norm(self.transform(masked))
        embeddings = ops.cast(self.word_embeddings, masked.dtype)
        logits = ops.matmul(masked, ops.transpose(embeddings))
        outputs = {"masked_lm": ops.cast(logits, "float32") + self.output_bias}
        if self.next_sentence:
            pooled = ops.cast(self.pooler(hidden[:, 0]), "float32")
            outputs["next_sentence"] = ops.matmul(pooled, ops.transpose(self.seq_weights)) + self.seq_bias
        return outputs

    def encode(self, batch: Mapping[str, Any], training: bool = False) -> Any:
        """Return the encoder's output [batch, length, hidden].

        A batch of packed rows has documents [batch, length] in place of segment_ids, see `kept_apart`. With
        kept_positions, the middle layers compute only these, see `middle`.
        """
        ids, packed = batch["input_ids"], "documents" in batch
        if packed:
            allowed, places = kept_apart(batch["documents"])
            hidden = (
                ops.take(self.word_embeddings, ids, axis=0)
                + self.token_type_embeddings[0]
                + ops.take(self.position_embeddings, places, axis=0)
            )
        else:
            length = ops.shape(ids)[1]
            types = ops.one_hot(batch["segment_ids"], self.config.type_vocab_size, dtype="float32")
            hidden = (
                ops.take(self.word_embeddings, ids, axis=0)
                + ops.matmul(types, self.token_type_embeddings)
                + self.position_embeddings[:length]
            )
        hidden = self.embeddings_dropout(self.embeddings_norm(hidden), training=training)
        if packed:
            mask = ops.cast(allowed, "float32")[:, None]
        else:
            mask = ops.cast(batch["input_mask"], "float32")[:, None, None, :]
        middle = self.config.middle_layers if "kept_positions" in batch else range(0)
        for number, layer in enumerate(self.encoder):
            if number not in middle:
                hidden = layer(hidden, (1.0 - mask) * MASKED_SCORE, training=training)
            elif number == middle.start:
                hidden = self.middle(hidden, batch, training=training)
        return hidden

    def middle(self, hidden: Any, batch: Mapping[str, Any], training: bool = False) -> Any:
        """Run the middle layers on a batch's kept_positions; the others stay as they are.

        The first of these layers reads all positions, the next ones only those that it computed.

        Args:
            hidden: [batch, length, hidden].
            batch: see `encode`; kept_positions is int32 [batch, kept].

        Returns:
            [batch, length, hidden].
        """
        # See `call` about products with one-hot rows.
        picked = ops.one_hot(batch["kept_positions"], hidden.shape[1], dtype=hidden.dtype)
        groups = batch["documents" if "documents" in batch else "input_mask"]
        kept_groups = ops.take_along_axis(groups, batch["kept_positions"], axis=1)
        kept, read, read_groups = ops.matmul(picked, hidden), hidden, groups
        for number in self.config.middle_layers:
            if "documents" in batch:
                allowed = kept_groups[:, :, None] == read_groups[:, None, :]
            else:
                allowed = read_groups[:, None, :]
            scores = (1.0 - ops.cast(allowed, "float32")[:, None]) * MASKED_SCORE
            kept = self.encoder[number](kept, scores, training=training, read=read)
            read, read_groups = kept, kept_groups
        again = ops.matmul(ops.swapaxes(picked, 1, 2), kept)
        return ops.where(ops.sum(picked, axis=1)[:, :, None] > 0, again, hidden)

    def losses_of(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Any], whole: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return `losses`."""
        return losses(outputs, batch, whole)

    def counts_of(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return `counts`."""
        return counts(outputs, batch)

    def vectors(self, batch: Mapping[str, Any]) -> Any:
        """Return `embeddings`."""
        return embeddings(self, batch)

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return every trainable variable by its name in the reference's checkpoints, in a fixed order."""
        named: dict[str, keras.Variable] = {}

        def dense(name: str, layer: layers.Dense) -> None:
            named[f"{name}/kernel"], named[f"{name}/bias"] = layer.kernel, layer.bias

        def norm(name: str, layer: layers.LayerNormalization) -> None:
            named[f"{name}/LayerNorm/beta"], named[f"{name}/LayerNorm/gamma"] = layer.beta, layer.gamma

        for name in ("word_embeddings", "token_type_embeddings", "position_embeddings"):
            named[f"bert/embeddings/{name}"] = getattr(self, name)
        norm("bert/embeddings", self.embeddings_norm)
        for number, layer in enumerate(self.encoder):
            prefix = f"bert/encoder/layer_{number}"
            for name in ("query", "key", "value"):
                dense(f"{prefix}/attention/self/{name}", getattr(layer, name))
            dense(f"{prefix}/attention/output/dense", layer.attention_output)
            norm(f"{prefix}/attention/output", layer.attention_norm)
            dense(f"{prefix}/intermediate/dense", layer.intermediate)
            dense(f"{prefix}/output/dense", layer.output_dense)
            norm(f"{prefix}/output", layer.output_norm)
        if self.next_sentence:
            dense("bert/pooler/dense", self.pooler)
        dense("cls/predictions/transform/dense", self.transform)
        norm("cls/predictions/transform", self.transform_norm)
        named["cls/predictions/output_bias"] = self.output_bias
        if self.next_sentence:
            named["cls/seq_relationship/output_weights"] = self.seq_weights
            named["cls/seq_relationship/output_bias"] = self.seq_bias
        return named


def initial_values(
    shapes: Mapping[str, tuple[int, ...]], config: ModelConfig, seed: int
) -> dict[str, np.ndarray]:
    """Return BERT's initial weights: truncated normal, zeros for biases, ones for LayerNorm's gamma.

    NumPy draws each variable from the seed and its name, so that all backends start with the same weights.

    Returns:
        float32 arrays by name.
    """
    values = {}
    for name, shape in shapes.items():
        if name.endswith("gamma"):
            values[name] = np.ones(shape, np.float32)
        elif name.endswith(("beta", "bias")):
            values[name] = np.zeros(shape, np.float32)
        else:
            random = np.random.default_rng([seed, zlib.crc32(name.encode())])
            values[name] = truncated_normal(random, shape) * np.float32(config.initializer_range)
    return values


def truncated_normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 numbers of a standard normal; redraw those beyond two standard deviations."""
    values = random.standard_normal(shape, np.float32)
    while (outside := np.abs(values) > 2).any():
        values[outside] = random.standard_normal(int(outside.sum()), np.float32)
    return values


def build_model(job: TrainingJob, vocab_size: int) -> PretrainingBert:
    """Build the job's model with the initial weights of its seed."""
    # Without this, a second model in the same process differs from the first in the last bits (measured).
    # The likely reason: Keras numbers the layers of a process, and TensorFlow's graph optimizer orders sums
    # by names such as dense_9 and dense_10.
    keras.utils.clear_session()
    model = PretrainingBert(
        job.model,
        vocab_size,
        next_sentence=job.train.next_sentence,
        precision=chosen_precision(job.train.precision),
    )
    variables = model.named_variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, value in initial_values(shapes, job.model, job.random_seed).items():
        variables[name].assign(value)
    return model


def embeddings(model: PretrainingBert, batch: Mapping[str, Any]) -> Any:
    """Return the mean of the encoder's output over some positions of each text.

    Args:
        batch: integer tensors [batch, length]: input_ids, input_mask, segment_ids, and averaged, which is 1
            at the positions to average.

    Returns:
        float32 [batch, hidden]; zeros for a text without such a position.
    """
    hidden = ops.cast(model.encode(batch), "float32")
    averaged = ops.cast(batch["averaged"], "float32")
    sums = ops.sum(hidden * averaged[:, :, None], axis=1)
    return sums / ops.maximum(ops.sum(averaged, axis=1, keepdims=True), 1.0)
