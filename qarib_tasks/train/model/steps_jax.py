"""The training step on JAX: a pure function, compiled once, its batch divided over all devices.

Weights and optimizer are copied to every device (data parallelism); the optimizer's averages can be divided
over the devices instead. The compiler sees one program over the global batch and inserts the sums over
devices where they are needed, so the number of devices changes only the order of sums in the result. The
same holds for dropout: its random numbers are functions of (seed, step) and of their index in the global
batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import require_divisible
from qarib_tasks.train.model import optimizer
from qarib_tasks.train.model.accumulation import in_parts, rows_of_part
from qarib_tasks.train.model.batch import padded
from qarib_tasks.train.model.dropout import DRAWS_PER_STEP
from qarib_tasks.train.model.positions.dropping import Dropping
from qarib_tasks.train.model.positions.masking import Masking
from qarib_tasks.train.model.speed import Hardware
from qarib_tasks.train.model.trained import TOKEN_LOSSES, Trained

Tree = dict[str, Any]
# The names of a batch's arrays and the shape of each without the first axis, in the order of the columns.
Layout = tuple[tuple[str, tuple[int, ...]], ...]


class JaxSteps:
    """See `steps.Steps`.

    Args:
        devices: devices to compute on; by default all devices of all hosts.

    Raises:
        ConfigError: the batch cannot be divided by the devices.
    """

    def __init__(
        self,
        model: Trained,
        config: TrainConfig,
        seed: int,
        devices: Sequence[jax.Device] | None = None,
        *,
        masking: Masking | None = None,
        dropping: Dropping | None = None,
        restartable: bool = False,
        updates_before: int = 0,
    ) -> None:
        self.model = model
        self.masking = masking
        self.dropping = dropping
        # Part of the state with token dropping only.
        self._losses = {TOKEN_LOSSES: dropping.first_losses()} if dropping else {}
        self.config = config
        self.updates_before = updates_before
        self.constants = {"seed": seed, "peak": config.learning_rate}
        # Those of them that are part of the state, so that they can change.
        self._varying = _varying(seed, config.learning_rate) if restartable else {}
        devices = list(devices if devices is not None else jax.devices())
        self.hardware = Hardware("jax", devices[0].device_kind, len(devices))
        parts = config.accumulation_steps
        require_divisible(config.train_batch_size, len(devices), "devices", accumulated=parts)
        mesh = Mesh(np.array(devices), ("data",))
        self.replicated = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
        self.divided = NamedSharding(mesh, PartitionSpec("data"))  # type: ignore[no-untyped-call]
        self.divided_each = NamedSharding(mesh, PartitionSpec(None, "data"))  # type: ignore[no-untyped-call]
        self.variables = model.named_variables()
        weights = dict.fromkeys(self.variables, self.replicated)
        averages = weights
        if config.shard_optimizer:
            averages = {name: _divided(variable.shape, mesh) for name, variable in self.variables.items()}
        # Where each array of the state is.
        self.placement: Tree = {
            **{"weights": weights, "first": averages, "second": averages, "step": self.replicated},
            **dict.fromkeys([*self._varying, *self._losses], self.replicated),
        }
        self._names: tuple[str, ...] = ()
        self._train = jax.jit(
            self.train_step,
            static_argnums=2,
            donate_argnums=0,
            in_shardings=(self.placement, self.divided),
            out_shardings=(self.placement, self.replicated),
        )
        self._train_several = jax.jit(
            self.train_steps,
            static_argnums=2,
            donate_argnums=0,
            in_shardings=(self.placement, self.divided_each),
            out_shardings=(self.placement, self.replicated),
        )
        self._gather = jax.jit(lambda array: array, out_shardings=self.replicated)
        self._evaluate = jax.jit(
            self.evaluate_step,
            static_argnums=2,
            in_shardings=(self.replicated, self.divided),
            out_shardings=self.replicated,
        )
        self._predict = jax.jit(
            lambda weights, batch: self._call(weights, batch, None)["masked_lm"],
            in_shardings=self.replicated,
            out_shardings=self.replicated,
        )
        self._embed = jax.jit(
            self.embed_step,
            static_argnums=2,
            in_shardings=(self.replicated, self.divided),
            out_shardings=self.replicated,
        )

    @cached_property
    def _state(self) -> Tree:
        """Weights, both averages and the number of completed steps; initially those of the model."""
        return self._initial({name: np.asarray(v.value) for name, v in self.variables.items()})

    def _initial(self, weights: Mapping[str, np.ndarray]) -> Tree:
        zeros = {name: np.zeros(variable.shape, np.float32) for name, variable in self.variables.items()}
        own = {name: weights[name] for name in self.variables}
        both = {"first": zeros, "second": zeros}
        return self._place({"weights": own, **both, "step": np.int32(0), **self._varying, **self._losses})

    def _place(self, tree: Tree) -> Tree:
        """Copy arrays to the devices. Each copy is a new one: a step overwrites them in place."""
        return jax.tree.map(self._copied, tree, self.placement)  # type: ignore[no-any-return]

    def _copied(self, value: np.ndarray, place: NamedSharding) -> jax.Array:
        if jax.process_count() == 1:
            copied: jax.Array = jax.device_put(np.array(value), place)
            return copied
        # device_put would first compare the arrays of all processes, one after another.
        return jax.make_array_from_callback(np.shape(value), place, lambda index: np.array(value[index]))

    def begin(self, state: Mapping[str, np.ndarray] | None, source: bool = True) -> None:
        if jax.process_count() > 1:
            first = self._first_state()
            # The same names on all, also if the state is of a training with another token dropping.
            state = {name: (state or first).get(name, value) for name, value in first.items()}
            # Before it is placed: a part that this process does not hold would be the other process's own.
            state = multihost_utils.broadcast_one_to_all(state, is_source=source)
        if state:
            self.restore(state)

    def _first_state(self) -> dict[str, np.ndarray]:
        """Return what `state` does before the first update, without asking the other processes."""
        state: dict[str, np.ndarray] = {"global_step": np.asarray(0, np.int64), **self._losses}
        for name, variable in self.variables.items():
            state[name] = np.asarray(variable.value)
            for average in ("adam_m", "adam_v"):
                state[f"{name}/{average}"] = np.zeros(variable.shape, np.float32)
        return state

    def train(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        local, layout = packed(batch)
        rows = jax.make_array_from_process_local_data(self.divided, local)  # type: ignore[no-untyped-call]
        self._state, values = self._train(self._state, rows, layout)
        return Figures(self._names, values)

    def train_several(self, batches: Sequence[Mapping[str, np.ndarray]]) -> Sequence[Mapping[str, Any]]:
        if len(batches) == 1:
            return [self.train(batches[0])]
        layout = packed(batches[0])[1]
        local = np.stack([packed(batch)[0] for batch in batches])
        each = jax.make_array_from_process_local_data(self.divided_each, local)  # type: ignore[no-untyped-call]
        self._state, values = self._train_several(self._state, each, layout)
        return [Figures(self._names, values, number) for number in range(len(batches))]

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        return self._evaluate(self._state["weights"], *self._over_devices(batch))  # type: ignore[no-any-return]

    def predict(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(self._predict(self._state["weights"], dict(batch)), np.float32)

    def embed(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        vectors = self._embed(self._state["weights"], *self._over_devices(batch))
        return np.asarray(vectors, np.float32)[: len(batch["input_ids"])]

    def _over_devices(self, batch: Mapping[str, np.ndarray]) -> tuple[jax.Array, Layout]:
        """Pad a batch to a multiple of the devices, and divide it."""
        devices = self.hardware.devices
        rows, layout = packed(padded(batch, -(-len(batch["input_ids"]) // devices) * devices))
        return jax.make_array_from_callback(rows.shape, self.divided, lambda index: rows[index]), layout

    def lower(self, layout: Layout) -> jax.stages.Lowered:
        """Lower the training step for these devices, to compile it on a machine without them."""

        def described(shape: tuple[int, ...], dtype: str, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)  # type: ignore[no-untyped-call]

        state: Tree = {
            part: {
                name: described(tuple(variable.shape), "float32", self.placement[part][name])
                for name, variable in self.variables.items()
            }
            for part in ("weights", "first", "second")
        }
        state["step"] = described((), "int32", self.replicated)
        for name, losses in self._losses.items():
            state[name] = described(losses.shape, "float32", self.replicated)
        columns = sum(int(np.prod(shape, dtype=int)) for _, shape in layout)
        batch = described((self.config.train_batch_size, columns), "int32", self.divided)
        return self._train.lower(state, batch, layout)

    def train_step(self, state: Tree, packed: Any, layout: Layout) -> tuple[Tree, Any]:
        """Run one update as a pure function: (state, batch) → (state, figures in the order of `_names`)."""
        batch = unpacked(packed, layout)
        step = state["step"]
        varying = {name: state[name] for name in self._varying}
        values = self.constants | varying
        random = jnp.stack([jnp.uint32(values["seed"]), step.astype(jnp.uint32) * DRAWS_PER_STEP])
        if self.masking:
            batch = self.masking.drawn(batch, random)
        if self.dropping:
            batch = self.dropping.chosen(batch, state[TOKEN_LOSSES])
        gradients, figures = self._gradients(state["weights"], batch, random)
        names = list(self.variables)
        each = [gradients[name] for name in names]
        norm = optimizer.global_norm(each)
        rate = optimizer.learning_rate_at(step, self.config, peak=values["peak"])
        clipped = optimizer.clip_by_global_norm(each, norm, self.config.clip_norm)
        new: Tree = {"weights": {}, "first": {}, "second": {}, "step": step + 1, **varying}
        if self.dropping:
            new[TOKEN_LOSSES] = self.dropping.updated(state[TOKEN_LOSSES], figures.pop(TOKEN_LOSSES))
        for name, gradient in zip(names, clipped, strict=True):
            weight = state["weights"][name]
            if self.config.shard_optimizer:
                # So that each device adds up its part of the gradient and updates its part of the weight.
                weight, gradient = (
                    jax.lax.with_sharding_constraint(array, self.placement["first"][name])  # type: ignore[no-untyped-call]
                    for array in (weight, gradient)
                )
            new["weights"][name], new["first"][name], new["second"][name] = optimizer.adamw(
                weight,
                gradient,
                state["first"][name],
                state["second"][name],
                rate,
                step + self.updates_before,
                self.config,
                decayed=optimizer.is_decayed(name),
            )
        figures = {**figures, "gradient_norm": norm, "learning_rate": rate}
        self._names = tuple(figures)
        return new, jnp.stack([figures[name] for name in self._names])

    def _gradients(self, weights: Tree, batch: Tree, random: Any) -> tuple[Tree, Tree]:
        """Return the gradients of the loss, and the figures of the model's `losses_of` and `counts_of`.

        With token dropping, also what its `seen` returns.
        """
        parts = self.config.accumulation_steps

        def loss_of(weights: Tree, part: Tree) -> tuple[Any, Tree]:
            outputs = self._call(weights, part, random)
            result = self.model.losses_of(outputs, part, batch if parts > 1 else None)
            figures = result | self.model.counts_of(outputs, part)
            if self.dropping:
                figures[TOKEN_LOSSES] = self.dropping.seen(outputs, part)
            return result["loss"], figures

        computed = jax.grad(loss_of, has_aux=True)
        if parts == 1:
            return computed(weights, batch)  # type: ignore[no-any-return]

        def add(total: Tree, given: tuple[Any, Tree]) -> tuple[Tree, Tree]:
            number, part = given
            self.model.generator.rows = rows_of_part(part, number, parts)
            gradients, figures = computed(weights, part)
            self.model.generator.rows = None
            return jax.tree.map(jnp.add, total, gradients), figures

        divided = jax.lax.with_sharding_constraint(  # type: ignore[no-untyped-call]
            in_parts(batch, parts), self.divided_each
        )
        zeros = jax.tree.map(jnp.zeros_like, weights)
        gradients, figures = jax.lax.scan(add, zeros, (jnp.arange(parts), divided))
        return gradients, {name: values.sum(axis=0) for name, values in figures.items()}

    def train_steps(self, state: Tree, batches: Any, layout: Layout) -> tuple[Tree, Any]:
        """Run an update per batch: [batches, examples, columns] → figures [batches, figures]."""
        return jax.lax.scan(lambda held, batch: self.train_step(held, batch, layout), state, batches)

    def evaluate_step(self, weights: Tree, packed: Any, layout: Layout) -> Tree:
        batch = unpacked(packed, layout)
        return self.model.counts_of(self._call(weights, batch, None), batch)

    def embed_step(self, weights: Tree, packed: Any, layout: Layout) -> Any:
        with keras.StatelessScope(state_mapping=self._places(weights)):
            return self.model.vectors(unpacked(packed, layout))

    def _places(self, weights: Tree) -> list[tuple[Any, Any]]:
        return [(self.variables[name], value) for name, value in weights.items()]

    def _call(self, weights: Tree, batch: Tree, random: Any) -> Tree:
        """Return the model's outputs with these weights as its variables; with dropout if `random` is set."""
        places = self._places(weights)
        if random is not None:
            places.append((self.model.generator.state, random))
        with keras.StatelessScope(state_mapping=places):
            return self.model(batch, training=random is not None)  # type: ignore[no-any-return]

    def restart(self, weights: Mapping[str, np.ndarray], seed: int, rate: float) -> None:
        self._varying = _varying(seed, rate)
        self._state = self._initial(weights)

    def state(self) -> dict[str, np.ndarray]:
        state = {}
        for name in self.variables:
            state[name] = np.asarray(self._state["weights"][name])
            state[f"{name}/adam_m"] = self._gathered(self._state["first"][name])
            state[f"{name}/adam_v"] = self._gathered(self._state["second"][name])
        state["global_step"] = np.asarray(self._state["step"], np.int64)
        state |= {name: np.asarray(self._state[name]) for name in self._losses}
        return state

    def _gathered(self, array: jax.Array) -> np.ndarray:
        # Of an array that each device has, no other host is asked: only one of them may save it.
        return np.asarray(array if array.is_fully_replicated else self._gather(array))

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        names = list(self.variables)
        self._state = self._place(
            {
                "weights": {name: state[name] for name in names},
                "first": {name: state[f"{name}/adam_m"] for name in names},
                "second": {name: state[f"{name}/adam_v"] for name in names},
                "step": np.int32(state["global_step"]),
                **self._varying,
                **{name: state.get(name, first) for name, first in self._losses.items()},
            }
        )


