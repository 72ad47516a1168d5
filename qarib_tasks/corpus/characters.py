"""Sets of characters for cleaning and deduplication.

Most are constants, because the Unicode tables of the Python interpreter change from version to version. The
few that are from `unicodedata` are covered by Unicode's stability policy.
"""

from __future__ import annotations

import html.entities
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CODE_POINTS = 0x110000
TATWEEL = "\u0640"
# Harakat, tanwin, shadda, sukun, the superscript alef and Quranic marks; not the combining madda and hamzas
# (U+0653 to U+0655), which are parts of letters.
DIACRITICS = (
    (0x0610, 0x061A),
    (0x064B, 0x0652),
    (0x0656, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06DC),
    (0x06DF, 0x06E4),
    (0x06E7, 0x06E8),
    (0x06EA, 0x06ED),
    (0x08CA, 0x08E1),
    (0x08E3, 0x08FF),
)
ARABIC_LETTERS = (
    (0x0620, 0x063F),
    (0x0641, 0x064A),
    (0x066E, 0x066F),
    (0x0671, 0x06D3),
    (0x06D5, 0x06D5),
    (0x06EE, 0x06EF),
    (0x06FA, 0x06FC),
    (0x06FF, 0x06FF),
    (0x0750, 0x077F),
    (0x0870, 0x0887),
    (0x0889, 0x088E),
    (0x08A0, 0x08C9),
    (0xFB50, 0xFBB1),
    (0xFBD3, 0xFD3D),
    (0xFD50, 0xFDFC),
    (0xFE70, 0xFEFC),
)
OTHER_LETTERS = (
    (0x0041, 0x005A),
    (0x0061, 0x007A),
    (0x00C0, 0x00D6),
    (0x00D8, 0x00F6),
    (0x00F8, 0x02AF),
    (0x0370, 0x058F),
    (0x05D0, 0x05F2),
    (0x0700, 0x074F),
    (0x0780, 0x086A),
    (0x0900, 0x1FFF),
    (0x2C00, 0x2DDF),
    (0x2E80, 0x2FDF),
    (0x3041, 0xD7FF),
    (0xF900, 0xFB4F),
    (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A),
    (0xFF66, 0xFFDC),
    (0x10000, 0x1CBFF),
    (0x20000, 0x3FFFF),
)
# The first character of an emoji; flags are two of REGIONAL.
EMOJI = (
    (0x203C, 0x203C),
    (0x2049, 0x2049),
    (0x231A, 0x231B),
    (0x23E9, 0x23FA),
    (0x25AA, 0x25AB),
    (0x25B6, 0x25B6),
    (0x25C0, 0x25C0),
    (0x25FB, 0x25FE),
    (0x2600, 0x27BF),
    (0x2934, 0x2935),
    (0x2B05, 0x2B07),
    (0x2B1B, 0x2B1C),
    (0x2B50, 0x2B50),
    (0x2B55, 0x2B55),
    (0x1F004, 0x1F004),
    (0x1F0CF, 0x1F0CF),
    (0x1F170, 0x1F1E5),
    (0x1F200, 0x1F3FA),
    (0x1F400, 0x1F6FF),
    (0x1F780, 0x1F7FF),
    (0x1F900, 0x1FAFF),
)
REGIONAL = ((0x1F1E6, 0x1F1FF),)
SKIN_TONES = ((0x1F3FB, 0x1F3FF),)
# Letters of Persian, Urdu and other keyboards that look like Arabic letters, and the digits of those
# keyboards.
LOOKALIKES = {
    "\u06a9": "ك",
    "\u06aa": "ك",
    "\u06be": "ه",
    "\u06c0": "ه",
    "\u06c1": "ه",
    "\u06c2": "ه",
    "\u06c3": "ة",
    "\u06cc": "ي",
    "\u06d2": "ي",
    "\u06d3": "ئ",
    "\u06d4": ".",
    "\u06d5": "ه",
    "\u0671": "ا",
    "\u0672": "أ",
    "\u0673": "إ",
    **{chr(0x06F0 + i): chr(0x0660 + i) for i in range(10)},
}
WESTERN_DIGITS = {chr(first + i): str(i) for first in (0x0660, 0x06F0) for i in range(10)}
# With the end of ayah, U+06DD, which stands between words.
_SPACES = ((0x09, 0x09), (0x0B, 0x0D), (0x1C, 0x1F), (0x85, 0x85), (0xA0, 0xA0), (0x6DD, 0x6DD),
           (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
           (0x205F, 0x205F), (0x3000, 0x3000))  # fmt: skip
# Categories Cc and Cf (bidi marks, joiners, tags …), variation selectors, noncharacters.
_INVISIBLE = ((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x600, 0x605),
              (0x61C, 0x61C), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2),
              (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFDD0, 0xFDEF),
              (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFF0, 0xFFFB), (0xFFFE, 0xFFFF), (0x110BD, 0x110BD),
              (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
              (0xE0000, 0xE0FFF))  # fmt: skip
_SURROGATES = ((0xD800, 0xDFFF),)

Ranges = Iterable[tuple[int, int]]


def characters(ranges: Ranges) -> list[str]:
    """Return every character in some ranges of code points."""
    return [chr(code) for first, last in ranges for code in range(first, last + 1)]


def membership(ranges: Ranges) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return bool [0x110000]: whether each code point is in the ranges."""
    import numpy as np

    table = np.zeros(CODE_POINTS, dtype=np.bool_)
    for first, last in ranges:
        table[first : last + 1] = True
    return table


@cache
def control_characters() -> Mapping[str, str]:
    """Return replacements for the characters that are never in `data.txt`.

    Invisible characters are removed. Every kind of space becomes U+0020. Unpaired surrogates, which UTF-8
    cannot encode, become U+FFFD. The line feed is kept.
    """
    return (
        dict.fromkeys(characters(_SPACES), " ")
        | dict.fromkeys(characters(_INVISIBLE), "")
        | dict.fromkeys(characters(_SURROGATES), "\ufffd")
    )


@cache
def presentation_forms() -> Mapping[str, str]:
    """Return NFKC of Arabic presentation forms A and B, without the space that NFKC puts before a lone mark.

    By Unicode's stability policy, the normal form of an assigned character never changes. All characters
    that have one here are older than Unicode 14, the version in Python 3.11.
    """
    forms = characters([(0xFB50, 0xFDFF), (0xFE70, 0xFEFE)])
    normal = {form: unicodedata.normalize("NFKC", form) for form in forms}
    return {form: text.strip().replace(TATWEEL, "") for form, text in normal.items() if text != form}


@cache
def html_entities() -> Mapping[str, str]:
    """Return the named entities of HTML 5 that end with a semicolon, by name without the semicolon."""
    return {name[:-1]: text for name, text in html.entities.html5.items() if name.endswith(";")}


def isolated(text: str) -> str:
    """Isolate text of either direction, so that it does not reorder the rest of its line (UAX #9)."""
    return f"\u2068{text}\u2069"
