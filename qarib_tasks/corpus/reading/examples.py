"""A few texts that each rule changed or dropped, for people to judge the rules by.

They depend only on the text: the same ones are kept by one process or many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from qarib_tasks.corpus.cleaning import SENTENCE_MARK

MOST_CHANGED = 3  # texts of a source, for each rule
MOST_DROPPED = 6
MOST = 8  # of a corpus, for each rule
CANDIDATES = 4  # of the texts that are dropped at once
MOST_CHARACTERS = 240  # of a text
BEFORE = 80  # characters that are shown before the first difference
WINDOW = 512  # characters that are compared at once
LINE_END = " ⏎ "


class Examples:
    """Collects texts: of each rule the first ones that it changed, and by hash some of those that it dropped.

    It reads little: as much text as there is to the next change, until a rule has enough texts.
    """

    def __init__(self) -> None:
        self._changed: dict[str, list[tuple[str, str]]] = {}
        self._dropped: dict[str, dict[bytes, str]] = {}

    def changed(self, rule: str, before: str, after: str) -> None:
        """Take note of what a rule changed. Both texts have the same number of lines."""
        found = self._changed.setdefault(rule, [])
        if missing := MOST_CHANGED - len(found):
            found += islice(changes(before, after), missing)

    def dropped(self, rule: str, texts: Sequence[str]) -> None:
        """Take note of lines that a rule dropped, as they were before cleaning, or of cleaned documents."""
        if not texts:
            return
        found = self._dropped.setdefault(rule, {})
        for text in texts[:CANDIDATES]:
            shown = _shown(text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…")
            found[hashlib.blake2b(shown.encode(), digest_size=8).digest()] = shown
        for surplus in sorted(found)[MOST_DROPPED:]:
            del found[surplus]

    def figures(self) -> dict[str, Any]:
        """For the statistics of a source: by rule, lists of [before, after] and of texts."""
        return {
            "changed_texts": {rule: [list(pair) for pair in pairs] for rule, pairs in self._changed.items()},
            "dropped_texts": {
                rule: [texts[key] for key in sorted(texts)] for rule, texts in self._dropped.items()
            },
        }


def joined(parts: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, list[list[str]]]:
    """The texts of a corpus by rule, each after the name of its source: in turns, of as many sources as fit.

    Args:
        parts: the texts by source and rule.
    """
    rules = sorted({rule for part in parts.values() for rule in part})
    return {rule: list(islice(_in_turns(parts, rule), MOST)) for rule in rules}


def _in_turns(parts: Mapping[str, Mapping[str, Sequence[Any]]], rule: str) -> Iterator[list[str]]:
    for turn in range(max(MOST_CHANGED, MOST_DROPPED)):
        for source, part in parts.items():
            texts = part.get(rule, ())
            if turn < len(texts):
                yield [source, *([texts[turn]] if isinstance(texts[turn], str) else texts[turn])]


def changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield the lines that differ, cut around the first difference."""
    old = new = 0
    while True:
        one, other = before[old : old + WINDOW], after[new : new + WINDOW]
        if one == other:
            if len(one) < WINDOW:
                return
            old, new = old + WINDOW, new + WINDOW
            continue
        same, end = 0, len(one)
        while same < end:
            middle = (same + end + 1) // 2
            if one[same:middle] == other[same:middle]:
                same = middle
            else:
                end = middle - 1
        old, new = old + same, new + same
        # Up to the difference, the two lines are equal.
        same = min(old - before.rfind("\n", 0, old) - 1, BEFORE)
        cut = "…" if before[old - same - 1 : old - same] not in ("", "\n") else ""
        ends = before.find("\n", old), after.find("\n", new)
        old_end, new_end = (
            len(text) if end < 0 else end for text, end in zip((before, after), ends, strict=True)
        )
        yield (
            cut + _shown(before[old - same : min(old_end, old - same + MOST_CHARACTERS)]),
            cut + _shown(after[new - same : min(new_end, new - same + MOST_CHARACTERS)]),
        )
        old, new = old_end + 1, new_end + 1


def _shown(text: str) -> str:
    """Return the text as a manifest can have it: without half of a surrogate pair, which JSON can hold."""
    return text.replace(SENTENCE_MARK, LINE_END).encode(errors="replace").decode()
