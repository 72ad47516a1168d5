"""Chooses lines and documents by hash: the same ones on every machine, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1 << 20  # lines whose hashes are in memory at once

Keys: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"


def spread(keys: Keys, seed: int) -> Keys:
    """Map each key to a uniformly distributed uint64, with SplitMix64's finalizer (Steele et al. 2014)."""
    import numpy as np

    x = (keys + np.uint64(seed % 2**64)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def chosen(keys: Keys, share: float, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether each document is in a share. Only its key decides: the corpus can grow around it."""
    import numpy as np

    if share >= 1:
        return np.ones(len(keys), dtype=np.bool_)
    return spread(keys, seed) < np.uint64(int(share * 2**64))


def sample(total: int, size: int, random_seed: int) -> Iterator[bool]:
    """Yield for each of `total` lines whether it is in a uniform sample of exactly `size` lines.

    A line is in the sample if the hash of its number is among the `size` smallest. The hash depends only on
    the number and the seed, so that any number of readers choose the same lines, with any version of any
    library. It is SplitMix64 (Steele et al. 2014), which maps no two numbers to the same value. Memory grows
    with the sample.
    """
    if total <= size:
        yield from repeat(True, total)
        return
    import numpy as np

    def hashes(start: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return spread(np.arange(start, min(start + BLOCK, total), dtype=np.uint64), random_seed)

    smallest = np.empty(0, dtype=np.uint64)
    for start in range(0, total, BLOCK):
        smallest = np.concatenate([smallest, hashes(start)])
        if len(smallest) > size:
            smallest = np.partition(smallest, size - 1)[:size]
    largest_chosen = smallest.max()
    for start in range(0, total, BLOCK):
        yield from (hashes(start) <= largest_chosen).tolist()
