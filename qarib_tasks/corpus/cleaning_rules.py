"""The cleaning rules that change text, one function per rule.

To add one, also enter it in `Cleaner.RULES` (`cleaning.py`) and in `RuleName` (`config/corpus.py`). The rules
that split text into sentences or drop lines are in `cleaning.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from qarib_tasks.corpus.characters import (
    ARABIC_LETTERS,
    CODE_POINTS,
    EMOJI,
    OTHER_LETTERS,
    REGIONAL,
    SKIN_TONES,
    characters,
    control_characters,
    html_entities,
    membership,
)

if TYPE_CHECKING:
    import numpy as np

URL_PLACEHOLDER = "URL"
MENTION_PLACEHOLDER = "@USER"
LONGEST_REPEAT = 2  # of a letter; in no Arabic word does a letter occur three times in a row
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# A pattern that begins with a literal is searched many times faster than an alternative of two.
_REST_OF_URL = r"[^\s<>\"«»،؛]+"
_URLS = tuple(re.compile(start + _REST_OF_URL) for start in ("http://", "https://", r"www\."))
# An email address is not a mention: the character before the @ decides.
_MENTION = re.compile(r"@(?<![A-Za-z0-9_+-]@)(?!USER(?![A-Za-z0-9_]))[A-Za-z0-9_]+")
# prepare_vocab.py: puts spaces around emoji, then replaces each run of characters that are neither word
# characters nor emoji by a space, then each underscore.
_PUBLISHED_EMOJI = "\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\u2600-\u27bf"
_PUBLISHED_APART = re.compile(f"[{_PUBLISHED_EMOJI}]")
_PUBLISHED_GONE = re.compile(f"[^\\w \n{_PUBLISHED_EMOJI}]")
_PUBLISHED_OTHER = re.compile(f"[^\\w\n{_PUBLISHED_EMOJI}]+")


class Text:
    """Lines joined by line feeds, with cached properties for the rules."""

    def __init__(self, text: str, maybe: set[str] | None = None) -> None:
        self.text = text
        self._maybe = maybe

    @cached_property
    def codes(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """The code points, uint32 [characters]."""
        import numpy as np

        return np.frombuffer(self.text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)

    @cached_property
    def present(self) -> set[str]:
        """The distinct characters, and possibly some that were removed."""
        import numpy as np

        if self._maybe is not None:
            return self._maybe
        return set(map(chr, np.flatnonzero(np.bincount(self.codes)).tolist()))

    def replaced(self, table: Mapping[str, str]) -> tuple[Text, int]:
        """Replace every character of the table; return the text and the number of replacements."""
        found = [char for char in self.present if char in table]
        text, count, new = self.text, 0, self.present.copy()
        # No result of any table is itself in that table, so the order does not matter.
        for char in sorted(found):
            if number := text.count(char):
                count += number
                text = text.replace(char, table[char])
                new.update(table[char])
            new.discard(char)
        return (Text(text, new), count) if count else (self, 0)


TextRule = Callable[[Text], tuple[Text, int]]


def table_rule(table: Callable[[], Mapping[str, str]]) -> TextRule:
    return lambda text: text.replaced(table())


def entities(text: Text) -> tuple[Text, int]:
    """Replace HTML entities such as `&amp;`. Control characters that result are cleaned at once."""
    if "&" not in text.text:
        return text, 0
    names, control = html_entities(), control_characters()

    def character(match: re.Match[str]) -> str:
        name = match[1]
        if name[0] != "#":
            found = names.get(name)
            if found is None:
                return match[0]
        else:
            code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
            # HTML reads the codes 128 to 159 as Windows-1252.
            found = bytes([code]).decode("cp1252", "ignore") if 128 <= code < 160 else None
            found = found if found is not None else chr(code) if 0 < code < 0x110000 else "\ufffd"
        return "".join([control.get(char, char) for char in found]).replace("\n", " ")

    result, count = _ENTITY.subn(character, text.text)
    return (Text(result), count) if count and result != text.text else (text, 0)


def elongation(text: Text) -> tuple[Text, int]:
    """Shorten runs of three or more of the same Arabic letter to two."""
    import numpy as np

    codes = text.codes
    if len(codes) <= LONGEST_REPEAT:
        return text, 0
    surplus = codes[LONGEST_REPEAT:] == codes[:-LONGEST_REPEAT]
    for distance in range(1, LONGEST_REPEAT):
        surplus &= codes[LONGEST_REPEAT:] == codes[distance : distance - LONGEST_REPEAT]
    places = np.flatnonzero(surplus) + LONGEST_REPEAT
    places = places[arabic_letters()[codes[places]]]
    if not len(places):
        return text, 0
    kept = np.delete(codes, places).tobytes().decode("utf-32-le", errors="surrogatepass")
    return Text(kept, text.present), len(places)


def urls(text: Text) -> tuple[Text, int]:
    result, total = text.text, 0
    for start, pattern in zip(("http:", "https:", "www."), _URLS, strict=True):
        if start in result:
            result, count = pattern.subn(URL_PLACEHOLDER, result)
            total += count
    return (Text(result, text.present | set(URL_PLACEHOLDER)), total) if total else (text, 0)


def mentions(text: Text) -> tuple[Text, int]:
    if "@" not in text.text:
        return text, 0
    result, count = _MENTION.subn(MENTION_PLACEHOLDER, text.text)
    return (Text(result, text.present | set(MENTION_PLACEHOLDER)), count) if count else (text, 0)


def emoji(text: Text) -> tuple[Text, int]:
    """Put spaces around every emoji: the tokenizer otherwise treats it as a letter of the adjacent word.

    A skin tone stays with its emoji, and the two letters of a flag stay together.
    """
    import numpy as np

    if text.present.isdisjoint(_emoji_characters()):
        return text, 0
    codes, kinds = text.codes, _emoji_kinds()
    places = np.flatnonzero(kinds[codes])
    if not len(places):
        return text, 0
    kind, before = kinds[codes[places]], codes[places - 1]
    after = codes[np.minimum(places + 1, len(codes) - 1)]
    follows = np.diff(places, prepend=-2) == 1
    previous = np.concatenate([[0], kind[:-1]])
    toned = follows & (kind == _TONE) & (previous != _FLAG)
    in_flags = follows & (kind == _FLAG) & (previous == _FLAG)
    order = np.arange(len(places))
    second = in_flags & ((order - np.maximum.accumulate(np.where(in_flags, 0, order))) % 2 == 1)
    space, line = ord(" "), ord("\n")
    apart_before = (places > 0) & (before != space) & (before != line) & ~toned & ~second
    apart_after = (places + 1 < len(codes)) & (after != space) & (after != line) & (kinds[after] == 0)
    gaps = np.concatenate([places[apart_before], places[apart_after] + 1])
    if not len(gaps):
        return text, 0
    result = np.insert(codes, gaps, space).tobytes().decode("utf-32-le", errors="surrogatepass")
    return Text(result, text.present | {" "}), len(gaps)


def published(text: Text) -> tuple[Text, int]:
    """Clean like QARiB's prepare_vocab.py: lower case, spaces around emoji, non-word characters to spaces.

    A diacritic is not a word character, so a diacritised word is split into its letters. This rule exists
    for comparison, and for text that was made with it.
    """
    lower = text.text.lower()
    count = len(_PUBLISHED_GONE.findall(lower))
    result = _PUBLISHED_APART.sub(r" \g<0> ", lower)
    result = tidy(_PUBLISHED_OTHER.sub(" ", result).replace("_", " "))
    return (Text(result), count) if result != text.text else (text, 0)


@cache
def _emoji_characters() -> frozenset[str]:
    return frozenset(characters((*REGIONAL, *EMOJI, *SKIN_TONES)))


@cache
def arabic_letters() -> np.ndarray[Any, np.dtype[np.bool_]]:
    return membership(ARABIC_LETTERS)


@cache
def other_letters() -> np.ndarray[Any, np.dtype[np.bool_]]:
    return membership(OTHER_LETTERS)


_BASE, _TONE, _FLAG = 1, 2, 3


@cache
def _emoji_kinds() -> np.ndarray[Any, np.dtype[np.uint8]]:
    import numpy as np

    kinds = np.zeros(CODE_POINTS, dtype=np.uint8)
    for kind, ranges in ((_BASE, EMOJI), (_TONE, SKIN_TONES), (_FLAG, REGIONAL)):
        kinds[membership(ranges)] = kind
    return kinds


def tidy(text: str) -> str:
    """Reduce spaces to one between words and none at the ends of a line."""
    while "  " in text:
        text = text.replace("    ", " ").replace("  ", " ")
    return text.replace(" \n", "\n").replace("\n ", "\n").strip(" ")
