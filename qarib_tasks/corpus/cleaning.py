"""Cleaning of text by small named rules, in the order that the configuration lists.

A rule works on many lines at once, joined by line feeds, because one pass over a megabyte costs a hundredth
of ten thousand passes over a line. Lines that a pass changed are cleaned again until nothing changes:
cleaning is idempotent for any order of the rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, Protocol

from qarib_tasks.config.corpus import LINE_RULES, TEXT_RULES, CollectConfig
from qarib_tasks.corpus.characters import (
    DIACRITICS,
    LOOKALIKES,
    WESTERN_DIGITS,
    characters,
    control_characters,
)
from qarib_tasks.corpus.cleaning_rules import (
    MENTION_PLACEHOLDER,
    URL_PLACEHOLDER,
    Text,
    TextRule,
    arabic_letters,
    elongation,
    emoji,
    entities,
    mentions,
    other_letters,
    presentation,
    published,
    table_rule,
    tatweel,
    tidy,
    urls,
)
from qarib_tasks.corpus.content.decoding import REPLACEMENT

MOST_PASSES = 8
SENTENCE_MARK = "\v"  # separates sentences until the line is split; the text has no control characters
_SENTENCE_END = re.compile(r"([.!?؟۔…][.!?؟۔…\"'”’»)\]]*) (?=\S)")


class Watch(Protocol):
    """Is called with what the rules change, in the first pass, and with what they drop."""

    def changed(self, rule: str, before: str, after: str) -> None:
        """A rule changed some of these lines, which are joined by line feeds."""

    def dropped(self, rule: str, texts: Sequence[str]) -> None:
        """A rule dropped these lines; they are as they were before cleaning."""


class Cleaner:
    """Applies the rules of a configuration and counts what they did.

    Attributes:
        counts: number of places that each rule changed, including `control_characters`.
        dropped: number of lines that each rule dropped; `empty` counts lines that the rules made empty,
            `unstable` counts lines that still changed after MOST_PASSES passes.
        dropped_bytes: size of those lines in UTF-8, as they were before cleaning.
        lines, bytes: number and size in UTF-8 of all lines given, without empty ones and line feeds.
        ends: number of empty lines given.

    Args:
        watch: is called with what the rules do.
    """

    RULES: ClassVar[Mapping[str, TextRule]] = {
        "html_entities": entities,
        "presentation_forms": presentation,
        "tatweel": tatweel,
        "remove_diacritics": table_rule(cache(lambda: dict.fromkeys(characters(DIACRITICS), ""))),
        "lookalikes": table_rule(lambda: LOOKALIKES),
        "western_digits": table_rule(lambda: WESTERN_DIGITS),
        "elongation": elongation,
        "urls": urls,
        "mentions": mentions,
        "emoji": emoji,
        "published": published,
    }

    def __init__(self, config: CollectConfig, watch: Watch | None = None) -> None:
        self._config = config
        self._watch = watch
        self._rules: list[tuple[str, TextRule]] = [
            ("control_characters", table_rule(control_characters)),
            *((name, self.RULES[name]) for name in config.cleaning if name in TEXT_RULES),
        ]
        self._sentences = "sentences" in config.cleaning
        filters = {
            "minimum_length": self._too_short,
            "maximum_length": self._too_long,
            "arabic_share": self._foreign,
        }
        self._filters = [(name, filters[name]) for name in config.cleaning if name in LINE_RULES]
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.dropped_bytes: Counter[str] = Counter()
        self.lines = self.bytes = self.ends = 0

    def clean(self, lines: list[str]) -> list[str]:
        """Clean lines; each line results in one line, in several sentences, or in none.

        Args:
            lines: without line feeds. An empty line ends a document and is kept.
        """
        ends = lines.count("")
        self.lines += len(lines) - ends
        self.ends += ends
        cleaned = self._settled(lines, lines, None, MOST_PASSES)
        pairs = zip(lines, cleaned, strict=True)
        if self._sentences:
            return [part for old, new in pairs if new or not old for part in new.split(SENTENCE_MARK)]
        return [new for old, new in pairs if new or not old]

    def _settled(
        self, lines: list[str], given: list[str], present: set[str] | None, passes: int
    ) -> list[str]:
        """Return a string for each line: its sentences, joined by SENTENCE_MARK; empty for a dropped line.

        Args:
            given: each line as it was before the first pass.
        """
        if not lines:
            return []
        cleaned, present = self._once(lines, given, present)
        changed = [i for i, line in enumerate(cleaned) if line and line != lines[i]]
        if passes == MOST_PASSES:
            self._filter(cleaned, given, range(len(cleaned)))
        else:
            # The other lines have passed the filters unchanged.
            self._filter(cleaned, given, changed)
        changed = [i for i in changed if cleaned[i]]
        if changed and not passes:
            self._count_dropped("unstable", [given[i] for i in changed])
            for i in changed:
                cleaned[i] = ""
        elif changed:
            parts = [cleaned[i].split(SENTENCE_MARK) for i in changed]
            flat = [part for some in parts for part in some]
            before = (
                _before(parts, [given[i] for i in changed])
                if self._sentences
                else [given[i] for i in changed]
            )
            again = iter(self._settled(flat, before, present, passes - 1))
            for i, some in zip(changed, parts, strict=True):
                cleaned[i] = SENTENCE_MARK.join(filter(None, [next(again) for _ in some]))
        return cleaned

    def _once(
        self, lines: list[str], given: list[str], present: set[str] | None
    ) -> tuple[list[str], set[str]]:
        """Apply each rule that changes text once; return the lines and the characters that may be in them."""
        text = Text("\n".join(lines), present)
        watch = self._watch if present is None else None
        if present is None:
            self.bytes += text.size - (len(lines) - 1)
        for name, rule in self._rules:
            before = text.text
            text, count = rule(text)
            self.counts[name] += count
            if count and watch:
                watch.changed(name, before, text.text)
        result = tidy(text.text)
        cleaned = result.split("\n")
        gone = [i for i, new in enumerate(cleaned) if not new and lines[i]]
        self._count_dropped("empty", [given[i] for i in gone])
        if self._sentences:
            before = result
            result, count = _SENTENCE_END.subn(rf"\1{SENTENCE_MARK}", result)
            self.counts["sentences"] += count
            if count and watch:
                watch.changed("sentences", before, result)
            cleaned = result.split("\n")
        return cleaned, text.present

    def _count_dropped(self, rule: str, given: list[str]) -> None:
        if given:
            self.dropped[rule] += len(given)
            self.dropped_bytes[rule] += len("".join(given).encode(errors="surrogatepass"))
            if self._watch:
                self._watch.dropped(rule, given)

    def _filter(self, lines: list[str], given: list[str], places: Sequence[int]) -> None:
        """Make lines, or sentences in them, empty where a rule drops them; check the lines at `places`."""
        if not self._filters or not places:
            return
        parts = [lines[i].split(SENTENCE_MARK) for i in places] if self._sentences else None
        kept = [part for some in parts for part in some] if parts else [lines[i] for i in places]
        for name, drops in self._filters:
            dropped = [i for i in drops(kept) if kept[i]]
            if dropped:
                before = [given[i] for i in places]
                before = _before(parts, before) if parts else before
                self._count_dropped(name, [before[i] for i in dropped])
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
        """Return the lines with too small a share of Arabic letters; placeholders do not count as letters.

        A line without letters, such as emoji, is kept, unless most of it could not be decoded.
        """
        import numpy as np

        text = "\n".join(lines).replace(MENTION_PLACEHOLDER, "").replace(URL_PLACEHOLDER, "")
        dropped = []
        if REPLACEMENT in text and self._config.arabic_share:
            dropped = [i for i, line in enumerate(text.split("\n")) if _mostly_undecodable(line)]
        codes = Text(text).codes
        other = np.flatnonzero(other_letters()[codes])
        if not len(other):
            return dropped
        # Only lines with a foreign letter need counting.
        ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes))
        places, foreign = np.unique(np.searchsorted(ends, other), return_counts=True)
        for place, count in zip(places.tolist(), foreign.tolist(), strict=True):
            start = ends[place - 1] + 1 if place else 0
            arabic = int(np.count_nonzero(arabic_letters()[codes[start : ends[place]]]))
            if arabic < self._config.arabic_share * (arabic + count):
                dropped.append(place)
        return sorted(set(dropped))


def _mostly_undecodable(line: str) -> bool:
    return 2 * line.count(REPLACEMENT) > len(line) - line.count(" ")


def _before(parts: list[list[str]], given: list[str]) -> list[str]:
    """Return for each sentence the line that it was before cleaning, or itself if the line was split."""
    return [
        before
        for some, line in zip(parts, given, strict=True)
        for before in ([line] if len(some) == 1 else some)
    ]
