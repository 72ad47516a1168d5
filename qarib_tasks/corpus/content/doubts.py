"""Signs in a sample of texts that they are not the text that was meant, such as numbers or labels."""

from __future__ import annotations

import html
import re
import unicodedata
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
# The longer patterns are compiled by the first line that may match.
_IN_DATES = (
    r"(?i:\b(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b"
    r"|\b(?:[ap]m|utc|gmt|[a-z]{1,3}t)\b|(?<=\d)[tz])"
)
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_SHOWN = 3
_REMAINS = 0.1  # share of the lines
# Tags with these names; words in angle brackets, such as <user>, are text.
_TAG = (
    r"(?i:</?(a|abbr|article|b|blockquote|body|br|button|center|cite|code|div|em|figure|font|footer|form|h[1-6]|head|"
    r"header|hr|html|i|iframe|img|input|label|li|link|main|meta|nav|ol|option|p|pre|script|section|small|span|"
    r"strong|style|sub|sup|table|tbody|td|th|thead|title|tr|u|ul|video)(?:\s[^<>]*|\s*/)?(?:>|\Z))"
)
_OPENING = ("[", "(", "{")
_STRING = r"[bu]?(?:'(?:[^'\\]|\\.)*(?:'|\Z)|\"(?:[^\"\\]|\\.)*(?:\"|\Z))"
# A list or tuple of strings, or a dict with a string first.
_PYTHON = rf"\[\s*{_STRING}\s*(?:,?\s*{_STRING}|\]|\Z)|\(\s*{_STRING}\s*,|\{{\s*{_STRING}\s*[:,]"
_ORDERED = 200  # lines in which the order of the letters is looked at
_WORD = re.compile("[\u0621-\u065f\u0671-\u06d3]+")
_MARKS = re.compile("[\u0640\u064b-\u065f]")
_FINAL = "ةى"
_FEWEST, _CLEARLY = 2, 5


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
    found += _remains(values)
    if _is_reversed(values):
        found.append("the letters are in visual order, the last one of each line first")
    if not arabic:
        found.append(f"no line of {total:,} has Arabic letters")
    elif arabic < (1 - MOST) * total:
        found.append(f"only {_of(arabic, total)} with Arabic letters")
    return found


def _remains(values: Sequence[str]) -> list[str]:
    """Return of which other format many lines have remains."""
    tags: Counter[str] = Counter()
    tagged = listed = lost = 0
    for value in values:
        if "<" in value and (found := re.findall(_TAG, value)):
            tagged += 1
            tags.update(f"<{name.lower()}>" for name in set(found))
        lost += value.count("??") > 1 and _is_lost(value)
        listed += value[:1] in _OPENING and re.match(_PYTHON, value) is not None
    said = []
    if tagged >= _REMAINS * len(values):
        most = ", ".join(tag for tag, _ in tags.most_common(_SHOWN))
        have = "has" if tagged == 1 else "have"
        said.append(f"{_of(tagged, len(values))} {have} tags of HTML, such as {most}, which no rule removes")
    if listed >= _REMAINS * len(values):
        said.append(f"{_of(listed, len(values))} {_be(listed)} written as lists, tuples or dicts of Python")
    if lost >= _REMAINS * len(values):
        said.append(f"{_of(lost, len(values))} {_be(lost)} question marks in the place of letters")
    return said


def _is_lost(value: str) -> bool:
    """Return whether a line is words of question marks, for letters that an encoding does not have."""
    words = value.split()
    lost = sum("??" in word for word in words)
    return lost > 1 and all("?" in word for word in words) and not any(map(str.isalnum, value))


def _is_reversed(values: Sequence[str]) -> bool:
    """Return whether the letters of Arabic text are in the reverse order, as some PDF files give them.

    In the right order, no word begins with a teh marbuta or alef maksura, and many begin with the article.
    """
    text = unicodedata.normalize("NFKC", "\n".join(values[:_ORDERED]))
    words = [_MARKS.sub("", word) for word in _WORD.findall(text)]
    words = [word for word in words if len(word) > 2]
    begin = sum(word[0] in _FINAL for word in words)
    backward = begin + sum(word.endswith("لا") for word in words)
    forward = sum((word[-1] in _FINAL) + word.startswith("ال") for word in words)
    return begin >= _FEWEST and backward > _CLEARLY * forward


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _is_number(value: str) -> bool:
    return bool(_DIGIT.search(value)) and not _LETTER.search(re.sub(_IN_DATES, "", value))


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
