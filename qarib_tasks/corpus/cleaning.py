"""Cleaning of text: small named rules in the order that the configuration lists.

A rule works on many lines at once, joined by line feeds, because one pass over a megabyte costs a hundredth
of ten thousand passes over a line. Lines that a pass changed are cleaned again until nothing changes, so that
cleaning what is clean changes nothing, in whatever order the rules stand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from qarib_tasks.config.run import CollectConfig
from qarib_tasks.corpus.characters import (
    ARABIC_LETTERS,
    CODE_POINTS,
    DIACRITICS,
    EMOJI,
    LOOKALIKES,
    OTHER_LETTERS,
    REGIONAL,
    SKIN_TONES,
    TATWEEL,
    WESTERN_DIGITS,
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
LONGEST_REPEAT = 2  # of a letter; no Arabic word has the same letter three times in a row
MOST_PASSES = 8
SENTENCE_MARK = "\v"  # between two sentences of a line, while it is one; no control character is in the text
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# A pattern that begins with a literal is searched many times faster than an alternative of two.
_REST_OF_URL = r"[^\s<>\"«»،؛]+"
_URLS = tuple(re.compile(start + _REST_OF_URL) for start in ("http://", "https://", r"www\."))
# An address of e-mail is no mention: what stands before the @ decides.
_MENTION = re.compile(r"@(?<![A-Za-z0-9_+-]@)(?!USER(?![A-Za-z0-9_]))[A-Za-z0-9_]+")
_SENTENCE_END = re.compile(r"([.!?؟۔…][.!?؟۔…\"'”’»)\]]*) (?=\S)")
# prepare_vocab.py: emoji set apart, then every run of other characters than word characters and these is a
# space, then the low line.
_PUBLISHED_EMOJI = "\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\u2600-\u27bf"
_PUBLISHED_APART = re.compile(f"[{_PUBLISHED_EMOJI}]")
_PUBLISHED_GONE = re.compile(f"[^\\w \n{_PUBLISHED_EMOJI}]")
_PUBLISHED_OTHER = re.compile(f"[^\\w\n{_PUBLISHED_EMOJI}]+")


class Text:
    """Lines joined by line feeds, with what rules ask about them, worked out once."""

    def __init__(self, text: str, maybe: set[str] | None = None) -> None:
        self.text = text
        self._maybe = maybe

    @cached_property
    def codes(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """uint32 [characters]: the code points."""
        import numpy as np

        return np.frombuffer(self.text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)

    @cached_property
    def present(self) -> set[str]:
        """The distinct characters, and maybe some that are no longer there."""
        import numpy as np

        if self._maybe is not None:
            return self._maybe
        return set(map(chr, np.flatnonzero(np.bincount(self.codes)).tolist()))

    def replaced(self, table: Mapping[str, str]) -> tuple[Text, int]:
        """Every character of the table by what it stands for, and how many there were."""
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


def _table_rule(table: Callable[[], Mapping[str, str]]) -> TextRule:
    return lambda text: text.replaced(table())


def _entities(text: Text) -> tuple[Text, int]:
    """`&amp;` and the like. What comes out as a control character goes at once."""
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


def _elongation(text: Text) -> tuple[Text, int]:
    """Three or more of the same Arabic letter are two."""
    import numpy as np

    codes = text.codes
    if len(codes) <= LONGEST_REPEAT:
        return text, 0
    surplus = codes[LONGEST_REPEAT:] == codes[:-LONGEST_REPEAT]
    for distance in range(1, LONGEST_REPEAT):
        surplus &= codes[LONGEST_REPEAT:] == codes[distance : distance - LONGEST_REPEAT]
    places = np.flatnonzero(surplus) + LONGEST_REPEAT
    places = places[_arabic_letters()[codes[places]]]
    if not len(places):
        return text, 0
    kept = np.delete(codes, places).tobytes().decode("utf-32-le", errors="surrogatepass")
    return Text(kept, text.present), len(places)


def _urls(text: Text) -> tuple[Text, int]:
    result, total = text.text, 0
    for start, pattern in zip(("http:", "https:", "www."), _URLS, strict=True):
        if start in result:
            result, count = pattern.subn(URL_PLACEHOLDER, result)
            total += count
    return (Text(result, text.present | set(URL_PLACEHOLDER)), total) if total else (text, 0)


def _mentions(text: Text) -> tuple[Text, int]:
    if "@" not in text.text:
        return text, 0
    result, count = _MENTION.subn(MENTION_PLACEHOLDER, text.text)
    return (Text(result, text.present | set(MENTION_PLACEHOLDER)), count) if count else (text, 0)


def _emoji(text: Text) -> tuple[Text, int]:
    """A space on both sides of every emoji: the tokenizer takes them for letters of the word beside them.

    Skin tones stay with what they colour, and the two letters of a flag together.
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


def _published(text: Text) -> tuple[Text, int]:
    """QARiB's prepare_vocab.py: lower case, emoji apart, all but word characters and emoji a space.

    A diacritic is no word character: a diacritised word falls apart into its letters. It is here to be
    compared with, and for text that was made with it.
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
def _arabic_letters() -> np.ndarray[Any, np.dtype[np.bool_]]:
    return membership(ARABIC_LETTERS)


@cache
def _other_letters() -> np.ndarray[Any, np.dtype[np.bool_]]:
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
    """One space between words, none at a line's ends."""
    while "  " in text:
        text = text.replace("    ", " ").replace("  ", " ")
    return text.replace(" \n", "\n").replace("\n ", "\n").strip(" ")


