"""The letters of texts and documents, and the hashes of any run of them.

Texts are compared by these letters: those of the deduplication's key, without emoji, @names, and addresses.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, cached_property
from typing import Any, TypeAlias

import numpy as np

from qarib_tasks.corpus.characters import (
    EMOJI,
    REGIONAL,
    SKIN_TONES,
    membership,
)
from qarib_tasks.corpus.deduplication import PUNCTUATION, SEPARATOR, key_table
from qarib_tasks.corpus.sampling import Keys, spread

Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint32]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Places: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

END = chr(SEPARATOR)  # of a document
_MARKS = "\u0653\u0654\u0655"  # a madda, and hamzas above and below
_BREAK = 1  # stands for what separates words; no letter has this code
_BASE = 0x9E3779B97F4A7C15  # of the polynomials modulo 2^64; odd, so that it has an inverse
_SYMBOLS = (
    *((0x06DE, 0x06DE), (0x06E9, 0x06E9), (0x20A0, 0x20CF), (0x2190, 0x2BFF), (0xFFFD, 0xFFFD)),
    *EMOJI,
    *REGIONAL,
    *SKIN_TONES,
)
# A pattern that begins with a literal is searched many times faster than others.
_RETWEET = re.compile(r"RT(?<![A-Za-z0-9_]RT) ?(?=@)")
_NAME = re.compile(r"@[A-Za-z0-9_]+")
_PLACEHOLDER = re.compile(r"URL(?<![A-Za-z0-9_]URL)(?![A-Za-z0-9_])")
_ADDRESS = re.compile(r"(?:[A-Za-z]+://|www\.)[!-~]+")


@cache
def _table() -> Codes:
    """Return uint32 [0x110000]: the letter for each code point, 0 for none, _BREAK for none between words."""
    table: Codes = key_table().copy()
    table[membership((*PUNCTUATION, *_SYMBOLS))] = _BREAK
    table[SEPARATOR] = SEPARATOR
    return table


@cache
def _values() -> Keys:
    """Return uint64 [0x110000]: a random number for each letter."""
    return spread(np.arange(len(_table()), dtype=np.uint64), 0)


@cache
def _powers(count: int) -> tuple[Keys, Keys]:
    """Return uint64 [count]: the powers of _BASE and of its inverse."""
    base = np.array([_BASE, pow(_BASE, -1, 1 << 64)], dtype=np.uint64)
    powers = np.cumprod(np.repeat(base[:, None], count, axis=1), axis=1)
    return powers[0], powers[1]


class Letters:
    """The letters of documents.

    Args:
        text: documents, with SEPARATOR between them.
        before: the last letters of the first document that are not in the text, if it is only a part.

    Attributes:
        codes: uint32 [letters]. SEPARATOR stands between documents.
        starts: bool [letters]: whether a word begins there; a separator counts as one.
    """

    def __init__(self, text: str, before: Letters | None = None) -> None:
        codes = np.frombuffer(composed(without_added(text)).encode("utf-32-le"), dtype=np.uint32)
        kept = _table()[codes]
        kept = kept[kept != 0]
        places = np.flatnonzero(kept != _BREAK)
        self.codes: Codes = kept[places]
        self.starts: Flags = np.diff(places, prepend=-2) > 1
        ends = self.codes == SEPARATOR
        self.starts |= ends
        self.starts[1:] |= ends[:-1]
        if before:
            self.codes = np.concatenate([before.codes, self.codes])
            self.starts = np.concatenate([before.starts, self.starts])

    def __len__(self) -> int:
        return len(self.codes)

    def last(self, count: int) -> Letters:
        """Return the last letters, of the last document only."""
        first = max(int(self.ends[-1]) + 1 if len(self.ends) else 0, len(self) - count)
        part = object.__new__(Letters)
        part.codes, part.starts = self.codes[first:], self.starts[first:]
        return part

    @cached_property
    def ends(self) -> Places:
        """The places of the separators."""
        return np.flatnonzero(self.codes == SEPARATOR)

    @property
    def bounds(self) -> tuple[Places, Places]:
        """The place of each document's first letter, and the place after its last."""
        return np.concatenate([[0], self.ends + 1]).astype(np.int64), np.append(self.ends, len(self))

    @cached_property
    def _sums(self) -> Keys:
        powers = _powers(_rounded(len(self)))[0][: len(self)]
        sums = np.zeros(len(self) + 1, dtype=np.uint64)
        np.cumsum(_values()[self.codes] * powers, out=sums[1:])
        return sums

    def hashes(self, places: Places, length: int | Places) -> Keys:
        """Return the hash of as many letters from each place on."""
        sums, inverse = self._sums, _powers(_rounded(len(self)))[1]
        hashes: Keys = (sums[places + length] - sums[places]) * inverse[places]
        return hashes


def _rounded(count: int) -> int:
    """Return a power of two that is not smaller, so that few arrays of powers are computed."""
    return 1 << max(count - 1, 1).bit_length()


def composed(text: str) -> str:
    """Return a text whose letters with a hamza or madda are one character each, as in NFC."""
    return unicodedata.normalize("NFC", text) if any(mark in text for mark in _MARKS) else text


def without_added(text: str) -> str:
    """Remove what people and the cleaning add to a text: names, addresses, and their placeholders."""
    if "@" in text:
        text = _NAME.sub(" ", _RETWEET.sub(" ", text))
    if "URL" in text:
        text = _PLACEHOLDER.sub(" ", text)
    return _ADDRESS.sub(" ", text) if "://" in text or "www." in text else text
