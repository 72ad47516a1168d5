"""Signs in a sample of texts that they are not the text that was meant, such as numbers or labels."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence

from qarib_tasks.corpus.characters import ARABIC_LETTERS
from qarib_tasks.corpus.content.guessing import arabic_score
from qarib_tasks.counting import counted

MOST = 0.9  # share of the values, from which they are said to be of a kind
MOST_VALUES = 2000  # lines in which doubts are found
_LONGEST = 300  # characters of a line that count
_FEW = 20  # values that show nothing
_REPEATED = 0.1  # share of different values, below which they are labels
_ARABIC = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in ARABIC_LETTERS) + "]")
_IN_DATES = re.compile(
    r"\b(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b"
    r"|\b(?:[ap]m|utc|gmt|[a-z]{1,3}t)\b|(?<=\d)[tz]",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_SHOWN = 3


def sample_of(lines: Sequence[str]) -> list[str]:
    """Return the first lines that are not empty, cut, for `doubts`."""
    return [line[:_LONGEST] for line in lines[: 2 * MOST_VALUES] if line]


def doubts(values: Sequence[str]) -> list[str]:
    """Return what is suspicious about texts.

    Args:
        values: a sample of lines, none empty.
    """
    if not values:
        return []
    values = [html.unescape(value) if "&" in value else value for value in values]
    total, found = len(values), []
    numbers = sum(map(_is_number, values))
    arabic = sum(_ARABIC.search(value) is not None for value in values)
    words = sum(len(value.split()) == 1 for value in values)
    different = Counter(values)
    if numbers >= MOST * total:
        found.append(f"{_of(numbers, total)} {_be(numbers)} numbers or dates")
    elif words >= MOST * total:
        found.append(f"{_of(words, total)} {_be(words)} one word")
    if len(different) < _REPEATED * total and total >= _FEW:
        most = ", ".join(text[:30] for text, _ in different.most_common(_SHOWN))
        found.append(f"{total:,} lines have {counted(len(different), 'different value')}, mostly {most}")
    if not arabic:
        found.append(f"no line of {total:,} has Arabic letters")
    elif arabic < (1 - MOST) * total:
        found.append(f"only {_of(arabic, total)} with Arabic letters")
    return found


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _is_number(value: str) -> bool:
    return bool(_DIGIT.search(value)) and not _LETTER.search(_IN_DATES.sub("", value))


def _of(number: int, total: int) -> str:
    return f"{number:,} of {counted(total, 'line')}"


def most_arabic(names: Sequence[str], examples: Sequence[object]) -> str:
    """Return the column whose example looks most like a sentence in Arabic; "" if none does."""
    best, merit = "", 0.0
    for name, example in zip(names, examples, strict=False):
        if isinstance(example, str) and len(example.split()) > 1 and arabic_score(example) > 0:
            value = arabic_score(example) * min(len(example), 200)
            if value > merit:
                best, merit = name, value
    return best
