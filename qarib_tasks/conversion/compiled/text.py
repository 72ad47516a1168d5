# mypy: disable-error-code="no-any-return"
"""UTF-8 text to wordpiece ids: BERT's basic tokenizer as a table and a state machine, then longest match.

Between spaces the tokenizer is free of context, so the ids of a space-separated word are remembered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qarib_tasks.conversion.compiled import compiled, int64, uint64
from qarib_tasks.conversion.compiled.word_memory import HALF, MULTIPLIER, PLACE_MASK, find, remember, scan

# What a code point is. JOIN and BREAK are removed; marks are sorted across the first and not the second.
WORD, SPACE, PUNCTUATION, JOIN, BREAK, MAPPED, MARK = range(7)
MAX_WORD = 200
# Words longer than this, in bytes, are not cached.
MAX_REMEMBERED = 120
LF, SPACE_BYTE = 10, 32
INITIAL, CONTINUATION = 0, 1
# Places in `counts`.
LINES, WORD_COUNT, REPLACED_BYTES, DROPPED_LINES, PENDING, NEAR = range(6)
COUNTS = 6
# The number of space-separated words looked up together, so that their memory latencies overlap.
TOGETHER = 256


# Arguments that are tuples:
#
# tables   the rules per code point: `kind` [0x110000] uint8; `result` [0x110000] int32, for a MAPPED code
#          point the place of its result in `pool` (the length, then `kind << 24 | code` each), for a MARK the
#          combining class; `pool` int32.
# trie     the vocabulary: `keys` int64 (node << 21 | code point) and `children` int32, an open hash table;
#          `ids` int32, the entry that ends at a node, or -1; `unknown` [1] int32, the id of [UNK]. Words
#          start at node 0, "##" entries at node 1.
# memory   the cache of words, see `word_memory`.


@compiled
def _slot(key: int, size: int) -> int:
    mixed = uint64(key) * MULTIPLIER
    return int64((mixed >> HALF) & uint64(size - 1))


@compiled
def _child(keys: Any, children: Any, node: int, code: int) -> int:
    key = int64(node) << 21 | int64(code)
    at = _slot(key, len(keys))
    while keys[at] != key:
        if keys[at] < 0:
            return -1
        at = (at + 1) & (len(keys) - 1)
    return int64(children[at])


@compiled
def build_trie(codes: Any, offsets: Any, continues: Any, trie: Any) -> int:
    """Fill `trie` (keys and ids of -1) from the entries' code points without "##"; returns its node count.

    A repeated entry has the last one's id; an empty entry has no node.
    """
    keys, children, ids, _ = trie
    nodes = 2
    for entry in range(len(offsets) - 1):
        node = CONTINUATION if continues[entry] else INITIAL
        for i in range(offsets[entry], offsets[entry + 1]):
            key = int64(node) << 21 | int64(codes[i])
            at = _slot(key, len(keys))
            while keys[at] >= 0 and keys[at] != key:
                at = (at + 1) & (len(keys) - 1)
            if keys[at] < 0:
                keys[at] = key
                children[at] = nodes
                nodes += 1
            node = int64(children[at])
        if offsets[entry + 1] > offsets[entry]:
            ids[node] = entry
    return nodes


@compiled
def _match(word: Any, length: int, trie: Any, ids: Any, at: int) -> int:
    """Write the wordpieces of a word to `ids[at:]`: the longest match from the left, or one [UNK]."""
    keys, children, entries, unknown = trie
    if length > MAX_WORD:
        ids[at] = unknown[0]
        return at + 1
    begin = at
    start = 0
    while start < length:
        node = INITIAL if start == 0 else CONTINUATION
        best = -1
        end = start
        for i in range(start, length):
            node = _child(keys, children, node, word[i])
            if node < 0:
                break
            if entries[node] >= 0:
                best = entries[node]
                end = i + 1
        if best < 0:
            ids[begin] = unknown[0]
            return begin + 1
        ids[at] = best
        at += 1
        start = end
    return at


@compiled
def _decode(text: Any, at: int, end: int) -> tuple[int, int]:
    """The code point at `text[at]` and its bytes; code -1 for bytes that Python's decoder would replace."""
    first = int64(text[at])
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4:
        return -1, 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    low, high = 0x80, 0xBF
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    code = first & (0x3F >> (size - 1))
    for i in range(1, size):
        if at + i >= end:
            return -1, i
        byte = int64(text[at + i])
        if byte < low or byte > high:
            return -1, i
        low, high = 0x80, 0xBF
        code = code << 6 | (byte & 0x3F)
    return code, size


