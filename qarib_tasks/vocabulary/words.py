"""Counts the words of a text as BERT's tokenizer sees them.

The tokenizer's own normalizer and pre-tokenizer process the text (Devlin et al. 2019; google-research/bert
`tokenization.py`). Both examine one character at a time, so a space-separated word results in the same words
wherever it occurs: each distinct one is normalized once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import islice
from pathlib import Path

from qarib_tasks.corpus.sampling import sample
from qarib_tasks.progress import progress

LONGEST_WORD = 200  # BERT's wordpiece tokenizer makes longer ones [UNK]
LINES = 50_000  # counted at once
_WORDS = 100_000  # normalized at once


@cache
def _tables(do_lower_case: bool) -> tuple[Mapping[int, str], re.Pattern[str] | None]:
    """Return a table for `str.translate`, and a pattern of marks that it cannot handle.

    The normalizer sorts these marks.
    """
    from qarib_tasks.vocabulary.unicode_rules import result_of, rules

    table: dict[int, str] = {}
    marks: list[tuple[int, int]] = []
    spans = list(rules(do_lower_case=do_lower_case))
    for rule, first, last, value in spans:
        if rule == "result":
            table.update({code: "".join(map(chr, result_of(code, value))) for code in range(first, last + 1)})
        elif rule == "reorder":
            marks.append((first, last))
    spaces = {code for rule, first, last, _ in spans if rule == "space" for code in range(first, last + 1)}
    punctuation = {
        chr(code)
        for rule, first, last, _ in spans
        if rule == "punctuation"
        for code in range(first, last + 1)
    }
    for code, text in list(table.items()):
        table[code] = "".join(f" {char} " if char in punctuation else char for char in text)
    table = dict.fromkeys(spaces, " ") | {ord(char): f" {char} " for char in punctuation} | table
    # A line feed keeps the words apart while many are translated at once.
    table[0x0A] = "\n"
    pattern = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in marks) + "]") if marks else None
    return table, pattern


def split(word: str, *, do_lower_case: bool) -> list[str]:
    """Return the tokenizer's words of a text without line feeds."""
    table, marks = _tables(do_lower_case)
    if marks and marks.search(word):
        return _exactly(word, do_lower_case)
    return [part for part in word.translate(table).split(" ") if part]


def _exactly(word: str, do_lower_case: bool) -> list[str]:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normal = BertNormalizer(lowercase=do_lower_case).normalize_str(word)
    return [part for part, _ in BertPreTokenizer().pre_tokenize_str(normal)]


def normalized(raw: Mapping[str, int], *, do_lower_case: bool) -> Counter[str]:
    """Return the counts of the tokenizer's words, from the counts of space-separated words."""
    table, marks = _tables(do_lower_case)
    words: Counter[str] = Counter()
    get = words.get
    items = iter(raw.items())
    while some := list(islice(items, _WORDS)):
        text = "\n".join([word for word, _ in some])
        results = text.translate(table).split("\n")
        sorts = bool(marks and marks.search(text))
        for (word, count), result in zip(some, results, strict=True):
            parts = result.split(" ")
            if sorts and marks and marks.search(word):
                parts = _exactly(word, do_lower_case)
            for part in parts:
                if part:
                    words[part] = get(part, 0) + count
    return words


def count_words(
    data: Path, *, do_lower_case: bool, sample_lines: int | None = None, random_seed: int = 0
) -> tuple[int, int, Counter[str]]:
    """Count the tokenizer's words in the non-blank lines of a text, or in a uniform sample of them.

    Returns:
        number of lines, number of lines in the sample, count of each word.
    """
    with data.open("rb") as file:
        total = sum(1 for line in file if not line.isspace())
    chosen = total if sample_lines is None else sample_lines
    words: Counter[str] = Counter()
    with (
        data.open(encoding="utf-8", errors="replace", newline="\n") as file,
        progress("count words", data.stat().st_size, "bytes") as advance,
    ):
        # As the tokenizer's reader does it: only a line feed ends a line.
        text = (line for line in file if not line.isspace())
        sampled = sample(total, chosen, random_seed)
        if chosen < total:
            text = (line for line, wanted in zip(text, sampled, strict=True) if wanted)
        raw: Counter[str] = Counter()
        while lines := list(islice(text, LINES)):
            block = "".join(lines)
            raw.update(block.split())
            advance(2 * len(block))
            if len(raw) > 10 * _WORDS:
                # With diacritics and punctuation, a word has many forms; normalizing bounds the memory.
                words.update(normalized(raw, do_lower_case=do_lower_case))
                raw.clear()
        words.update(normalized(raw, do_lower_case=do_lower_case))
    return total, min(total, chosen), words
