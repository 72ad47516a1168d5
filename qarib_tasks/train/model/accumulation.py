"""A batch that is computed in equal parts, one after the other, so that it needs less memory.

The adapters add the gradients and the figures of all parts. Both are sums over the batch's rows, so the
result is that of the whole batch, except for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops


def in_parts(batch: Mapping[str, Any], parts: int) -> dict[str, Any]:
    """Divide tensors [rows, …] into [parts, rows / parts, …]: part n has the rows n, n + parts, and so on.

    So each part of a batch that is divided over devices is divided in the same way, without an exchange.
    """
    return {
        name: ops.swapaxes(ops.reshape(array, (-1, parts, *array.shape[1:])), 0, 1)
        for name, array in batch.items()
    }


def rows_of_part(part: Mapping[str, Any], number: Any, parts: int) -> Any:
    """Return which rows of the batch the part `number` of `in_parts` has, uint32 [rows / parts]."""
    count = part["input_ids"].shape[0]
    return ops.cast(ops.arange(count, dtype="int32") * parts + ops.cast(number, "int32"), "uint32")
