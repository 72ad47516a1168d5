"""A training's devices and its speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qarib_tasks.machines.chips import TrainingShape, chip_of_device


@dataclass(frozen=True)
class Hardware:
    """The devices that a training computes on.

    Attributes:
        backend: "tensorflow" or "jax".
        device_kind: the backend's name of the device, such as "TPU v5 lite" or "cpu".
        devices: number of devices that a batch is divided over, on all hosts.
    """

    backend: str
    device_kind: str
    devices: int

    @property
    def peak_flops(self) -> float | None:
        """Peak of all devices together in bfloat16 operations per second; None if it is not known."""
        chip = chip_of_device(self.device_kind)
        return self.devices * chip.peak_bfloat16_flops / chip.devices if chip else None

    def __str__(self) -> str:
        return f"{self.backend}, {self.devices} × {self.device_kind}"


@dataclass(frozen=True)
class Speed:
    """Computes the throughput of steps from the time that they took."""

    hardware: Hardware
    shape: TrainingShape

    def figures(self, steps: int, seconds: float) -> dict[str, Any]:
        """Return the throughput of `steps` that took `seconds`.

        Returns:
            examples_per_second, tokens_per_second (padding included) and, if the devices' peak is known,
            model_flops_utilization: the share of the peak that the model's matrix products used.
        """
        rate = steps * self.shape.batch / seconds
        figures = {
            "examples_per_second": round(rate, 1),
            "tokens_per_second": round(rate * self.shape.length, 1),
        }
        if peak := self.hardware.peak_flops:
            figures["model_flops_utilization"] = round(steps * self.shape.flops / seconds / peak, 4)
        return figures
