"""How fast a training runs, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qarib_tasks.machines.chips import TrainingShape, chip_of_device


@dataclass(frozen=True)
class Hardware:
    """What a training computes on.

    Attributes:
        backend: "tensorflow" or "jax".
        device_kind: as the backend names it, such as "TPU v5 lite" or "cpu".
        devices: that a batch is divided over, of all hosts.
    """

    backend: str
    device_kind: str
    devices: int

    @property
    def peak_flops(self) -> float | None:
        """Of all devices together, in bfloat16 operations a second; None where it is not known."""
        chip = chip_of_device(self.device_kind)
        return self.devices * chip.peak_bfloat16_flops / chip.devices if chip else None

    def __str__(self) -> str:
        return f"{self.backend}, {self.devices} × {self.device_kind}"


@dataclass(frozen=True)
class Speed:
    """Makes figures of the time that steps took."""

    hardware: Hardware
    shape: TrainingShape

    def figures(self, steps: int, seconds: float) -> dict[str, Any]:
        """examples_per_second, tokens_per_second (padding included) and, where the devices' peak is known,
        model_flops_utilization: the share of the peak that the model's matrix products took."""
        rate = steps * self.shape.batch / seconds
        figures = {
            "examples_per_second": round(rate, 1),
            "tokens_per_second": round(rate * self.shape.length, 1),
        }
        if peak := self.hardware.peak_flops:
            figures["model_flops_utilization"] = round(steps * self.shape.flops / seconds / peak, 4)
        return figures
