"""The cleaning rules that change text, one function per rule.

To add one, also enter it in `Cleaner.RULES` (`cleaning.py`) and in `RuleName` (`config/corpus.py`). The rules
that split text into sentences or drop lines are in `cleaning.py`; those that drop lines are in `LINE_RULES`
(`config/corpus.py`) too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from qarib_tasks.corpus.characters import (
    ARABIC_LETTERS,
    CODE_POINTS,
    DIACRITICS,
    EMOJI,
    OTHER_LETTERS,
    REGIONAL,
    SKIN_TONES,
    TATWEEL,
    characters,
    control_characters,
    html_entities,
    membership,
    presentation_forms,
)

if TYPE_CHECKING:
    import numpy as np

URL_PLACEHOLDER = "URL"
MENTION_PLACEHOLDER = "@USER"
LONGEST_REPEAT = 2  # of a letter
FEW = 6  # characters that are replaced in a pass each
# These never occur three times in a row in a correct word. Consonants do, where a prefix or a suffix meets a
# doubled one: تتتابع, تشتتت, يفككك, يجننني, بببغاء. So does waw at the start of a word: وووري.
_NEVER_THREE = "ءآأؤإئاةهىيٱھہیە"
_WAW = "و"
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DIGIT = "[0-9٠-٩]"
_TATWEEL_AS_HYPHEN = re.compile(f"{TATWEEL}(?<={_DIGIT}{TATWEEL}){TATWEEL}*(?={_DIGIT})")
_ALLAH = "\ufdf2"
# Signs that stand for words of their own, unlike U+FDF2 (Allah) and U+FDF4 (Muhammad), which take prefixes.
_WORD_SIGNS = "\ufdf0\ufdf1\ufdf3\ufdf5\ufdf6\ufdf7\ufdf8\ufdf9\ufdfa\ufdfb\ufdfc"
# A letter, digit or mark that is not ASCII. What it is not compiles several times faster than what it is.
_WORD = (
    "[^\x00-\u00bf\u0600-\u060f\u061b-\u061f\u066a-\u066d\u06d4\u06dd\u06de\u2000-\u2bff\u3000-\u303f"
    "\ufd3e-\ufd4f\ufe00-\ufe6f\ufefd-\uff0f\uffdd-\uffff\U0001f000-\U0001ffff\U00040000-\U0010ffff]"
)
_ASCII = r"[!#-'*-;=?-Z\\^-~]"  # no spaces, quotation marks, angle, round or square brackets
# Text often continues without a space after an address: https://t.co/Ab1Cdوشاركنا, https://t.co/Ab1Cd#مصر.
# A word in another script is part of the address only in the name of the host and after a separator, as in
# http://موقع.مصر, /wiki/مصر and ?q=مصر. A full stop or another mark at the end is part of the sentence.
_REST_OF_URL = (
    rf"(?:(?={_WORD}+(?:-{_WORD}+)*\.\w){_WORD}+(?:[.-]{_WORD}+)*|(?=[\w%[~-])(?!{_WORD}))"
    rf"{_ASCII}*(?:(?:\({_ASCII}*\)|\[{_ASCII}*\]){_ASCII}*)*"
    rf"(?:(?:(?<=[=_+-])|(?<=[^/:]/)|(?<=/@))(?:{_WORD}|\((?:{_WORD}|{_ASCII})*\))"
    rf"(?:{_WORD}|(?![.,:;!?'*]{_WORD}){_ASCII}|(?<={_WORD}):(?={_WORD})|\((?:{_WORD}|{_ASCII})*\))*)?"
    r"(?<![.,:;!?'*`|#])"
)
# The starts of addresses. A pattern that begins with a literal is searched many times faster than an
# alternative of beginnings.
_URLS = (
    re.compile(r"://(?:(?<=[hH][tT][tT][pP]://)|(?<=[hH][tT][tT][pP][sS]://))"),
    re.compile(r"\.(?<=[wW][wW][wW]\.)"),
)
# An email address is not a mention: the character before the @ decides.
_MENTION = re.compile(r"@(?<![A-Za-z0-9_+-]@)(?!USER(?![A-Za-z0-9_]))[A-Za-z0-9_]+")
_ANY_WORD = rf"(?:\w|{_WORD})"
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
    def _counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How often each code point occurs, int64 [the largest code point + 1]."""
        import numpy as np

        return np.bincount(self.codes)

    @property
    def size(self) -> int:
        """The number of bytes in UTF-8."""
        more = sum(int(self._counts[first:].sum()) for first in (0x80, 0x800, 0x10000))
        return len(self.codes) + more

    @cached_property
    def present(self) -> set[str]:
        """The distinct characters, and possibly some that were removed."""
        import numpy as np

        if self._maybe is not None:
            return self._maybe
        return set(map(chr, np.flatnonzero(self._counts).tolist()))

    def replaced(self, table: Mapping[str, str]) -> tuple[Text, int]:
        """Replace every character of the table; return the text and the number of replacements."""
        found = sorted(char for char in self.present if char in table)
        # No result of any table is itself in that table, so the order does not matter.
        single = [char for char in found if len(table[char]) == 1]
        text, count, new = self.text, 0, self.present.copy()
        if len(single) > FEW:
            text, count = self._replaced_at_once(single, table)
            new.difference_update(single)
            new.update(table[char] for char in single)
            found = [char for char in found if len(table[char]) != 1]
        for char in found:
            if number := text.count(char):
                count += number
                text = text.replace(char, table[char])
                new.update(table[char])
            new.discard(char)
        return (Text(text, new), count) if count else (self, 0)

    def _replaced_at_once(self, characters: Sequence[str], table: Mapping[str, str]) -> tuple[str, int]:
        """Replace characters by one each, in one pass; a pass for each takes far longer if there are many."""
        import numpy as np

        codes = self.codes
        now = np.arange(max(int(codes.max(initial=0)), *map(ord, characters)) + 1, dtype=np.uint32)
        for char in characters:
            now[ord(char)] = ord(table[char])
        replaced = now[codes]
        text = replaced.tobytes().decode("utf-32-le", errors="surrogatepass")
        return text, int(np.count_nonzero(replaced != codes))


