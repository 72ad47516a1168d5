"""BERT's tokenizer (google-research/bert, tokenization.py), on committed Unicode tables.

Nothing here asks the interpreter about a character: Python's `unicodedata` changes from version to version,
and with it the tokens. `unicode_tables.txt` holds what the pinned `tokenizers` library does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLES = Path(__file__).with_name("unicode_tables.txt")
MAX_INPUT_CHARS_PER_WORD = 200
HANGUL_FIRST = 0xAC00


@dataclass(frozen=True)
class CharacterTables:
    """What becomes of each code point.

    Attributes:
        results: the text that a code point is replaced by; those not named stay.
        space: code points that split words.
        punctuation: code points that are words of their own.
        reorder: canonical combining class of the marks that are sorted, and not stripped.
        join: removed code points that such marks are sorted across.
    """

    results: Mapping[int, str]
    space: frozenset[int]
    punctuation: frozenset[int]
    reorder: Mapping[int, int]
    join: frozenset[int]

    @classmethod
    @cache
    def load(cls, *, do_lower_case: bool) -> CharacterTables:
        """Read `unicode_tables.txt`; the format is described in its head."""
        mode = "lower" if do_lower_case else "cased"
        results: dict[int, str] = {}
        sets: dict[str, set[int]] = {"space": set(), "punctuation": set(), "join": set()}
        reorder = {}
        for line in TABLES.read_text(encoding="ascii").splitlines():
            rule, _, rest = line.partition(" ")
            codes, _, value = rest.partition(" ")
            if rule not in {*sets, mode, "reorder"}:
                continue
            if rule == "reorder":
                reorder[int(codes, 16)] = int(value)
                continue
            first, last = (int(code, 16) for code in codes.split("-"))
            if rule in sets:
                sets[rule].update(range(first, last + 1))
                continue
            for code in range(first, last + 1):
                results[code] = _result(code, value)
        if not do_lower_case:
            reorder, sets["join"] = {}, set()
        return cls(
            results,
            frozenset(sets["space"]),
            frozenset(sets["punctuation"]),
            reorder,
            frozenset(sets["join"]),
        )

    def split(self, text: str) -> list[str]:
        """Normalize a text and split it into words and punctuation marks, as BERT's BasicTokenizer does."""
        if self.reorder:
            text = self._sort_marks(text)
        normalized = "".join([self.results.get(ord(char), char) for char in text])
        words = [""]
        for char in normalized:
            if ord(char) in self.space:
                words.append("")
            elif ord(char) in self.punctuation:
                words += [char, ""]
            else:
                words[-1] += char
        return [word for word in words if word]

    def _sort_marks(self, text: str) -> str:
        """Canonical ordering, of the few marks that are there to be seen afterwards.

        Runs are looked for in the text without removed control characters, as NFD comes after the clean-up.
        """
        if not any(ord(char) in self.reorder for char in text):
            return text
        result: list[str] = []
        run: list[str] = []
        for char in text:
            code = ord(char)
            if code in self.reorder:
                run.append(char)
            elif code not in self.join:
                result += sorted(run, key=lambda mark: self.reorder[ord(mark)])
                run = []
                result.append(char)
        return "".join(result + sorted(run, key=lambda mark: self.reorder[ord(mark)]))


def _result(code: int, value: str) -> str:
    if value == "-":
        return ""
    if value == "isolated":
        return f" {chr(code)} "
    if value == "hangul":
        # Unicode 3.12: leading consonant, vowel and, for syllables that have one, trailing consonant.
        syllable = code - HANGUL_FIRST
        trailing = syllable % 28
        jamo = [0x1100 + syllable // 588, 0x1161 + syllable % 588 // 28] + [0x11A7 + trailing] * (
            trailing > 0
        )
        return "".join(map(chr, jamo))
    return "".join(chr(int(part, 16)) for part in value.split())
