"""Measures how well a vocabulary fits the tokenizer and a text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from qarib_tasks.errors import QaribError
from qarib_tasks.layout import TOKENIZER_CONFIG
from qarib_tasks.storage.files import require_file
from qarib_tasks.storage.regular_files import read_settings_text
from qarib_tasks.storage.side_files import tokenizer_files_of
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, ids_of, load_vocab
from qarib_tasks.vocabulary.words import LONGEST_WORD, count_words, split

UNUSED = re.compile(r"\[UNUSED_\d+\]|\[unused\d+\]")


@dataclass(frozen=True)
class VocabularyReport:
    """The report on one vocabulary.

    Attributes:
        entries: number of lines.
        placeholders: number of `[UNUSED_i]` entries; these and the special tokens never count as dead.
        dead: entries that the tokenizer cannot produce from any text, and lines that a later line repeats.
        words, wordpieces: numbers for the text; words as the tokenizer splits them, including punctuation.
        unknown: number of wordpieces that are [UNK].
        never_used: entries that are not dead, but that the text does not use.
        unknown_words: the words that become [UNK] and their frequencies, the most frequent first.
    """

    entries: int
    placeholders: int
    dead: Sequence[str]
    words: int
    wordpieces: int
    unknown: int
    never_used: Sequence[str]
    unknown_words: Sequence[tuple[str, int]]

    @property
    def unknown_share(self) -> float:
        return self.unknown / self.wordpieces if self.wordpieces else 0.0

    @property
    def wordpieces_per_word(self) -> float:
        return self.wordpieces / self.words if self.words else 0.0


def report(vocab: Path, text: Path, *, do_lower_case: bool) -> VocabularyReport:
    """Compare a vocabulary with the tokenizer and a text.

    Raises:
        InputError: a file is missing, or the vocabulary is invalid.
    """
    require_file(text)
    return report_of(load_vocab(vocab), count_words(text, do_lower_case=do_lower_case)[2], do_lower_case)


def report_of(entries: Sequence[str], words: Counter[str], do_lower_case: bool) -> VocabularyReport:
    """Return the report on entries, for words that are already counted."""
    known = ids_of(entries)
    longest = max(map(len, entries))
    used: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for word, count in words.items():
        pieces = wordpieces(word, known, longest)
        if pieces:
            for piece in pieces:
                used[piece] += count
        else:
            unknown[word] = count
    dead = dead_entries(list(known), do_lower_case=do_lower_case)
    repeated = [entry for number, entry in enumerate(entries) if known[entry] != number]
    set_aside = {*dead, *SPECIAL_TOKENS, *filter(UNUSED.fullmatch, entries)}
    lost = sum(unknown.values())
    return VocabularyReport(
        entries=len(entries),
        placeholders=sum(1 for entry in entries if UNUSED.fullmatch(entry)),
        dead=[*dead, *repeated],
        words=sum(words.values()),
        wordpieces=sum(used.values()) + lost,
        unknown=lost,
        never_used=[entry for entry in known if entry not in used and entry not in set_aside],
        unknown_words=sorted(unknown.items(), key=lambda item: (-item[1], item[0])),
    )


def wordpieces(word: str, entries: Container[str], longest: int) -> list[str]:
    """Split a word greedily, longest entry first (google-research/bert, WordpieceTokenizer); [] for [UNK]."""
    if len(word) > LONGEST_WORD:
        return []
    pieces, start, prefix = [], 0, ""
    while start < len(word):
        end = min(len(word), start + longest)
        while end > start and prefix + word[start:end] not in entries:
            end -= 1
        if end == start:
            return []
        pieces.append(prefix + word[start:end])
        start, prefix = end, "##"
    return pieces


def dead_entries(entries: Sequence[str], *, do_lower_case: bool) -> list[str]:
    """Return entries that no text produces: the normalizer changes them, or a longer entry always fits.

    An entry that starts words is alive if it, as text, is one word: it is then the longest entry that fits.
    An entry that continues words is alive if some word produces it; words with one or two entries before it
    are tried.
    """
    known, longest = set(entries), max(map(len, entries))
    heads = [e for e in entries if len(e) == 1 and split(e + "a", do_lower_case=do_lower_case) == [e + "a"]]
    dead = []
    for entry in entries:
        if entry in SPECIAL_TOKENS or UNUSED.fullmatch(entry):
            continue
        if not entry.startswith("##") or entry == "##":
            lives = split(entry, do_lower_case=do_lower_case) == [entry] and len(entry) <= LONGEST_WORD
        else:
            tail = entry[2:]
            word = f"a{tail}"
            lives = split(word, do_lower_case=do_lower_case) == [word] and _reached(
                entry, tail, heads, known, longest
            )
        if not lives:
            dead.append(entry)
    return dead


def _reached(entry: str, tail: str, heads: list[str], known: Container[str], longest: int) -> bool:
    for head in heads:
        if wordpieces(head + tail, known, longest)[1:] == [entry]:
            return True
    starts = (head + middle for head in heads for middle in heads)
    return any(wordpieces(start + tail, known, longest)[-1:] == [entry] for start in starts)


def lower_case_of(vocab: Path) -> bool | None:
    """Return `do_lower_case` of the tokenizer's settings beside a vocabulary; None if it has none."""
    path = tokenizer_files_of(vocab)[1]
    if not path.is_file():
        path = vocab.with_name(TOKENIZER_CONFIG)
    try:
        value = json.loads(read_settings_text(path)).get("do_lower_case")
    except (OSError, ValueError, AttributeError, RecursionError, QaribError):
        return None
    return value if isinstance(value, bool) else None


def side_by_side(reports: Sequence[VocabularyReport], names: Sequence[str], examples: int = 10) -> str:
    """Return the reports as a table, followed by examples."""
    rows: list[tuple[str, list[str]]] = [
        ("entries", [f"{r.entries:,}" for r in reports]),
        ("placeholders", [f"{r.placeholders:,}" for r in reports]),
        ("dead entries", [f"{len(r.dead):,} ({len(r.dead) / r.entries:.2%})" for r in reports]),
        (
            "entries never used",
            [f"{len(r.never_used):,} ({len(r.never_used) / r.entries:.2%})" for r in reports],
        ),
        ("words", [f"{r.words:,}" for r in reports]),
        ("wordpieces", [f"{r.wordpieces:,}" for r in reports]),
        ("wordpieces per word", [f"{r.wordpieces_per_word:.4f}" for r in reports]),
        ("[UNK] share", [f"{r.unknown_share:.4%}" for r in reports]),
    ]
    width = max(20, *map(len, names)) + 2
    lines = [" " * 22 + "".join(name.rjust(width) for name in names)]
    lines += [name.ljust(22) + "".join(cell.rjust(width) for cell in cells) for name, cells in rows]
    for r, name in zip(reports, names, strict=True):
        unknown = "  ".join(f"{word} {count:,}" for word, count in r.unknown_words[:examples])
        lines += [
            "",
            name,
            f"  dead: {'  '.join(entry or '(empty)' for entry in r.dead[:examples]) or 'none'}",
            f"  never used: {'  '.join(r.never_used[:examples]) or 'none'}",
            f"  unknown words: {unknown or 'none'}",
        ]
    return "\n".join(lines)
