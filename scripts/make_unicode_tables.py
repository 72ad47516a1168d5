"""Write qarib_tasks/vocabulary/unicode_tables.txt, the rules of BERT's basic tokenizer per code point.

    python scripts/make_unicode_tables.py [--reference PYTHON37]

The tables are from the pinned `tokenizers` library (BertNormalizer and BertPreTokenizer), which users of the
exported model run. Run this script again when you change the pinned version, and review the diff: each
changed line changes the tokenization.

With `--reference`, the path of a Python 3.7 interpreter (Unicode 11, which google-research/bert used), the
script also writes tests/data/unicode_differences.txt: the code points that the two treat differently.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers  # noqa: TID253
from tokenizers.normalizers import NFD, BertNormalizer  # noqa: TID253
from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: TID253

from qarib_tasks.vocabulary.unicode_rules import TABLES

DIFFERENCES = Path(__file__).resolve().parent.parent / "tests" / "data" / "unicode_differences.txt"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)

HEADER = """\
# Made by scripts/make_unicode_tables.py from tokenizers {version}; do not edit.
# One rule per line, code points in hexadecimal:
#   space FIRST-LAST          splits words
#   punctuation FIRST-LAST    a separate word
#   reorder CODE CLASS        canonical combining class of marks that NFD sorts and that are not stripped
#   join FIRST-LAST           removed controls and marks that such marks are sorted across
#   cased FIRST-LAST RESULT   clean-up; RESULT is code points, or "-" for removed, or "isolated"
#   lower FIRST-LAST RESULT   clean-up, NFD without category Mn, lower case; or "hangul" (arithmetic)
# Code points that are in no line are unchanged.
"""

# The rules of google-research/bert tokenization.py for one code point, with the tables of an old Python.
REFERENCE_PROGRAM = r"""
import json, sys, unicodedata
def clean(char, category):
    if ord(char) in (0, 0xFFFD): return ""
    if char in "\t\n\r ": return " "
    if category.startswith("C"): return ""
    return " " if category == "Zs" else char
