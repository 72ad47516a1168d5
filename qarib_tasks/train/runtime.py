"""What has to be set before Keras and its backend are imported, and once in the trainer's process."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from qarib_tasks.config.training import TrainingJob
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import require_divisible
from qarib_tasks.train.hosts.workers import Place

log = logging.getLogger(__name__)


def choose_backend(backend: str = "tensorflow") -> str:
    """Set the backend that `import keras` will take. Call it before anything imports Keras.

    Args:
        backend: "tensorflow", "jax", or "auto": jax where there is a TPU or several machines train together,
            tensorflow elsewhere.

    Returns:
        the backend that was chosen.

    Raises:
        ConfigError: its package is not installed.
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return backend


def has_tpu(root: Path = Path("/")) -> bool:
    """Whether this machine has a TPU that may be used.

    Importing jax to find out would take hold of the TPU, and take seconds. The chips of v2 to v4 show as
    /dev/accel0 …; from v5e on they are VFIO groups, /dev/vfio/0 …, as other devices can be, so that a PCI
    device of Google's (0x1ae0) has to be there too, other than its network card (class 0x02). JAX_PLATFORMS
    without "tpu" in it says that a TPU is not to be used; "tpu" alone, as a TPU VM's startup script sets it,
    that there is one: jax then says what is wrong where it finds none.
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
    """Raises:
    ConfigError: several machines cannot train with these settings.
    """
    if place.workers == 1:
        return
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise ConfigError(
            "TensorFlow trains on one machine", where="train.backend", do="Set jax to train on several"
        )
    require_divisible(job.train.train_batch_size, place.workers, "machines")


def connect_devices(place: Place) -> None:
    """Have JAX compute on the devices of all workers together: before it is used for anything else."""
    if place.workers == 1:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]  # in tests; a TPU has its own
    jax.config.update("jax_enable_preemption_service", False)  # type: ignore[no-untyped-call]  # it would take SIGTERM for itself
    jax.distributed.initialize(
        place.coordinator,
        place.workers,
        place.worker,
        coordinator_bind_address=place.coordinator,
        cluster_detection_method="deactivate",
        # `Workers` finds out much earlier who is lost, and ends in order; this aborts the process.
        heartbeat_timeout_seconds=600,
    )


def make_deterministic() -> None:
    """Have TensorFlow give the same bits for the same inputs on the same machine.

    Under jax, TensorFlow only parses examples: it is kept off the GPUs that jax computes on.
    """
    import tensorflow as tf

    if os.environ.get("KERAS_BACKEND") == "jax":
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_op_determinism()
