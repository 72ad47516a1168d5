# mypy: disable-error-code="no-any-return"
"""A cache of space-separated words and their wordpieces; text is processed eight bytes at a time."""

from __future__ import annotations

from typing import Any

from qarib_tasks.conversion.compiled import compiled, int64, uint64

MULTIPLIER = uint64(0x9E3779B97F4A7C15)
PLACE_MASK = uint64((1 << 24) - 1)
HALF, _TOP = uint64(32), uint64(56)
_ONE, _SEVEN, _SIXTY_THREE = uint64(1), uint64(7), uint64(63)
_ALL_SPACES, _ALL_LFS = uint64(0x2020202020202020), uint64(0x0A0A0A0A0A0A0A0A)
_ONES, _TOPS = uint64(0x0101010101010101), uint64(0x8080808080808080)
# Times 1 << 8n, its highest byte is n.
_COUNTER = uint64(0x0001020304050607)


# The memory is a tuple of three arrays:
#
# slots    uint64, an open hash table: the upper bits of a word's hash, and the word's place in `words`.
# words    uint64. A word has a unit with the numbers of its bytes, of its ids, and of the words that BERT's
#          basic tokenizer splits it into, one byte each; its bytes, eight per unit; its ids, three per unit.
# used     [2] int64: the numbers of used words and units.
#
# It has at least one slot and one unit, and is all zeros at first. It does not grow: when it is full, other
# words are tokenized each time.


@compiled
def _unit(units: Any, at: int) -> Any:
    """Eight bytes from byte `at` on, the first of them lowest."""
    shift = uint64(at & 7) << uint64(3)
    upper = (units[(at >> 3) + 1] << _ONE) << (_SIXTY_THREE - shift)
    return (units[at >> 3] >> shift) | upper


@compiled
def scan(units: Any, at: int) -> tuple[int, Any]:
    """The end of the word that starts at byte `at` (the place of a space or LF), and the word's hash.

    Eight bytes at a time. Subtracting 1 from each byte borrows at a zero byte; only bytes above the first
    zero byte can be taken for one by mistake.
    """
    code = MULTIPLIER
    while True:
        unit = _unit(units, at)
        spaces = unit ^ _ALL_SPACES
        lfs = unit ^ _ALL_LFS
        ends = (((spaces - _ONES) & ~spaces) | ((lfs - _ONES) & ~lfs)) & _TOPS
        if ends == 0:
            code = (code ^ unit) * MULTIPLIER
            code ^= code >> HALF
            at += 8
            continue
        first = (ends & (~ends + _ONE)) >> _SEVEN
        code = (code ^ (unit & (first - _ONE))) * MULTIPLIER
        return at + int64((first * _COUNTER) >> _TOP), code ^ (code >> HALF)


@compiled
def _part(units: Any, at: int, size: int) -> Any:
    """The unit of a word at byte `at`; the word has `size` more bytes."""
    unit = _unit(units, at)
    if size < 8:
        unit &= (_ONE << uint64(8 * size)) - _ONE
    return unit


@compiled
def find(units: Any, start: int, size: int, code: Any, memory: Any) -> tuple[int, int]:
    """The place of a cached word or -1, and its slot."""
    slots, words, _ = memory
    at = int64(code >> HALF) & (len(slots) - 1)
    while slots[at] != 0:
        if (slots[at] ^ code) & ~PLACE_MASK == 0:
            place = int64(slots[at] & PLACE_MASK)
            if int64(words[place] & uint64(255)) == size:
                i = 0
                while i < size and words[place + 1 + (i >> 3)] == _part(units, start + i, size - i):
                    i += 8
                if i >= size:
                    return place, at
        at = (at + 1) & (len(slots) - 1)
    return -1, at


@compiled
def remember(
    units: Any, start: int, size: int, code: Any, slot: int, ids: Any, count: int, memory: Any
) -> None:
    """Store a word that `find` did not find in the slot that it returned, unless the memory is full."""
    slots, words, used = memory
    place = max(1, used[1])
    end = place + 1 + (size + 7) // 8 + (len(ids) + 2) // 3
    if 2 * (used[0] + 1) > len(slots) or end > len(words):
        return
    words[place] = uint64(size | len(ids) << 8 | count << 16)
    slots[slot] = (code & ~PLACE_MASK) | uint64(place)
    place += 1
    for i in range(0, size, 8):
        words[place] = _part(units, start + i, size - i)
        place += 1
    for i in range(0, len(ids), 3):
        unit = int64(0)
        for j in range(i, min(i + 3, len(ids))):
            unit |= int64(ids[j]) << (21 * (j - i))
        words[place] = uint64(unit)
        place += 1
    used[0] += 1
    used[1] = place
