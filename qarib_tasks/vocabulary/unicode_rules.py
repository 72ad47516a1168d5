"""Reads `unicode_tables.txt`: what BERT's basic tokenizer does to each code point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

TABLES = Path(__file__).parents[1] / "vocabulary" / "unicode_tables.txt"


def rules(*, do_lower_case: bool) -> Iterator[tuple[str, int, int, str]]:
    """Yield (rule, first code point, last code point, value) of each line that applies.

    The header of `unicode_tables.txt` describes the rules. The rules "cased" and "lower" are yielded as
    "result".
    """
    mode = "lower" if do_lower_case else "cased"
    wanted = {"space": "space", "punctuation": "punctuation", mode: "result"}
    if do_lower_case:
        # Only NFD sorts marks.
        wanted |= {"reorder": "reorder", "join": "join"}
    for line in TABLES.read_text(encoding="ascii").splitlines():
        rule, _, rest = line.partition(" ")
        if rule in wanted:
            codes, _, value = rest.partition(" ")
            first, _, last = codes.partition("-")
            yield wanted[rule], int(first, 16), int(last or first, 16), value


def result_of(code: int, value: str) -> list[int]:
    """Return the code points for a "result" rule's value."""
    if value == "-":
        return []
    if value == "isolated":
        return [0x20, code, 0x20]
    if value == "hangul":
        # Unicode 3.12: leading consonant, vowel and, for syllables that have one, trailing consonant.
        syllable = code - 0xAC00
        trailing = syllable % 28
        return [0x1100 + syllable // 588, 0x1161 + syllable % 588 // 28] + [0x11A7 + trailing] * (
            trailing > 0
        )
    return [int(part, 16) for part in value.split()]
