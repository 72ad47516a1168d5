"""The documents of a packed row, which neither attend to each other nor share positions.

See Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021 (arXiv 2107.02027).
"""

from __future__ import annotations

from typing import Any

from keras import ops


def kept_apart(documents: Any) -> tuple[Any, Any]:
    """Return where attention is allowed, and the position of each wordpiece within its document.

    Args:
        documents: [batch, length] int32, the number of each wordpiece's document. A document's wordpieces are
            next to each other. Padding has a number of its own, so that no document attends to it.

    Returns:
        bool [batch, length, length], from each wordpiece to each, and int32 [batch, length].
    """
    length = ops.shape(documents)[1]
    allowed = documents[:, :, None] == documents[:, None, :]
    place = ops.arange(length, dtype="int32")
    earlier = allowed & (place[None, :, None] > place[None, None, :])
    return allowed, ops.sum(ops.cast(earlier, "int32"), axis=-1)