@compiled
def _tokenize(
    text: Any, start: int, end: int, tables: Any, trie: Any, word: Any, ids: Any, at: int
) -> tuple[int, int, int]:
    """Write the wordpieces of `text[start:end]` to `ids[at:]`.

    Returns:
        the place after the last, the number of words, the number of replaced bytes.
    """
    kinds, results, pool = tables
    length = 0
    run = 0
    words = 0
    replaced = 0
    while start < end:
        code, size = _decode(text, start, end)
        start += size
        if code < 0:
            replaced += size
            continue
        kind = kinds[code]
        parts = 1
        place = 0
        if kind == MAPPED:
            place = int64(results[code])
            parts = int64(pool[place])
        elif kind == JOIN:
            continue
        elif kind == BREAK:
            run = length
            continue
        for part in range(parts):
            if kind == MAPPED or part > 0:
                value = int64(pool[place + 1 + part])
                kind = value >> 24
                code = value & 0xFFFFFF
            if kind == WORD:
                if length < MAX_WORD:
                    word[length] = code
                length += 1
                run = length
                continue
            if kind == MARK:
                if length < MAX_WORD:
                    i = length
                    while i > run and results[word[i - 1]] > results[code]:
                        word[i] = word[i - 1]
                        i -= 1
                    word[i] = code
                length += 1
                continue
            if length > 0:
                at = _match(word, length, trie, ids, at)
                words += 1
                length = 0
                run = 0
            if kind == PUNCTUATION:
                word[0] = code
                at = _match(word, 1, trie, ids, at)
                words += 1
    if length > 0:
        at = _match(word, length, trie, ids, at)
        words += 1
    return at, words, replaced


@compiled
def _is_blank(text: Any, start: int, end: int) -> bool:
    """Check whether a line is empty after CR is removed and `str.strip` is applied."""
    while start < end:
        code, size = _decode(text, start, end)
        start += size
        if not (
            9 <= code <= 13
            or 0x1C <= code <= 0x20
            or code == 0x85
            or code == 0xA0
            or code == 0x1680
            or 0x2000 <= code <= 0x200A
            or code == 0x2028
            or code == 0x2029
            or code == 0x202F
            or code == 0x205F
            or code == 0x3000
        ):
            return False
    return True


@compiled
def read_lines(
    text: Any,
    units: Any,
    tables: Any,
    trie: Any,
    memory: Any,
    ids: Any,
    lengths: Any,
    starts: Any,
    counts: Any,
) -> tuple[int, int]:
    """Tokenize a text of complete lines.

    Args:
        text: [bytes] uint8, ends with LF.
        units: [> bytes / 8 + 1] uint64, the same memory; what follows the text does not matter.
        ids: [≥ bytes] int32, written: the wordpieces of the lines one after the other.
        lengths: [≥ lines] int32, written: number of wordpieces of each line that has any.
        starts: [≥ lines] uint8, written: 1 for each such line that follows an empty line.
        counts: [COUNTS] int64, added to and carried from call to call.

    Returns:
        the number of wordpieces and of lines written.
    """
    slots, words, _ = memory
    word = np.empty(MAX_WORD + 1, np.int32)
    # The words that are looked up together; the end of a line is a word of size 0.
    word_starts = np.empty(TOGETHER, np.int64)
    word_sizes = np.empty(TOGETHER, np.int64)
    codes = np.empty(TOGETHER, np.uint64)
    near = uint64(0)
    at = 0
    found = 0
    start = 0
    line = 0
    line_at = 0
    while start < len(text):
        together = 0
        while together < TOGETHER and start < len(text):
            if text[start] == SPACE_BYTE:
                start += 1
                continue
            end, code = scan(units, start)
            word_starts[together] = start
            word_sizes[together] = end - start
            codes[together] = code
            together += 1
            start = end if end > start else start + 1
        # Load the slots into the CPU's cache, then the words that they point to.
        for i in range(together):
            near ^= slots[int64(codes[i] >> HALF) & (len(slots) - 1)]
        for i in range(together):
            near ^= words[int64(slots[int64(codes[i] >> HALF) & (len(slots) - 1)] & PLACE_MASK)]
        for i in range(together):
            begin = word_starts[i]
            size = word_sizes[i]
            if size == 0:
                counts[LINES] += 1
                if at > line_at:
                    lengths[found] = at - line_at
                    starts[found] = counts[PENDING]
                    counts[PENDING] = 0
                    found += 1
                elif _is_blank(text, line, begin):
                    counts[PENDING] = 1
                else:
                    counts[DROPPED_LINES] += 1
                line = begin + 1
                line_at = at
                continue
            place = slot = -1
            if size <= MAX_REMEMBERED:
                place, slot = find(units, begin, size, codes[i], memory)
            if place >= 0:
                head = int64(words[place])
                place += 1 + ((size + 7) >> 3)
                last = at + ((head >> 8) & 255)
                counts[WORD_COUNT] += head >> 16
                while at < last:
                    unit = int64(words[place])
                    place += 1
                    # Always three ids; the next word overwrites the surplus ones.
                    ids[at] = unit & 0x1FFFFF
                    ids[at + 1] = (unit >> 21) & 0x1FFFFF
                    ids[at + 2] = unit >> 42
                    at += 3
                at = last
                continue
            before = at
            at, split, replaced = _tokenize(text, begin, begin + size, tables, trie, word, ids, at)
            counts[REPLACED_BYTES] += replaced
            counts[WORD_COUNT] += split
            if replaced == 0 and slot >= 0:
                remember(units, begin, size, codes[i], slot, ids[before:at], split, memory)
    # Store the value, or the compiler would remove the loads.
    counts[NEAR] = int64(near)
    return at, found