TextRule = Callable[[Text], tuple[Text, int]]


def table_rule(table: Callable[[], Mapping[str, str]]) -> TextRule:
    return lambda text: text.replaced(table())


def tatweel(text: Text) -> tuple[Text, int]:
    """Remove tatweel; between two digits it stands for a hyphen, and becomes one."""
    if TATWEEL not in text.present:
        return text, 0
    result, hyphens = _TATWEEL_AS_HYPHEN.subn("-", text.text)
    if hyphens:
        text = Text(result, text.present | {"-"})
    removed, count = text.replaced({TATWEEL: ""})
    return removed, count + hyphens


def presentation(text: Text) -> tuple[Text, int]:
    """Replace presentation forms by letters; the words of a sign such as U+FDFA stay apart from others."""
    result = text.text
    for sign in sorted(text.present.intersection(_WORD_SIGNS)):
        result = _joined(sign).sub(_apart, result)
    if _ALLAH in text.present:
        # In many fonts the sign looks as if it had no alef, so people write one before it.
        result = result.replace("ا" + _ALLAH, _ALLAH)
    apart = Text(result, text.present | {" "}) if len(result) != len(text.text) else text
    return apart.replaced(presentation_forms())


@cache
def _joined(sign: str) -> re.Pattern[str]:
    """Return a pattern of a sign directly after or before a word."""
    return re.compile(f"{sign}(?:(?<={_ANY_WORD}{sign})|(?={_ANY_WORD}))")


@lru_cache(1 << 12)
def _is_word(char: str) -> bool:
    return re.match(_ANY_WORD, char) is not None


def _apart(match: re.Match[str]) -> str:
    text, start, end = match.string, match.start(), match.end()
    before = " " if start and _is_word(text[start - 1]) else ""
    after = " " if end < len(text) and _is_word(text[end]) else ""
    return before + match[0] + after


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
    """Shorten runs of the same Arabic letter to two: of four or more, and of three that no word has."""
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
    letters = codes[places]
    longer = np.diff(places) == 1
    surplus = _never_three()[letters]
    surplus[1:] |= longer
    surplus[:-1] |= longer
    waw = np.flatnonzero(letters == ord(_WAW))
    first = places[waw] - LONGEST_REPEAT
    surplus[waw] |= (first > 0) & _word_characters()[codes[first - 1]]
    places = places[surplus]
    if not len(places):
        return text, 0
    kept = np.delete(codes, places).tobytes().decode("utf-32-le", errors="surrogatepass")
    return Text(kept, text.present), len(places)


def urls(text: Text) -> tuple[Text, int]:
    """Replace web addresses, with `http`, `https` or `www` in upper or lower case, by URL_PLACEHOLDER."""
    result, total, present = text.text, 0, text.present
    for start in _URLS:
        parts, done = [], 0
        for beginning in start.finditer(result):
            rest = _rest_of_url().match(result, beginning.end()) if beginning.start() >= done else None
            if not rest:
                continue
            first, last = beginning.start(), result[beginning.start() - 1]
            first -= 3 if last in "wW" else 4 if last in "pP" else 5
            parts += [result[done:first], _separated(URL_PLACEHOLDER, rest)]
            done = rest.end()
        if parts:
            result = "".join([*parts, result[done:]])
            total += len(parts) // 2
    return (Text(result, present | set(URL_PLACEHOLDER + " ")), total) if total else (text, 0)


@cache
def _rest_of_url() -> re.Pattern[str]:
    """Return the pattern of what follows the start of an address. It takes a while to compile."""
    return re.compile(_REST_OF_URL)


def mentions(text: Text) -> tuple[Text, int]:
    if "@" not in text.text:
        return text, 0
    result, count = _MENTION.subn(_mention, text.text)
    return (Text(result, text.present | set(MENTION_PLACEHOLDER + " ")), count) if count else (text, 0)


def _mention(match: re.Match[str]) -> str:
    return _separated(MENTION_PLACEHOLDER, match)


def _separated(placeholder: str, match: re.Match[str]) -> str:
    """Return the placeholder, with a space if a word follows the match directly."""
    text, end = match.string, match.end()
    if end == len(text) or text[end] < "\x80" or not _is_word(text[end]):
        return placeholder
    return placeholder + " "


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
def _word_characters() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Letters and marks."""
    return membership((*ARABIC_LETTERS, *DIACRITICS, (ord(TATWEEL), ord(TATWEEL))))


@cache
def _never_three() -> np.ndarray[Any, np.dtype[np.bool_]]:
    return membership((ord(letter), ord(letter)) for letter in _NEVER_THREE)


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
