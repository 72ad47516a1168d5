"""A batch of examples, padded to a fixed size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Batch = dict[str, np.ndarray]


def padded(batch: Mapping[str, np.ndarray], size: int) -> Batch:
    """Fill a batch up to `size` with padding examples, which have no effect on any figure."""
    missing = size - len(batch["input_ids"])
    fill = {"next_sentence_labels": -1}
    return {
        name: np.concatenate([array, np.full((missing, *array.shape[1:]), fill.get(name, 0), array.dtype)])
        for name, array in batch.items()
    }
