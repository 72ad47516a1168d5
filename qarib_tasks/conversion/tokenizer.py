"""BERT's tokenizer (google-research/bert, tokenization.py), with committed Unicode tables.

The tokenizer does not use Python's `unicodedata`, which differs between Python versions and would change the
tokens. `unicode_tables.txt` has the rules of the pinned `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from qarib_tasks.vocabulary.file import ids_of
from qarib_tasks.vocabulary.unicode_rules import result_of, rules

CODE_POINTS = 0x110000


def in_units(text: bytes) -> tuple[Any, Any]:
    """A copy of the text as [bytes] uint8, and the same memory, padded with zeros, as uint64."""
    units = np.zeros(len(text) // 8 + 2, np.uint64)
    units.view(np.uint8)[: len(text)] = np.frombuffer(text, np.uint8)
    return units.view(np.uint8)[: len(text)], units


class Tokenizer:
    """The compiled tokenizer's tables for one vocabulary.

    Attributes:
        entries: the vocabulary.
        continues: [entries] bool, whether an entry continues a word ("##").
        distinct: [distinct entries] int32, their ids in the order of their first lines, as the reference
            draws random words from them.
    """

    def __init__(self, entries: Sequence[str], *, do_lower_case: bool) -> None:
        self.entries = entries
        self.continues = np.array([entry.startswith("##") for entry in entries])
        self._ids = ids_of(entries)
        self.distinct = np.array(list(self._ids.values()), np.int32)
        # See compiled.text.
        self.tables = _tables(do_lower_case)
        self.trie = _trie(entries, self.continues, self._ids["[UNK]"])

    def id(self, entry: str) -> int:
        """The id of an entry of the vocabulary.

        Raises:
            KeyError: the vocabulary has no such entry.
        """
        return self._ids[entry]

    def new_memory(self, size: int) -> tuple[Any, ...]:
        """Memory for the words of `size` bytes of text: at most a million, in 48 MB of bytes and ids."""
        slots = 1 << min(21, max(1, size).bit_length())
        return np.zeros(slots, np.uint64), np.zeros(3 * slots, np.uint64), np.zeros(2, np.int64)

    def ids(self, text: str) -> list[int]:
        """The wordpiece ids of one line of text. Not optimized for speed: for tests and inspection."""
        from qarib_tasks.conversion.compiled.text import COUNTS, read_lines

        line, units = in_units(text.replace("\n", " ").encode(errors="replace") + b"\n")
        ids = np.empty(len(line) + 3, np.int32)
        memory = (np.zeros(2, np.uint64), np.zeros(1, np.uint64), np.zeros(2, np.int64))
        lengths, starts = np.empty(1, np.int32), np.empty(1, np.uint8)
        counts = np.zeros(COUNTS, np.int64)
        found, _ = read_lines(line, units, self.tables, self.trie, memory, ids, lengths, starts, counts)
        return [int(number) for number in ids[:found]]


@cache
def _tables(do_lower_case: bool) -> tuple[Any, ...]:
    from qarib_tasks.conversion.compiled.text import BREAK, JOIN, MAPPED, MARK, PUNCTUATION, SPACE, WORD

    plain = np.full(CODE_POINTS, WORD, np.uint8)
    result = np.zeros(CODE_POINTS, np.int32)
    joining = np.zeros(CODE_POINTS, bool)
    results = []
    for rule, first, last, value in rules(do_lower_case=do_lower_case):
        span = slice(first, last + 1)
        if rule == "result":
            results.append((first, last, value))
        elif rule == "join":
            joining[span] = True
        elif rule == "reorder":
            plain[span] = MARK
            result[span] = int(value)
        else:
            plain[span] = SPACE if rule == "space" else PUNCTUATION
    kind = plain.copy()
    pool: list[int] = []
    for first, last, value in results:
        span = slice(first, last + 1)
        if value == "-":
            kind[span] = np.where(joining[span], JOIN, BREAK)
        elif value == "0020":
            kind[span] = SPACE
        elif value == "isolated" and (plain[span] == WORD).all():
            # A separate word, like punctuation.
            kind[span] = PUNCTUATION
        else:
            kind[span] = MAPPED
            for code in range(first, last + 1):
                codes = result_of(code, value)
                result[code] = len(pool)
                pool += [len(codes), *(int(plain[c]) << 24 | c for c in codes)]
    # The reference's reader drops every CR before the tokenizer can treat it as a space.
    kind[0x0D] = JOIN
    return (kind, result, np.array(pool or [0], np.int32))


def _trie(entries: Sequence[str], continues: Any, unknown: int) -> tuple[Any, ...]:
    from qarib_tasks.conversion.compiled.text import build_trie

    stripped = [entry[2:] if entry.startswith("##") else entry for entry in entries]
    offsets = np.cumsum([0, *map(len, stripped)]).astype(np.int64)
    codes = np.frombuffer("".join(stripped).encode("utf-32-le"), np.uint32).astype(np.int64)
    size = 1 << int(2 * len(codes) + 2).bit_length()
    trie = (
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int32),
        np.full(len(codes) + 2, -1, np.int32),
        np.array([unknown], np.int32),
    )
    build_trie(codes, offsets, continues, trie)
    return trie
