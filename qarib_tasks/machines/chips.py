"""Performance and prices of TPUs, and the work of a training's step.

Peaks and memory are from Google's pages on each generation (cloud.google.com/tpu/docs, "v2" … "v6e"). The
links between chips are from the JAX scaling book (jax-ml/scaling-book, tpus.md), whose figures are a tenth
below Google's nominal ones; those of v2 and v3 from Jouppi et al., "A domain-specific supercomputer for
training deep neural networks" (CACM 63/7, 2020): 496 and 656 Gbit/s.
Prices are Google's list prices in US dollars for the region in the table, from the public catalog of the
SkyPilot project (v8, commit 006059e0, read on 2026-11-22). Spot prices change monthly and differ between
regions by a factor of three: a price that the user sets overrides these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qarib_tasks.config.conversion import ExampleShape
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig, kept_positions, predictions_of
from qarib_tasks.errors import ConfigError

PRICES_OF = "2026-11-22"


@dataclass(frozen=True)
class Chip:
    """One TPU chip.

    Attributes:
        name: the generation, such as "v5e".
        peak_bfloat16_flops: operations per second; a multiplication and an addition count as two.
        hbm_bytes: memory of the chip.
        hbm_bytes_per_second: memory bandwidth.
        cores_per_chip: TensorCores; up to v3, each is a separate JAX device with half the memory.
        counted_in_cores: whether an accelerator type's number ("v4-8") counts TensorCores, not chips.
        on_demand, spot: US dollars per chip-hour in `region`.
        device_kinds: JAX's names for such a device.
        link_bytes_per_second: of one link to a neighboring chip, in one direction.
        axes: of the grid of chips; along each, a chip has up to two neighbors.
        closed_at: the chips along an axis whose ends are linked too, so that it is a ring; on grids of three
            axes, each axis, if all have a multiple of this number.
    """

    name: str
    peak_bfloat16_flops: float
    hbm_bytes: int
    hbm_bytes_per_second: float
    cores_per_chip: int
    counted_in_cores: bool
    on_demand: float
    spot: float
    region: str
    device_kinds: tuple[str, ...]
    link_bytes_per_second: float
    axes: Literal[2, 3]
    closed_at: int

    @property
    def devices(self) -> int:
        """JAX devices per chip: from v4 to v6e, two cores are one device."""
        return self.cores_per_chip if self.name in {"v2", "v3", "tpu7x"} else 1

    @property
    def is_gpu(self) -> bool:
        return self.name.startswith("nvidia-")


GIB = 1024**3
_V2, _V3, _V4 = ("TPU v2",), ("TPU v3",), ("TPU v4",)
_V5E, _V5P = ("TPU v5 lite", "TPU v5e"), ("TPU v5", "TPU v5p")
_V6E = ("TPU v6 lite", "TPU v6e")
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", 46e12, 16 * GIB, 700e9, 2, True, 1.125, 0.3375, "us-central1", _V2, 62e9, 2, 16),
        Chip("v3", 123e12, 32 * GIB, 900e9, 2, True, 2.00, 0.51, "us-central1", _V3, 82e9, 2, 32),
        Chip("v4", 275e12, 32 * GIB, 1228e9, 2, True, 3.22, 0.9215, "us-central2", _V4, 45e9, 3, 4),
        Chip("v5e", 197e12, 16 * GIB, 819e9, 1, False, 1.20, 0.245, "us-central1", _V5E, 45e9, 2, 16),
        Chip("v5p", 459e12, 95 * GIB, 2765e9, 2, True, 4.20, 0.8357, "us-central1", _V5P, 90e9, 3, 4),
        Chip("v6e", 918e12, 32 * GIB, 1638e9, 1, False, 2.70, 0.5442, "us-central1", _V6E, 90e9, 2, 16),
    )
}
_TPU7X = ("TPU v7", "TPU v7x", "TPU7x")
# What only GKE nodes have. Peaks (dense bfloat16) and memory are from the vendors' data sheets. There is no
# price here: `chip_hour_price` must be set. The links of GPUs are NVLink, of the L4 PCIe 4.
ON_GKE_ONLY = {
    chip.name: chip
    for chip in (
        Chip("tpu7x", 2307e12, 192 * GIB, 7370e9, 2, True, 0.0, 0.0, "", _TPU7X, 90e9, 3, 4),
        Chip("nvidia-l4", 121e12, 24 * GIB, 300e9, 1, False, 0.0, 0.0, "", (), 25e9, 2, 16),
        Chip("nvidia-tesla-a100", 312e12, 40 * GIB, 1555e9, 1, False, 0.0, 0.0, "", (), 300e9, 2, 16),
        Chip("nvidia-a100-80gb", 312e12, 80 * GIB, 2039e9, 1, False, 0.0, 0.0, "", (), 300e9, 2, 16),
        Chip("nvidia-h100-80gb", 989e12, 80 * GIB, 3350e9, 1, False, 0.0, 0.0, "", (), 450e9, 2, 16),
        Chip("nvidia-h200-141gb", 989e12, 141 * 10**9, 4800e9, 1, False, 0.0, 0.0, "", (), 450e9, 2, 16),
    )
}
_TYPE = re.compile(r"(v[0-9]+(?:litepod|[a-z])?|tpu7x|nvidia-[a-z0-9-]+)-([1-9][0-9]{0,5})")


def chips_of(accelerator_type: str) -> tuple[int, Chip]:
    """Return the number of chips of an accelerator type such as "v5litepod-8" or "v4-8", and the chip.

    Raises:
        ConfigError: the generation is not in the table, or the number is none of chips.
    """
    match = _TYPE.fullmatch(accelerator_type)
    chip = {**CHIPS, **ON_GKE_ONLY}.get(match[1].replace("v5litepod", "v5e")) if match else None
    if match is None or chip is None:
        raise ConfigError(
            f"unknown accelerator type {accelerator_type!r}",
            where="tpu.accelerator_type",
            do=f"Use a type of the generations {', '.join(CHIPS)}, such as v4-8, v5litepod-8, or v6e-8",
        )
    number = int(match[2])
    return (max(1, number // chip.cores_per_chip) if chip.counted_in_cores else number), chip


def machines_of(accelerator_type: str) -> int:
    """Return the number of machines of a slice of this type ("hosts" in Google's documentation).

    Raises:
        ConfigError: the generation is not in the table, or no machine has so many GPUs.
    """
    number, chip = chips_of(accelerator_type)
    if chip.is_gpu and number > 8:
        raise ConfigError(
            "a training uses the GPUs of one machine only", where=accelerator_type, do="Use 8 or fewer"
        )
    alone = 8 if chip.is_gpu or chip.name in ("v5e", "v6e") else 4
    return 1 if number <= alone else number // 4


def grid_of(chips: int, chip: Chip) -> tuple[int, ...]:
    """Return the sides of a slice's grid, the shortest first: the default topology of Google's types.

    A number of chips that is no power of two is a line.
    """
    if chips & (chips - 1):
        return (chips,)
    doubled = chips.bit_length() - 1
    # Google's slices of two axes grow along one, then along the other: 2x2, 2x4, 4x4. Those of three start
    # with the 2x2 of a machine: 2x2x1, 2x2x2, 2x2x4, 2x4x4.
    if chip.axes == 2 or doubled <= 2:
        return tuple(sorted(2 ** ((doubled + more) // 2) for more in range(2)))
    return tuple(sorted(2 ** ((doubled + more) // 3) for more in range(3)))


def links_of(chips: int, chip: Chip) -> int:
    """Return the links over which each chip of a slice can send at once while all add up their gradients.

    On a grid that has a ring through all chips, that is a link in each direction: a chip in a corner has no
    more. An axis that is closed is a ring of its own, with two links more.
    """
    if chips < 2:
        return 0
    grid = grid_of(chips, chip)
    if chip.axes == 3:
        closed = len(grid) if len(grid) == 3 and all(side % chip.closed_at == 0 for side in grid) else 0
    else:
        closed = sum(side >= chip.closed_at for side in grid)
    # Two chips have one link; a line of a number of chips that has no ring sends everything through both.
    return max(2 * closed, 1 if chips == 2 else 2)


def chip_of_device(device_kind: str) -> Chip | None:
    """Return the chip of a JAX device by its `device_kind`; None if the table has no such TPU."""
    return next((chip for chip in CHIPS.values() if device_kind in chip.device_kinds), None)


@dataclass(frozen=True, kw_only=True)
class TrainingShape:
    """The sizes that determine the work of one step.

    Attributes:
        batch: examples per step, over all chips.
        length: wordpieces per example.
        predictions: positions per example that reach the output layer.
        precision: of the matrix products and of their gradients.
        shard_optimizer: whether each device updates a part of the weights, instead of all of them.
        parts: number of parts of a batch that are computed one after the other.
        kept: positions per example that the middle layers compute; None: all.
    """

    model: ModelConfig
    vocab_size: int
    batch: int
    length: int = 64
    predictions: int = 10
    precision: Literal["float32", "bfloat16"] = "float32"
    shard_optimizer: bool = False
    parts: int = 1
    kept: int | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations of one step's matrix products: forward, and twice that backward.

        This counts what the model needs, not what a compiler does: dropout, normalization, softmax and the
        optimizer count as nothing.
        """
        size, wide = self.model.hidden_size, self.model.intermediate_size

        def layer(length: int, read: int) -> int:
            """Return those of one example that has `length` wordpieces in the layer, and reads `read`."""
            return 4 * size * size * (length + read) + 4 * size * wide * length + 4 * length * read * size

        middle, kept = len(self.model.middle_layers), self.kept or self.length
        layers = (self.model.num_hidden_layers - middle) * layer(self.length, self.length)
        if middle:
            # The first one still reads all positions.
            layers += layer(kept, self.length) + (middle - 1) * layer(kept, kept)
        output = 2 * size * size + 2 * size * self.vocab_size  # of one prediction
        pooler = 2 * size * size
        return 3.0 * self.batch * (layers + self.predictions * output + pooler)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of the model."""
        size, wide = self.model.hidden_size, self.model.intermediate_size
        layer = 4 * (size * size + size) + 2 * size * wide + wide + size + 4 * size
        heads = 2 * (size * size + size) + 2 * size + self.vocab_size + 2 * size + 2
        return self._embeddings + self.model.num_hidden_layers * layer + heads

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the gradients of all look-ups."""
        return 4 * self._embeddings

    @property
    def _embeddings(self) -> int:
        rows = self.vocab_size + self.model.type_vocab_size + self.model.max_position_embeddings + 2
        return rows * self.model.hidden_size

    @property
    def gradient_bytes(self) -> tuple[int, int]:
        """Bytes of the gradients that devices add up: each gradient once, and as the TPU's compiler has it.

        The words have two gradients, from their product in the output layer and from their look-up, and the
        compiler adds up each over the devices before it adds both. In bfloat16, the gradients of products
        are added up as they leave the product, with 2 bytes a parameter, those of look-ups in float32.
        `benchmarks/tpu_compile.py` compares this with the program that the compiler makes.
        """
        width = 4 if self.precision == "float32" else 2
        once = width * (self.parameters - self._embeddings) + 4 * self._embeddings
        return once, once + width * self.vocab_size * self.model.hidden_size


def training_shape(
    model: ModelConfig, vocab_size: int, train: TrainConfig, examples: ExampleShape
) -> TrainingShape:
    """Return the shape of the steps of a training on a TPU with these settings."""
    return TrainingShape(
        model=model,
        vocab_size=vocab_size,
        batch=train.train_batch_size,
        length=examples.max_seq_length,
        predictions=predictions_of(train, examples),
        kept=kept_positions(train, examples.max_seq_length),
        precision="float32" if train.precision == "float32" else "bfloat16",
        shard_optimizer=train.shard_optimizer,
        parts=train.accumulation_steps,
    )


def hourly_price(tpu: TpuConfig) -> float:
    """Return the US dollars per hour of all chips of the TPU: from the setting, or else from the table.

    Raises:
        ConfigError: the accelerator type is not in the table, or has no price there.
    """
    number, chip = chips_of(tpu.accelerator_type)
    listed = chip.spot if tpu.provisioning == "spot" else chip.on_demand
    if not (tpu.chip_hour_price or listed):
        raise ConfigError(
            f"no price of {chip.name} is known",
            where="tpu.chip_hour_price",
            do="Set what you pay per chip-hour",
        )
    return number * (tpu.chip_hour_price or listed)


def require_divisible(batch: int, parts: int, of: str, *, accumulated: int = 1) -> None:
    """Refuse a training batch that cannot be divided evenly.

    Args:
        of: what it is divided over, such as "devices".
        accumulated: the number of parts that are computed one after the other; each is divided.

    Raises:
        ConfigError: it cannot.
    """
    if batch % (parts * accumulated):
        by_part = f" in {accumulated} parts (accumulation_steps)" if accumulated > 1 else ""
        raise ConfigError(
            f"a batch of {batch}{by_part} cannot be divided over {parts} {of}",
            where="train.train_batch_size",
            do=f"Set train_batch_size to a multiple of {parts * accumulated}",
        )
