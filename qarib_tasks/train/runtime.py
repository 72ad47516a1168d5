"""What has to be set before Keras and its backend are imported, and once in the trainer's process."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)


def choose_backend(backend: str = "tensorflow") -> None:
    """Set the backend that `import keras` will take. Call it before anything imports Keras."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def make_deterministic() -> None:
    """Have TensorFlow give the same bits for the same inputs on the same machine."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
