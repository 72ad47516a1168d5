"""The training step on TensorFlow: a gradient tape on one device, compiled with XLA unless XLA is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.model import optimizer
from qarib_tasks.train.model.accumulation import in_parts, rows_of_part
from qarib_tasks.train.model.dropout import DRAWS_PER_STEP
from qarib_tasks.train.model.positions.dropping import Dropping
from qarib_tasks.train.model.positions.masking import Masking
from qarib_tasks.train.model.speed import Hardware
from qarib_tasks.train.model.trained import TOKEN_LOSSES, Trained

Batch = Mapping[str, Any]


class TensorFlowSteps:
    """See `steps.Steps`."""

    def __init__(
        self,
        model: Trained,
        config: TrainConfig,
        seed: int,
        *,
        masking: Masking | None = None,
        dropping: Dropping | None = None,
        restartable: bool = False,
        updates_before: int = 0,
    ) -> None:
        self.model = model
        self.masking = masking
        self.dropping = dropping
        self.config = config
        self.updates_before = updates_before
        self.seed: Any = seed
        self.peak: Any = config.learning_rate
        if restartable:
            self.seed = tf.Variable(seed, dtype=tf.int64, trainable=False)
            self.peak = tf.Variable(config.learning_rate, dtype=tf.float32, trainable=False)
        # TensorFlow chooses the device: the first GPU, or the CPU.
        self.hardware = Hardware("tensorflow", "gpu" if tf.config.list_logical_devices("GPU") else "cpu", 1)
        self.variables = model.named_variables()
        self.first, self.second = (
            {name: tf.Variable(tf.zeros(v.shape), trainable=False) for name, v in self.variables.items()}
            for _ in range(2)
        )
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.token_losses: Any = tf.Variable(dropping.first_losses(), trainable=False) if dropping else None
        # Nothing here has a Python `if` or `for` over tensors for AutoGraph to convert, which takes seconds.
        options = {"jit_compile": config.xla, "autograph": False}
        self._train = tf.function(self._train_step, **options)
        self._train_several = tf.function(self._train_steps, **options)
        self._figures: Any = None  # the specification of a step's figures
        self._evaluate = tf.function(self._evaluate_step, **options)
        self._embed = tf.function(model.vectors, **options)

    def begin(self, state: Mapping[str, np.ndarray] | None, source: bool = True) -> None:
        if state:  # there is one process
            self.restore(state)

    def train(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self._train({name: tf.constant(value) for name, value in batch.items()})  # type: ignore[no-any-return]

    def train_several(self, batches: Sequence[Mapping[str, np.ndarray]]) -> Sequence[Mapping[str, Any]]:
        if len(batches) == 1:
            return [self.train(batches[0])]
        each = {name: tf.constant(np.stack([batch[name] for batch in batches])) for name in batches[0]}
        if self._figures is None:
            one = {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in each.items()}
            self._figures = self._train.get_concrete_function(one).structured_outputs
        figures = {name: value.numpy() for name, value in self._train_several(each).items()}
        return [{name: values[n] for name, values in figures.items()} for n in range(len(batches))]

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self._evaluate({name: tf.constant(value) for name, value in batch.items()})  # type: ignore[no-any-return]

    def predict(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(self.model(dict(batch), training=False)["masked_lm"], np.float32)

    def embed(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        vectors = self._embed({name: tf.constant(value) for name, value in batch.items()})
        return np.asarray(vectors, np.float32)

    def _train_step(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        random = self.model.generator.state
        random.assign(tf.cast(tf.stack([self.seed, self.step * DRAWS_PER_STEP]), random.dtype))
        if self.masking:
            batch = self.masking.drawn(batch, random.value)
        if self.dropping:
            batch = self.dropping.chosen(batch, self.token_losses)
        names = list(self.variables)
        in_parts_of = self.config.accumulation_steps > 1
        gradients, figures = self._accumulated(batch) if in_parts_of else self._computed(batch)
        norm = optimizer.global_norm(gradients)
        rate = optimizer.learning_rate_at(self.step, self.config, peak=self.peak)
        clipped = optimizer.clip_by_global_norm(gradients, norm, self.config.clip_norm)
        for name, gradient in zip(names, clipped, strict=True):
            variable, first, second = self.variables[name], self.first[name], self.second[name]
            new = optimizer.adamw(
                variable.value,
                gradient,
                first,
                second,
                rate,
                self.step + self.updates_before,
                self.config,
                decayed=optimizer.is_decayed(name),
            )
            for held, value in zip((variable, first, second), new, strict=True):
                held.assign(value)
        self.step.assign_add(1)
        if self.dropping:
            self.token_losses.assign(self.dropping.updated(self.token_losses, figures.pop(TOKEN_LOSSES)))
        return {**figures, "gradient_norm": norm, "learning_rate": rate}

    def _computed(self, batch: Batch, whole: Batch | None = None) -> tuple[list[Any], dict[str, Any]]:
        """Return the gradients of the loss, and the figures of the model's `losses_of` and `counts_of`.

        With token dropping, also what its `seen` returns.
        """
        values = [variable.value for variable in self.variables.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs = self.model(batch, training=True)
            result = self.model.losses_of(outputs, batch, whole)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(result["loss"], values)]
        figures = {**result, **self.model.counts_of(outputs, batch)}
        if self.dropping:
            figures[TOKEN_LOSSES] = self.dropping.seen(outputs, batch)
        return gradients, figures

    def _accumulated(self, batch: Batch) -> tuple[list[Any], dict[str, Any]]:
        """Do the same in parts."""
        parts = self.config.accumulation_steps
        divided = in_parts(batch, parts)
        generator = self.model.generator
        start = tf.identity(generator.state.value)

        def computed(number: Any) -> Any:
            part = {name: array[number] for name, array in divided.items()}
            generator.state.assign(start)
            generator.rows = rows_of_part(part, number, parts)
            result = self._computed(part, batch)
            generator.rows = None
            return result

        def add(number: Any, total: Any) -> Any:
            return number + 1, tf.nest.map_structure(tf.add, total, computed(number))

        # The first part shows which figures there are.
        first = (tf.constant(1), computed(0))
        _, total = tf.while_loop(lambda number, _: number < parts, add, first, parallel_iterations=1)
        return total  # type: ignore[no-any-return]

    def _train_steps(self, batches: Mapping[str, Any]) -> dict[str, Any]:
        """Run an update per batch, in order; each array has one more axis in front."""
        signature = {name: tf.TensorSpec((), spec.dtype) for name, spec in self._figures.items()}
        return tf.map_fn(  # type: ignore[no-any-return]
            self._train_step, dict(batches), fn_output_signature=signature, parallel_iterations=1
        )

    def _evaluate_step(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return self.model.counts_of(self.model(batch, training=False), batch)

    def restart(self, weights: Mapping[str, np.ndarray], seed: int, rate: float) -> None:
        for name, variable in self.variables.items():
            variable.assign(weights[name])
            for average in (self.first[name], self.second[name]):
                average.assign(tf.zeros_like(average))
        self.step.assign(0)
        self.seed.assign(seed)
        self.peak.assign(rate)

    def state(self) -> dict[str, np.ndarray]:
        state = {}
        for name, variable in self.variables.items():
            state[name] = variable.numpy()
            state[f"{name}/adam_m"] = self.first[name].numpy()
            state[f"{name}/adam_v"] = self.second[name].numpy()
        state["global_step"] = np.asarray(self.step.numpy(), np.int64)
        if self.dropping:
            state[TOKEN_LOSSES] = self.token_losses.numpy()
        return state

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        for name, variable in self.variables.items():
            variable.assign(state[name])
            self.first[name].assign(state[f"{name}/adam_m"])
            self.second[name].assign(state[f"{name}/adam_v"])
        self.step.assign(int(state["global_step"]))
        if self.dropping:
            self.token_losses.assign(state.get(TOKEN_LOSSES, self.dropping.first_losses()))
