"""Performance and prices of TPUs, and estimates of how long a training takes: calculated, not measured.

Peaks and memory are from Google's pages on each generation (cloud.google.com/tpu/docs, "v2" … "v6e").
Prices are Google's list prices in US dollars for the region in the table, from the public catalog of the
SkyPilot project (v8, commit 006059e0, read on 2026-11-22). Spot prices change monthly and differ between
regions by a factor of three: a price that the user sets overrides these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.errors import ConfigError

PRICES_OF = "2026-11-22"
# Of large matrix products in a BERT with little padding; memory, padding and communication use the rest.
SHARE_OF_PEAK = 0.4


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

    @property
    def devices(self) -> int:
        """JAX devices per chip: from v4 on, two cores are one device."""
        return self.cores_per_chip if self.name in {"v2", "v3"} else 1


GIB = 1024**3
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", 46e12, 16 * GIB, 700e9, 2, True, 1.125, 0.3375, "us-central1", ("TPU v2",)),
        Chip("v3", 123e12, 32 * GIB, 900e9, 2, True, 2.00, 0.51, "us-central1", ("TPU v3",)),
        Chip("v4", 275e12, 32 * GIB, 1228e9, 2, True, 3.22, 0.9215, "us-central2", ("TPU v4",)),
        Chip(
            "v5e", 197e12, 16 * GIB, 819e9, 1, False, 1.20, 0.245, "us-central1", ("TPU v5 lite", "TPU v5e")
        ),
        Chip("v5p", 459e12, 95 * GIB, 2765e9, 2, True, 4.20, 0.8357, "us-central1", ("TPU v5", "TPU v5p")),
        Chip(
            "v6e", 918e12, 32 * GIB, 1638e9, 1, False, 2.70, 0.5442, "us-central1", ("TPU v6 lite", "TPU v6e")
        ),
    )
}
_TYPE = re.compile(r"(v\d+(?:litepod|[a-z])?)-(\d+)")


def chips_of(accelerator_type: str) -> tuple[int, Chip]:
    """Return the number of chips of an accelerator type such as "v5litepod-8" or "v4-8", and the chip.

    Raises:
        ConfigError: the generation is not in the table.
    """
    match = _TYPE.fullmatch(accelerator_type)
    chip = CHIPS.get(match[1].replace("v5litepod", "v5e")) if match else None
    if match is None or chip is None:
        raise ConfigError(
            f"unknown accelerator type {accelerator_type!r}",
            do=f"Use a type of the generations {', '.join(CHIPS)}, such as v4-8, v5litepod-8, or v6e-8",
        )
    number = int(match[2])
    return (max(1, number // chip.cores_per_chip) if chip.counted_in_cores else number), chip


def machines_of(accelerator_type: str) -> int:
    """Return the number of machines of a slice of this type ("hosts" in Google's documentation).

    Raises:
        ConfigError: the generation is not in the table.
    """
    number, chip = chips_of(accelerator_type)
    alone = 8 if chip.name in ("v5e", "v6e") else 4
    return 1 if number <= alone else number // 4


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
    """

    model: ModelConfig
    vocab_size: int
    batch: int
    length: int = 64
    predictions: int = 10

    @property
    def flops(self) -> float:
        """Floating-point operations of one step's matrix products: forward, and twice that backward.

        This counts what the model needs, not what a compiler does: dropout, normalization, softmax and the
        optimizer count as nothing.
        """
        size, wide = self.model.hidden_size, self.model.intermediate_size
        layer = 8 * size * size + 4 * size * wide + 4 * self.length * size  # of one wordpiece
        output = 2 * size * size + 2 * size * self.vocab_size  # of one prediction
        example = (
            self.length * self.model.num_hidden_layers * layer
            + self.predictions * output
            + 2 * size * size  # the pooler
        )
        return 3.0 * self.batch * example

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of the model."""
        size, wide = self.model.hidden_size, self.model.intermediate_size
        embeddings = self.vocab_size + self.model.type_vocab_size + self.model.max_position_embeddings + 2
        layer = 4 * (size * size + size) + 2 * size * wide + wide + size + 4 * size
        heads = 2 * (size * size + size) + 2 * size + self.vocab_size + 2 * size + 2
        return embeddings * size + self.model.num_hidden_layers * layer + heads


@dataclass(frozen=True)
class Estimate:
    """The duration of a training, and the cost of its chips in US dollars at the table's prices."""

    steps_per_second: float
    hours: float
    on_demand_price: float
    spot_price: float
    chips: int
    chip: Chip


def estimate(
    shape: TrainingShape, steps: int, accelerator_type: str, share_of_peak: float = SHARE_OF_PEAK
) -> Estimate:
    """Estimate a data-parallel training.

    The time of a step has two parts: its matrix products, at `share_of_peak` of the peak of all chips; and
    the optimizer, which more chips do not speed up: each chip reads weights, gradients and two averages, and
    writes all except the gradients, in float32. For a small batch the second part is larger. The estimate
    excludes startup, evaluation, checkpoints, and the exchange of gradients between chips.

    Raises:
        ConfigError: the accelerator type is unknown.
    """
    chips, chip = chips_of(accelerator_type)
    products = shape.flops / (chips * chip.peak_bfloat16_flops * share_of_peak)
    # Each core of a v2 or v3 chip holds its own copy.
    optimizer = 7 * 4 * shape.parameters * chip.devices / chip.hbm_bytes_per_second
    seconds = products + optimizer
    hours = steps * seconds / 3600
    return Estimate(
        steps_per_second=1 / seconds,
        hours=hours,
        on_demand_price=hours * chips * chip.on_demand,
        spot_price=hours * chips * chip.spot,
        chips=chips,
        chip=chip,
    )


def hourly_price(tpu: TpuConfig) -> float:
    """Return the US dollars per hour of all chips of the TPU: from the setting, or else from the table.

    Raises:
        ConfigError: the accelerator type is not in the table.
    """
    number, chip = chips_of(tpu.accelerator_type)
    listed = chip.spot if tpu.provisioning == "spot" else chip.on_demand
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
