"""Checkpoints in the layout of google-research/bert: `bert_model.ckpt.index` and `.data-00000-of-00001`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.files import atomic_path, require_file, scratch_folder
from qarib_tasks.storage.model_files import TENSORFLOW1, TENSORFLOW1_FILES
from qarib_tasks.train.libraries import import_quickly
from qarib_tasks.train.weights.downloads import refuse_text

# Suffixes of the variables of the reference's optimizer.
OPTIMIZER = ("/adam_m", "/adam_v")


def bert_config(job: TrainingJob, vocab_size: int) -> dict[str, Any]:
    """Return `bert_config.json`, which the reference's programs read."""
    return to_dict(job.model) | {"vocab_size": vocab_size}


def write_checkpoint(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write the weights under their TF 1 names, each file atomically, the index last, deterministically.

    TensorFlow 1 reads this format ("V2", since TF 0.12) by the same names.
    """
    import_quickly()
    import tensorflow as tf

    names = sorted(weights)
    with scratch_folder(folder, ".") as temporary_folder:
        tf.raw_ops.SaveV2(
            prefix=f"{temporary_folder}/{TENSORFLOW1}",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(weights[name]) for name in names],
        )
        for name in TENSORFLOW1_FILES:
            with atomic_path(folder / name) as temporary:
                os.replace(temporary_folder / name, temporary)


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Read the weights of a checkpoint as float32 arrays, without the optimizer's averages and the step.

    Raises:
        CorruptError: the checkpoint cannot be read.
    """
    import tensorflow as tf

    size = 0
    for path in sorted(prefix.parent.iterdir()):
        if path.name.startswith((f"{prefix.name}.index", f"{prefix.name}.data-")):
            require_file(path)
            refuse_text(path)
            size += path.stat().st_size
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        # TensorFlow allocates what a shape claims, whether the file has it or not.
        if sum(math.prod(shape) for shape in shapes.values()) > size:
            raise ValueError("its variables are larger than its files")
        names = [name for name in shapes if not name.endswith(OPTIMIZER)]
        return {
            name: reader.get_tensor(name).astype(np.float32)
            for name in sorted(names)
            if name != "global_step"
        }
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise CorruptError(f"cannot be read: {error}", where=prefix) from None