def _divided(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Divide an array over the devices along the first axis that they divide evenly, or copy it to each."""
    axis = next((axis for axis, size in enumerate(shape) if size % mesh.size == 0), None)
    parts = () if axis is None else (*[None] * axis, "data")
    return NamedSharding(mesh, PartitionSpec(*parts))  # type: ignore[no-untyped-call]


def _varying(seed: int, rate: float) -> Tree:
    return {"seed": np.uint32(seed), "peak": np.float32(rate)}


class Figures(Mapping[str, float]):
    """Scalars of a step that a device holds in one array; a single transfer for all starts at once.

    Args:
        values: [figures], or [steps, figures] if the call ran several steps.
        row: index of the step, if the call ran several.
    """

    def __init__(self, names: tuple[str, ...], values: jax.Array, row: int | None = None) -> None:
        self._indexes = {name: index if row is None else (row, index) for index, name in enumerate(names)}
        self._values = values
        values.copy_to_host_async()

    def __getitem__(self, name: str) -> float:
        return float(np.asarray(self._values)[self._indexes[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._indexes)

    def __len__(self) -> int:
        return len(self._indexes)


def packed(batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Layout]:
    """Join a batch's arrays into one, [examples, columns] int32: one transfer to the devices, not seven."""
    names = sorted(batch)
    rows = [batch[name].reshape(len(batch[name]), -1) for name in names]
    layout = tuple((name, batch[name].shape[1:]) for name in names)
    return np.concatenate(rows, axis=1).astype(np.int32), layout


def unpacked(packed: Any, layout: Layout) -> Tree:
    """Split [examples, columns] int32 into the batch's arrays by name."""
    batch, start = {}, 0
    for name, shape in layout:
        width = int(np.prod(shape, dtype=int))
        batch[name] = packed[:, start : start + width].reshape(len(packed), *shape)
        start += width
    return batch
