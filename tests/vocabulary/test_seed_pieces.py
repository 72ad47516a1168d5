"""What the training of a vocabulary begins with."""

from __future__ import annotations

from collections import Counter

from qarib_tasks.vocabulary.seed_pieces import seed_pieces


def test_seed_pieces_are_the_substrings_that_are_there_twice() -> None:
    words = [("aba", 3), ("ab", 1), ("cabab", 1), ("once", 1)]
    expected: Counter[str] = Counter()
    for word, count in words:
        marked = "_" + word
        for start in range(len(marked)):
            for end in range(start + 2, len(marked) + 1):
                expected[marked[start:end]] += count
    found = seed_pieces(words, "_", 1000)
    assert dict(found) == {piece: count for piece, count in expected.items() if count > 1}
    scores = [len(piece) * count for piece, count in found]
    assert scores == sorted(scores, reverse=True)
    assert seed_pieces(words, "_", 3) == found[:3]
    assert seed_pieces([("a", 1)], "_", 3) == []
