"""How well a vocabulary fits the tokenizer and a text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qarib_tasks.errors import InputError
from qarib_tasks.layout import TOKENIZER_CONFIG
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, load_vocab
from qarib_tasks.vocabulary.words import LONGEST_WORD, count_words, split

UNUSED = re.compile(r"\[UNUSED_\d+\]|\[unused\d+\]")


@dataclass(frozen=True)
class VocabularyReport:
    """What there is to say of one vocabulary.

    Attributes:
        entries: how many.
        placeholders: `[UNUSED_i]` among them; they and the special tokens are never dead.
        dead: entries that the tokenizer cannot make of any text.
        words, wordpieces: of the text; words as the tokenizer splits them, punctuation marks among them.
        unknown: wordpieces that are [UNK].
        never_used: living entries that the text does not use.
        unknown_words: the words that become [UNK] and how often, the most frequent first.
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
    def wordpieces_a_word(self) -> float:
        return self.wordpieces / self.words if self.words else 0.0


def report(vocab: Path, text: Path, *, do_lower_case: bool) -> VocabularyReport:
    """Compare a vocabulary with the tokenizer and a text.

    Raises:
        InputError: a file is missing, or the vocabulary is none.
    """
    if not text.is_file():
        raise InputError("no such file", where=text)
    return report_of(load_vocab(vocab), count_words(text, do_lower_case=do_lower_case)[2], do_lower_case)


def report_of(entries: Sequence[str], words: Counter[str], do_lower_case: bool) -> VocabularyReport:
    """The report on entries, for words that are counted already."""
    known = set(entries)
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
    dead = dead_entries(entries, do_lower_case=do_lower_case)
    set_aside = {*dead, *SPECIAL_TOKENS, *filter(UNUSED.fullmatch, entries)}
    lost = sum(unknown.values())
    return VocabularyReport(
        entries=len(entries),
        placeholders=sum(1 for entry in entries if UNUSED.fullmatch(entry)),
        dead=dead,
        words=sum(words.values()),
        wordpieces=sum(used.values()) + lost,
        unknown=lost,
        never_used=[entry for entry in entries if entry not in used and entry not in set_aside],
        unknown_words=sorted(unknown.items(), key=lambda item: (-item[1], item[0])),
    )


def wordpieces(word: str, entries: set[str], longest: int) -> list[str]:
    """The longest entry that fits at each place (google-research/bert, WordpieceTokenizer); [] for [UNK]."""
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
    """Entries that no text gives: the normalizer changes or splits them, or a longer entry always wins.

    An entry that begins words lives if it, as text, is one word: the longest entry that fits is itself. One
    that continues words lives if some word leads to it; words of one or two entries before it are tried.
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


def _reached(entry: str, tail: str, heads: list[str], known: set[str], longest: int) -> bool:
    for head in heads:
        if wordpieces(head + tail, known, longest)[1:] == [entry]:
            return True
    starts = (head + middle for head in heads for middle in heads)
    return any(wordpieces(start + tail, known, longest)[-1:] == [entry] for start in starts)


def lower_case_of(vocab: Path) -> bool | None:
    """What `tokenizer_config.json` beside a vocabulary says of lower case; None where there is none."""
    path = vocab.with_name(TOKENIZER_CONFIG)
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("do_lower_case")
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    return value if isinstance(value, bool) else None


def side_by_side(reports: Sequence[VocabularyReport], names: Sequence[str], examples: int = 10) -> str:
    """The reports as a table, and examples below it."""
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
        ("wordpieces a word", [f"{r.wordpieces_a_word:.4f}" for r in reports]),
        ("[UNK] of wordpieces", [f"{r.unknown_share:.4%}" for r in reports]),
    ]
    width = max(20, *map(len, names)) + 2
    lines = [" " * 22 + "".join(name.rjust(width) for name in names)]
    lines += [name.ljust(22) + "".join(cell.rjust(width) for cell in cells) for name, cells in rows]
    for r, name in zip(reports, names, strict=True):
        unknown = "  ".join(f"{word} {count:,}" for word, count in r.unknown_words[:examples])
        lines += [
            "",
            name,
            f"  dead: {'  '.join(r.dead[:examples]) or 'none'}",
            f"  never used: {'  '.join(r.never_used[:examples]) or 'none'}",
            f"  unknown words: {unknown or 'none'}",
        ]
    return "\n".join(lines)
