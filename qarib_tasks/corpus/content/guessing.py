"""Guesses the encoding of Arabic text that is not UTF-8, and finds text that was decoded wrongly earlier."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence

from qarib_tasks.corpus.content.decoding import REPLACEMENT, decoded

_SAMPLE = 1 << 16  # bytes
# The first of equal ones is chosen: Mac Arabic has the letters where ISO-8859-6 has them.
_CANDIDATES = (
    "utf-8", "windows-1256", "iso-8859-6", "mac-arabic", "cp720", "cp864",
    "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be",
)  # fmt: skip
_SURE = 0.6  # of a score; Cyrillic, Greek and Hebrew reach 0.57 in an encoding of Arabic
_ARABIC_LETTERS = 0.3  # their least share of the letters of Arabic text
# The letters by frequency, counted in tweets and books.
_LETTERS = "اليمنوبرتهعكدحفسقجشةصأخطزذىضغثإئءظآؤ"
_WEIGHTS = {letter: 1 - place / len(_LETTERS) for place, letter in enumerate(_LETTERS)}
# How text is damaged: its bytes were decoded as the first and should have been decoded as the second.
_MISTAKES = (
    ("iso-8859-1", "utf-8"),
    ("windows-1252", "utf-8"),
    ("windows-1256", "utf-8"),
    ("iso-8859-1", "windows-1256"),
    ("windows-1252", "windows-1256"),
    ("iso-8859-1", "iso-8859-6"),
)
_LATIN = re.compile("[\u00c0-\u00ff]")
_MISTAKEN_LINES = 0.1  # share of the lines, from which a file is said to be damaged
# Of a sample that is no Arabic as it is, each encoding is tried. In Windows-1256 and ISO-8859-6 many letters
# have the same place, so a text in one resembles Arabic in the other.
_USED = (
    "iso-8859-1", "windows-1252", "windows-1256", "iso-8859-6", "mac-roman", "cp437", "cp850", "cp720",
    "cp1251",
)  # fmt: skip
_TRIED, _FEW_CHARACTERS = 2000, 40
_CLEARLY = 0.15  # more of a score, if the other one is not that of nonsense
_IN_ORDER = 0.75  # of a score
_FEW_LETTERS = 3
_LOST = re.compile(r"\?{2,}|\w+")
_LOST_SHARE = 0.3  # of the words
_FEW_WORDS = 5
# Characters of text in Arabic and most other scripts that are written with it.
_USUAL = re.compile("[\t\n\r -~\u00a0-\u06ff\u0750-\u077f\u2000-\u20cf\ufb50-\ufeff]")
_USUAL_SHARE = 0.9


def arabic_score(text: str) -> float:
    """Return how much a text resembles Arabic: near 0.8 if it is Arabic, below 0 if it is decoded wrongly."""
    text = unicodedata.normalize("NFKC", text)
    total = count = 0.0
    for character in text:
        if character > "\x7f" and not character.isspace():
            count += 1
            total += _WEIGHTS.get(character, _weight_of_other(character))
    letters, arabic = sum(map(str.isalpha, text)), sum(letter in _WEIGHTS for letter in text)
    words = [word for word in text.split() if not word.isascii()]
    if not arabic or arabic < _ARABIC_LETTERS * letters:
        return min(total, 0.0)
    # The article is the most frequent pair of letters.
    return total / count + sum(word.startswith("ال") for word in words) / len(words)


def _weight_of_other(character: str) -> float:
    if "\u064b" <= character <= "\u0652":
        return 0.5  # a diacritic
    arabic = "\u0600" <= character <= "\u06ff" or "\u2000" <= character <= "\u206f"
    return 0.0 if arabic or character > "\uffff" else -1.0  # Emoji are no sign of either.


def likely_encoding(sample: bytes) -> str:
    """Return the likely encoding of a part of a file; "" if there is none.

    The detector of charset-normalizer is right about most scripts, but confuses the encodings of Arabic.
    """
    sample = sample[:_SAMPLE]
    best, score = _best(sample)
    if score > _SURE:
        return best
    from charset_normalizer import from_bytes

    found = from_bytes(sample).best()
    return found.encoding.replace("_", "-") if found else ""


def better_encoding(sample: bytes, named: str) -> str:
    """Return the encoding in which a text is Arabic, if it is not in the one that is named; otherwise ""."""
    sample = sample[:_SAMPLE]
    best, score = _best(sample)
    return best if score > max(_SURE, arabic_score(decoded(sample, named)[0]) + _CLEARLY) else ""


def wide_encoding(sample: bytes) -> str:
    """Return the likely encoding of a part of a file, if it is UTF-16 or UTF-32; otherwise ""."""
    sample = sample[:_SAMPLE]
    likely = likely_encoding(sample)
    if not likely.startswith(("utf-16", "utf-32")):
        return ""
    text = decoded(sample, likely)[0]
    return likely if len(_USUAL.findall(text)) > _USUAL_SHARE * len(text) else ""


def _best(sample: bytes) -> tuple[str, float]:
    scores = {encoding: arabic_score(decoded(sample, encoding)[0]) for encoding in _CANDIDATES}
    scores["cp864"] -= 0.1  # It has most letters where ISO-8859-6 has them, too, and is rare.
    return max(scores.items(), key=lambda item: item[1])


def wrong_lines(data: bytes) -> tuple[bytes, bool]:
    """Return the lines that are not UTF-8 at all, and whether others are."""
    wrong, right = [], 0
    for line in data.splitlines(keepends=True):
        if line.isascii():
            continue
        letters = len(line) - len(line.translate(None, bytes(range(128, 256))))
        undecodable = decoded(line)[1]
        if undecodable * 2 > letters > 2:
            wrong.append(line)
        elif not undecodable and letters > 2:
            right += 1
    return b"".join(wrong), right > _MISTAKEN_LINES * (len(wrong) + right)


def mistaken_decoding(lines: Sequence[str]) -> tuple[str, str] | None:
    """Find text whose bytes were decoded wrongly and saved again, such as "Ø§Ù„".

    Args:
        lines: a sample of a file.

    Returns:
        the encoding that was used and the right one; None if the text is in order.
    """
    lines = [line for line in lines if not line.isascii()]
    found: dict[tuple[str, str], int] = {}
    for line in lines:
        mistakes = [mistake for mistake in _MISTAKES if _is_possible(line, mistake)]
        scores = {mistake: _score_of_repair(line, *mistake) for mistake in mistakes}
        best = max(scores, key=scores.__getitem__, default=None)
        if best and scores[best] > _SURE:
            found[best] = found.get(best, 0) + 1
    if sum(found.values()) <= _MISTAKEN_LINES * len(lines):
        return _mistake_of_all("\n".join(lines)[:_TRIED])
    return max(found, key=found.__getitem__)


def _mistake_of_all(text: str) -> tuple[str, str] | None:
    now = arabic_score(text)
    if now > _IN_ORDER or len(text) < _FEW_CHARACTERS:
        return None
    mistakes = [(used, right) for used in _USED for right in ("utf-8", *_CANDIDATES[1:5]) if used != right]
    scores = {mistake: _score_of_repair(text, *mistake) for mistake in mistakes}
    for used in _USED[:3]:  # Twice.
        once = _repaired(text, used, "utf-8")
        scores[used, "utf-8"] = max(scores[used, "utf-8"], _score_of_repair(once, used, "utf-8"))
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] > max(_SURE, now + _CLEARLY) else None


def lost_letters(text: str) -> bool:
    """Return whether many words are question marks: the text was saved in an encoding without Arabic."""
    words = _LOST.findall(text)
    lost: int = sum(word.startswith("?") for word in words)
    return lost >= _FEW_WORDS and lost > _LOST_SHARE * len(words)


def _is_possible(line: str, mistake: tuple[str, str]) -> bool:
    """Whether a line may have been damaged in this way: a quick test, which text in order does not pass."""
    if mistake == ("windows-1256", "utf-8"):
        # The first byte of each letter in UTF-8.
        return 5 * (line.count("ط") + line.count("ظ")) > len(line)
    return mistake[0] != "windows-1256" and 5 * len(_LATIN.findall(line)) > len(line)


def _score_of_repair(line: str, used: str, right: str) -> float:
    text = _repaired(line, used, right)
    return arabic_score(text) if sum(letter in _WEIGHTS for letter in text) >= _FEW_LETTERS else 0.0


def _repaired(text: str, used: str, right: str) -> str:
    """Return the text as it was before it was decoded as `used`; "" if it was not."""
    data = text.encode(used, _HANDLER)
    controls = sum("\x80" <= character <= "\x9f" for character in text)
    result, undecodable = decoded(data, right)
    # Characters that were lost then are no sign.
    unencodable = len(text.replace(REPLACEMENT, "")) - len(text.encode(used, "ignore")) - controls
    return "" if 20 * max(undecodable, unencodable) > len(result) else result


def _bytes(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    # Windows-1252 has five bytes without a character, which programs keep as they are.
    text = error.object[error.start : error.end]
    return bytes(ord(c) if "\x80" <= c <= "\x9f" else 0xFF for c in text), error.end


_HANDLER = "qarib_bytes"
codecs.register_error(_HANDLER, _bytes)
