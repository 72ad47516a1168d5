"""Setup of the trainer's process: the choice of the Keras backend, the devices, and determinism."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import require_divisible
from qarib_tasks.train.hosts.workers import Place
from qarib_tasks.train.libraries import import_quickly

log = logging.getLogger(__name__)


def choose_backend(backend: str = "tensorflow") -> str:
    """Set the backend of `import keras`. Call this before anything imports Keras.

    Args:
        backend: "tensorflow", "jax", or "auto": jax if this machine has a TPU or several machines train
            together, otherwise tensorflow.

    Returns:
        the chosen backend.

    Raises:
        ConfigError: the backend's package is not installed.
    """
    if backend == "auto":
        backend = "jax" if has_tpu() or Place.of().workers > 1 else "tensorflow"
    if importlib.util.find_spec(backend) is None:
        raise ConfigError(
            f"the package {backend} is not installed",
            where="train.backend",
            do="Install requirements/train.txt" + (" and jax[tpu]" if backend == "jax" else ""),
        )
    os.environ["KERAS_BACKEND"] = backend
    import_quickly()
    # Without a GPU, TensorFlow reports an error of its library, CUDA, which concerns nothing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu() else "3")
    return backend


def chosen_precision(precision: str) -> str:
    """Return "float32" or "bfloat16": for "auto", bfloat16 if the chosen backend computes on a TPU."""
    if precision != "auto":
        return precision
    return "bfloat16" if os.environ.get("KERAS_BACKEND") == "jax" and has_tpu() else "float32"


def has_gpu(root: Path = Path("/")) -> bool:
    """Return whether this machine has a GPU of Nvidia, also below Windows, or of AMD."""
    return any(any((root / "dev").glob(name)) for name in ("nvidia[0-9]*", "dxg", "kfd"))


def has_tpu(root: Path = Path("/")) -> bool:
    """Return whether this machine has a TPU that may be used.

    The function does not import jax, which would reserve the TPU and take seconds. The chips of v2 to v4
    appear as /dev/accel0 …; from v5e on they are VFIO groups, /dev/vfio/0 …. Other devices can be VFIO groups
    too, so a PCI device of Google (0x1ae0) that is not its network card (class 0x02) must exist as well.
    JAX_PLATFORMS without "tpu" in it means that no TPU is to be used. "tpu" alone, as a TPU VM's startup
    script sets it, means that the machine has one; if jax finds none, jax reports what is wrong.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms == "tpu":
        return True
    if platforms and "tpu" not in platforms:
        return False
    if any((root / "dev").glob("accel[0-9]*")):
        return True
    return any((root / "dev/vfio").glob("[0-9]*")) and any(
        (device / "vendor").read_text().strip() == "0x1ae0"
        and not (device / "class").read_text().startswith("0x02")
        for device in (root / "sys/bus/pci/devices").glob("*")
    )


def check_machines(job: TrainingJob, place: Place) -> None:
    """Check that the settings can train on this number of machines.

    Raises:
        ConfigError: several machines cannot train with these settings.
    """
    if place.workers == 1:
        return
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise ConfigError(
            f"the tensorflow backend trains on one machine, not on {place.workers}",
            where="train.backend",
            do="Set jax to train on several machines",
        )
    require_divisible(job.train.train_batch_size, place.workers, "machines")


def connect_devices(place: Place) -> None:
    """Connect JAX to the devices of all ranks. Call this before any other use of JAX."""
    if place.workers == 1:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]  # in tests; a TPU has its own
    jax.config.update("jax_enable_preemption_service", False)  # type: ignore[no-untyped-call]  # it would handle SIGTERM itself
    jax.distributed.initialize(
        place.coordinator,
        place.workers,
        place.worker,
        coordinator_bind_address=place.coordinator,
        cluster_detection_method="deactivate",
        # `Workers` detects a lost rank much earlier and ends cleanly; this timeout aborts the process.
        heartbeat_timeout_seconds=600,
    )


def make_deterministic() -> None:
    """Make TensorFlow return the same bits for the same inputs on the same machine.

    With the jax backend, TensorFlow only parses examples; the GPUs are hidden from it, as jax uses them.
    """
    import tensorflow as tf

    if os.environ.get("KERAS_BACKEND") == "jax":
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_op_determinism()
