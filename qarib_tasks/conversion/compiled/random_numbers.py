# mypy: disable-error-code="no-any-return"
"""CPython's random numbers (Modules/_randommodule.c, Lib/random.py): Mersenne Twister, with the same draws.

A generator is an array of uint32: 624 words of state, 624 numbers made of them, and the place of the next.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt

from qarib_tasks.conversion.compiled import compiled, int64

WORDS = 624


def new_generator(seed: int) -> npt.NDArray[np.uint32]:
    """The state of `random.Random(seed)` in the format of this module's functions."""
    _, state, _ = random.Random(seed).getstate()
    generator = np.zeros(2 * WORDS + 1, np.uint32)
    generator[:WORDS] = state[:WORDS]
    generator[2 * WORDS] = state[WORDS]
    return generator


@compiled
def _refill(generator: Any) -> None:
    # 397 words ahead, then back from the end: three loops instead of a remainder.
    for i in range(WORDS - 397):
        y = (generator[i] & 0x80000000) | (generator[i + 1] & 0x7FFFFFFF)
        generator[i] = generator[i + 397] ^ (y >> 1) ^ ((y & 1) * 0x9908B0DF)
    for i in range(WORDS - 397, WORDS - 1):
        y = (generator[i] & 0x80000000) | (generator[i + 1] & 0x7FFFFFFF)
        generator[i] = generator[i + 397 - WORDS] ^ (y >> 1) ^ ((y & 1) * 0x9908B0DF)
    y = (generator[WORDS - 1] & 0x80000000) | (generator[0] & 0x7FFFFFFF)
    generator[WORDS - 1] = generator[396] ^ (y >> 1) ^ ((y & 1) * 0x9908B0DF)
    for i in range(WORDS):
        y = int64(generator[i])
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680
        y ^= (y << 15) & 0xEFC60000
        y ^= y >> 18
        generator[WORDS + i] = y
    generator[2 * WORDS] = 0


@compiled
def next_word(generator: Any) -> int:
    """`getrandbits(32)`."""
    if generator[2 * WORDS] >= WORDS:
        _refill(generator)
    place = int64(generator[2 * WORDS])
    generator[2 * WORDS] = place + 1
    return int64(generator[WORDS + place])


@compiled
def next_float(generator: Any) -> float:
    """`random()`."""
    a = next_word(generator) >> 5
    b = next_word(generator) >> 6
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0)


@compiled
def next_half(generator: Any) -> int:
    """`random() < 0.5` as 0 or 1: the first bit of the first of the two words that `random` uses."""
    first = next_word(generator)
    next_word(generator)
    return 1 - (first >> 31)


@compiled
def next_below(generator: Any, n: int) -> int:
    """`_randbelow(n)`, 0 < n < 2**32: draws bits until they are below n."""
    shift = 32
    m = n
    while m > 0:
        m >>= 1
        shift -= 1
    value = next_word(generator) >> shift
    while value >= n:
        value = next_word(generator) >> shift
    return value


@compiled
def shuffle(generator: Any, values: Any, count: int) -> None:
    """`shuffle` of the first `count` of `values`, in place.

    Written out, as most of the random numbers are drawn here.
    """
    place = int64(generator[2 * WORDS])
    i = count - 1
    while i > 0:
        shift = 32
        m = i + 1
        while m > 0:
            m >>= 1
            shift -= 1
        # Down to this i, i + 1 has the same number of bits.
        last = max(1, (1 << (31 - shift)) - 1)
        while i >= last:
            if place >= WORDS:
                _refill(generator)
                place = 0
            stop = min(WORDS, place + i - last + 1)
            # A number that is too large is drawn again: then i is swapped with itself and stays. A branch
            # instead would often be mispredicted, because the draws are random.
            for at in range(WORDS + place, WORDS + stop):
                j = int64(generator[at]) >> shift
                fits = j <= i
                other = j if fits else i
                values[i], values[other] = values[other], values[i]
                i -= int64(fits)
            place = stop
    generator[2 * WORDS] = place
