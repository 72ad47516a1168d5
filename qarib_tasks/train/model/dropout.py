"""Dropout, and the random numbers of a training step: the same on every backend and any number of devices."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

# Counter values reserved for the random draws of one step, which needs three per layer and one more.
DRAWS_PER_STEP = 256


def mixed(x: Any) -> Any:
    """Hash uint32 numbers one to one.

    Uses the constants of "lowbias32": a change of any input bit changes half of the output bits (C. Wellons,
    "Prospecting for hash functions", 2018).
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ops.bitwise_xor(x, ops.right_shift(x, np.uint32(shift))) * np.uint32(factor)
    return ops.bitwise_xor(x, ops.right_shift(x, np.uint32(16)))


def random_bits(shape: tuple[int, ...], key: Any, rows: Any = None) -> Any:
    """Return uniform uint32 numbers, each a function only of its index in `shape` and of `key`.

    They are the same on every backend and on any number of devices. They cost less than the backends' own
    generators, whose quality dropout does not need.

    Args:
        key: two integers.
        rows: the index on the first axis, uint32 [shape[0]], where it is not 0, 1, 2, ….
    """
    place, stride = ops.zeros((), "uint32"), 1
    for axis in reversed(range(len(shape))):
        along = ops.cast(ops.arange(shape[axis], dtype="int32"), "uint32")
        along = (along if axis or rows is None else rows) * np.uint32(stride)
        place = place + ops.reshape(along, [-1] + [1] * (len(shape) - 1 - axis))
        stride *= shape[axis]
    key = ops.cast(key, "uint32")
    first = mixed(key[0] + np.uint32(0x9E3779B9))
    second = mixed(first + key[1])
    return mixed(mixed(place + second) + first)


class Draws(keras.random.SeedGenerator):  # type: ignore[misc]
    """The counter of a model's random numbers.

    Attributes:
        rows: if only a part of a batch is computed, which of its rows that part has, uint32 [rows]; so a
            row's numbers are the same in either case.
    """

    rows: Any = None


class Dropout(layers.Layer):  # type: ignore[misc]
    """Dropout whose random numbers are from a counter that all layers of the model share.

    Each keras.layers.Dropout has its own generator. With a single one, `[seed, step]` determines all random
    numbers of a step, and a checkpoint needs no random state.
    """

    def __init__(self, rate: float, generator: Draws, policy: str) -> None:
        super().__init__(dtype=policy)
        self.rate = rate
        self.generator = generator

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return inputs
        bits = random_bits(inputs.shape, self.generator.next(), self.generator.rows)
        kept = bits >= np.uint32(self.rate * 2**32)
        return ops.where(kept, inputs * (1.0 / (1.0 - self.rate)), ops.zeros((), inputs.dtype))