class Cleaner:
    """The rules of a configuration; `counts` and `dropped` say what they did.

    Attributes:
        counts: places that each rule changed, `control_characters` among them.
        dropped: lines that each rule dropped; `empty` for those of which the rules left nothing, `unstable`
            for those still changing after MOST_PASSES passes.
    """

    RULES: ClassVar[Mapping[str, TextRule]] = {
        "html_entities": _entities,
        "presentation_forms": _table_rule(presentation_forms),
        "tatweel": _table_rule(lambda: {TATWEEL: ""}),
        "remove_diacritics": _table_rule(cache(lambda: dict.fromkeys(characters(DIACRITICS), ""))),
        "lookalikes": _table_rule(lambda: LOOKALIKES),
        "western_digits": _table_rule(lambda: WESTERN_DIGITS),
        "elongation": _elongation,
        "urls": _urls,
        "mentions": _mentions,
        "emoji": _emoji,
        "published": _published,
    }

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._rules = [(name, self.RULES[name]) for name in config.cleaning if name in self.RULES]
        self._sentences = "sentences" in config.cleaning
        filters = {
            "minimum_length": self._too_short,
            "maximum_length": self._too_long,
            "arabic_share": self._foreign,
        }
        self._filters = [(name, filters[name]) for name in config.cleaning if name in filters]
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def clean(self, lines: list[str]) -> list[str]:
        """Clean lines; each gives one line, or several sentences, or none.

        Args:
            lines: without line feeds. An empty line ends a document and stays.
        """
        cleaned = self._settled(lines, None, MOST_PASSES)
        pairs = zip(lines, cleaned, strict=True)
        if self._sentences:
            return [part for old, new in pairs if new or not old for part in new.split(SENTENCE_MARK)]
        return [new for old, new in pairs if new or not old]

    def _settled(self, lines: list[str], present: set[str] | None, passes: int) -> list[str]:
        """One string for each line: its sentences with SENTENCE_MARK between, empty for a dropped one."""
        if not lines:
            return []
        cleaned, present = self._once(lines, present)
        changed = [i for i, line in enumerate(cleaned) if line and line != lines[i]]
        if passes == MOST_PASSES:
            self._filter(cleaned, range(len(cleaned)))
        else:
            # The others have been through the filters as they are.
            self._filter(cleaned, changed)
        changed = [i for i in changed if cleaned[i]]
        if changed and not passes:
            self.dropped["unstable"] += len(changed)
            for i in changed:
                cleaned[i] = ""
        elif changed:
            parts = [cleaned[i].split(SENTENCE_MARK) for i in changed]
            again = iter(self._settled([part for some in parts for part in some], present, passes - 1))
            for i, some in zip(changed, parts, strict=True):
                cleaned[i] = SENTENCE_MARK.join(filter(None, [next(again) for _ in some]))
        return cleaned

    def _once(self, lines: list[str], present: set[str] | None) -> tuple[list[str], set[str]]:
        """Every rule that changes text, once; the lines, and the characters that may be in them."""
        text, count = Text("\n".join(lines), present).replaced(control_characters())
        self.counts["control_characters"] += count
        for name, rule in self._rules:
            text, count = rule(text)
            self.counts[name] += count
        result = tidy(text.text)
        cleaned = result.split("\n")
        self.dropped["empty"] += sum(1 for old, new in zip(lines, cleaned, strict=True) if not new and old)
        if self._sentences:
            result, count = _SENTENCE_END.subn(rf"\1{SENTENCE_MARK}", result)
            self.counts["sentences"] += count
            cleaned = result.split("\n")
        return cleaned, text.present

    def _filter(self, lines: list[str], places: Sequence[int]) -> None:
        """Empty the lines at some places, or the sentences in them, that a rule drops."""
        if not self._filters or not places:
            return
        parts = [lines[i].split(SENTENCE_MARK) for i in places] if self._sentences else None
        kept = [part for some in parts for part in some] if parts else [lines[i] for i in places]
        for name, drops in self._filters:
            dropped = [i for i in drops(kept) if kept[i]]
            self.dropped[name] += len(dropped)
            for i in dropped:
                kept[i] = ""
        if parts:
            rest = iter(kept)
            for i, some in zip(places, parts, strict=True):
                lines[i] = SENTENCE_MARK.join(filter(None, [next(rest) for _ in some]))
        else:
            for i, line in zip(places, kept, strict=True):
                lines[i] = line

    def _too_short(self, lines: list[str]) -> list[int]:
        return [i for i, line in enumerate(lines) if len(line) < self._config.minimum_characters]

    def _too_long(self, lines: list[str]) -> list[int]:
        return [i for i, line in enumerate(lines) if len(line) > self._config.maximum_characters]

    def _foreign(self, lines: list[str]) -> list[int]:
        """Lines with too few Arabic letters among their letters; the placeholders are no letters."""
        import numpy as np

        text = "\n".join(lines)
        codes = Text(text.replace(MENTION_PLACEHOLDER, "").replace(URL_PLACEHOLDER, "")).codes
        other = np.flatnonzero(_other_letters()[codes])
        if not len(other):
            return []
        # Only lines with a foreign letter have anything to count.
        ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes))
        places, foreign = np.unique(np.searchsorted(ends, other), return_counts=True)
        dropped = []
        for place, count in zip(places.tolist(), foreign.tolist(), strict=True):
            start = ends[place - 1] + 1 if place else 0
            arabic = int(np.count_nonzero(_arabic_letters()[codes[start : ends[place]]]))
            if arabic < self._config.arabic_share * (arabic + count):
                dropped.append(place)
        return dropped
