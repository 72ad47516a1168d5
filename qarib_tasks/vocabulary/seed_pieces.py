"""Finds the pieces of words that SentencePiece's unigram training starts from.

SentencePiece itself (Kudo 2018) finds them with a suffix array of the text, in which each word is repeated by
its frequency. This takes gigabytes of memory and most of its time, and keeps few of overlapping pieces. Over
distinct words, one sort per length of a piece is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST_PIECE = 16  # SentencePiece's max_sentencepiece_length
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def seed_pieces(words: Sequence[tuple[str, int]], mark: str, most: int) -> list[tuple[str, int]]:
    """Find substrings of two or more characters that occur at least twice, by length times frequency.

    Args:
        words: distinct words and their frequencies.
        mark: SentencePiece's mark of a word's start.
        most: maximum number of pieces.

    Returns:
        pieces and frequencies, by length times frequency, largest first; of equal ones, the piece of the
        earlier word first.
    """
    text = "".join(mark + word for word, _ in words)
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    lengths = np.array([len(word) + 1 for word, _ in words], dtype=np.int64)
    counts = np.repeat(np.array([count for _, count in words], dtype=np.int64), lengths)
    places = np.arange(len(codes), dtype=np.int64)
    left = np.repeat(np.cumsum(lengths), lengths) - places
    hashes = np.zeros(len(codes), dtype=np.uint64)
    found = []
    for length in range(1, LONGEST_PIECE + 1):
        places = places[left[places] >= length]
        if not len(places):
            break
        # The hash of the piece that starts at each place, from the hash of the piece one shorter.
        mixed = (hashes[places] ^ codes[places + length - 1]) * _FACTOR
        mixed ^= mixed >> np.uint64(29)
        hashes[places] = mixed
        if length == 1:
            continue
        order = np.argsort(mixed, kind="stable")
        ordered = mixed[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        frequency = np.add.reduceat(counts[places][order], starts)
        first = places[order][starts]
        twice = frequency > 1
        found.append(np.stack([first[twice], frequency[twice], np.full(twice.sum(), length)]))
    if not found:
        return []
    first, frequency, length = np.concatenate(found, axis=1)
    best = np.lexsort((length, first, -frequency * length))[:most]
    chosen = zip(first[best].tolist(), frequency[best].tolist(), length[best].tolist(), strict=True)
    return [(text[start : start + size], count) for start, count, size in chosen]