CJK = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
       (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
def words(code, lower):
    char = clean(chr(code), unicodedata.category(chr(code)))
    if any(first <= code <= last for first, last in CJK): char = " " + char + " "
    if lower:
        char = unicodedata.normalize("NFD", char.lower())
        char = "".join(c for c in char if unicodedata.category(c) != "Mn")
    text = ""
    for c in "a" + char + "a":
        punctuation = unicodedata.category(c).startswith("P") or 33 <= ord(c) < 127 and not c.isalnum()
        text += " " + c + " " if punctuation else c
    return text.split()
print(unicodedata.unidata_version)
for lower in (False, True):
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000: 
            print(json.dumps([unicodedata.category(chr(code)), words(code, lower)]))
"""


def ranges(codes: Iterable[int]) -> Iterator[str]:
    """Yield the ranges of sorted code points as `FIRST-LAST`."""
    first = last = None
    for code in codes:
        if last is not None and code == last + 1:
            last = code
            continue
        if first is not None:
            yield f"{first:04X}-{last:04X}"
        first = last = code
    if first is not None:
        yield f"{first:04X}-{last:04X}"


def hangul(code: int) -> str:
    """Return the canonical decomposition of a Hangul syllable (Unicode, 3.12)."""
    syllable = code - HANGUL.start
    jamo = [0x1100 + syllable // 588, 0x1161 + syllable % 588 // 28]
    return "".join(map(chr, jamo + [0x11A7 + syllable % 28] * (syllable % 28 > 0)))


def normalizer(lower: bool) -> BertNormalizer:
    return BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower)


def mode_lines(mode: str) -> Iterator[str]:
    normalize = normalizer(mode == "lower").normalize_str
    groups: dict[str, list[int]] = {}
    for code in CODE_POINTS:
        result = normalize(chr(code))
        if code in HANGUL and mode == "lower":
            assert result == hangul(code)
            key = "hangul"
        elif result == f" {chr(code)} ":
            key = "isolated"
        elif result == chr(code):
            continue
        else:
            key = " ".join(f"{ord(c):04X}" for c in result) or "-"
        groups.setdefault(key, []).append(code)
    for key in sorted(groups, key=lambda key: groups[key][0]):
        yield from (f"{mode} {span} {key}" for span in ranges(groups[key]))


def pieces(text: str) -> list[str]:
    return [piece for piece, _ in BertPreTokenizer().pre_tokenize_str(text)]


def combining_lines() -> Iterator[str]:
    """Yield rules for the few marks that NFD sorts by class and that stripping category Mn keeps.

    The library does not expose a code point's class. It is found by sorting: NFD puts `a` before `b`, for
    both input orders, exactly if both have a class and the class of `a` is lower.
    """
    normalize = normalizer(True).normalize_str
    nfd = NFD().normalize_str
    # U+0334 has class 1, the lowest; U+0345 has 240, the highest: a mark sorts against one of them.
    marks = [
        code
        for code in CODE_POINTS
        if nfd(chr(code)) == chr(code)
        and (
            nfd(chr(code) + "\u0334") != chr(code) + "\u0334"
            or nfd("\u0345" + chr(code)) != "\u0345" + chr(code)
        )
    ]
    kept = [code for code in marks if normalize(chr(code)) == chr(code)]
    ordered = sorted(
        kept, key=lambda code: sum(nfd(chr(code) + chr(other)) != chr(code) + chr(other) for other in kept)
    )
    ranks = [sum(nfd(chr(code) + chr(other)) != chr(code) + chr(other) for other in kept) for code in ordered]
    yield from (f"reorder {code:04X} {rank + 1}" for code, rank in zip(ordered, ranks, strict=True))
    clean = normalizer(False).normalize_str
    removed = [code for code in CODE_POINTS if normalize(chr(code)) == ""]
    joining = [c for c in removed if clean(chr(c)) == "" or set(map(ord, nfd(chr(c)))) <= set(marks)]
    yield from (f"join {span}" for span in ranges(joining))


def tables() -> Iterator[str]:
    kept = [c for c in CODE_POINTS if not chr(c).isascii() or chr(c).isprintable()]
    split = {code: pieces(f"a{chr(code)}a") for code in kept}
    yield from (f"space {span}" for span in ranges(c for c in kept if split[c] == ["a", "a"]))
    yield from (f"punctuation {span}" for span in ranges(c for c in kept if split[c] == ["a", chr(c), "a"]))
    yield from combining_lines()
    yield from mode_lines("cased")
    yield from mode_lines("lower")


def differences(python37: str) -> Iterator[str]:
    """Yield ranges of code points that our tables and the reference with Unicode 11 treat differently."""
    output = subprocess.run([python37, "-c", REFERENCE_PROGRAM], capture_output=True, text=True, check=True)
    version, *lines = output.stdout.splitlines()
    yield f"# Code points that google-research/bert treats differently under Unicode {version}, by mode."
    yield "# Those that it removes because they are unassigned there, or private (Cn, Co), are under `new`."
    results = iter(lines)
    for lower in (False, True):
        normalize = normalizer(lower).normalize_str
        different: dict[str, list[int]] = {"cased": [], "lower": [], "new": []}
        for code in CODE_POINTS:
            category, words = json.loads(next(results))
            if pieces(normalize(f"a{chr(code)}a")) != words:
                kind = "new" if category in {"Cn", "Co"} else "lower" if lower else "cased"
                different[kind].append(code)
        for kind in ("lower", "new") if lower else ("cased",):
            yield from (f"{kind} {span}" for span in ranges(different[kind]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", metavar="PYTHON37")
    arguments = parser.parse_args()
    TABLES.write_text(HEADER.format(version=tokenizers.__version__) + "\n".join(tables()) + "\n")
    if arguments.reference:
        DIFFERENCES.write_text("\n".join(differences(arguments.reference)) + "\n")


if __name__ == "__main__":
    main()
