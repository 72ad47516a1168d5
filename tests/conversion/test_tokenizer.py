"""The compiled tokenizer against the reference's own ids, the tokenizers library and BERT's written rules.

Covers qarib_tasks/conversion/compiled/text.py, qarib_tasks/conversion/compiled/word_memory.py,
qarib_tasks/conversion/shard_text.py, qarib_tasks/vocabulary/unicode_rules.py.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from qarib_tasks.conversion.shard_text import read_shard
from qarib_tasks.conversion.tokenizer import Tokenizer
from qarib_tasks.vocabulary.file import ids_of, load_vocab
from qarib_tasks.vocabulary.words import LONGEST_WORD
from tests.support.oracle_pretraining_data import Wordpieces, load_tables

DATA = Path(__file__).parents[1] / "data"
VOCAB = load_vocab(DATA / "pretraining_data" / "vocab.txt")
# Code points that Unicode gave another category after version 11, which the reference ran on.
RECLASSIFIED = {0x166D, 0x1734, 0xA9BD}
CJK = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
]


@pytest.mark.parametrize(("name", "do_lower_case"), [("hostile-uncased", True), ("hostile-cased", False)])
def test_ids_of_hostile_lines_are_the_references(name: str, do_lower_case: bool) -> None:
    folder = DATA / "pretraining_data"
    lines = (folder / "hostile.txt").read_bytes().decode().replace("\r", "").split("\n")
    expected = [json.loads(line) for line in (folder / f"{name}.tokens.jsonl").read_text().splitlines()]
    tokenizer = Tokenizer(VOCAB, do_lower_case=do_lower_case)
    oracle = Wordpieces(ids_of(VOCAB), do_lower_case=do_lower_case)
    assert len(expected) > 300
    assert [tokenizer.ids(line) for line in lines[: len(expected)]] == expected
    assert [oracle.ids_of(line) for line in lines[: len(expected)]] == expected


def library_tokenizer(vocab: list[str], do_lower_case: bool) -> LibraryTokenizer:
    ids = {entry: number for number, entry in enumerate(vocab)}
    library = LibraryTokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    library.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=do_lower_case,
        lowercase=do_lower_case,
    )
    library.pre_tokenizer = BertPreTokenizer()
    return library


# Marks that NFD sorts, marks that are stripped, musical symbols that decompose, removed controls.
MARKS = st.sampled_from(
    "\U0001d16d\U0001d165\U0001d15e\u302e\u302f\u0301\u0334\u064b\u0651\u200d\u0e31\ufeff"
)
TEXT = st.text(
    st.one_of(
        st.sampled_from("  \t\u00a0\u2028ابتةأآ٣ًّـabcABCİΣẞ.,،#@[]_\u0640😀\U0001fae8中"),
        MARKS,
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
PIECES = [
    chr(code) for code in [*range(0x61, 0x7B), *range(0x627, 0x64B), *range(0x30, 0x3A), 0x1D15F, 0x302E]
]
SMALL = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    *PIECES,
    *(f"##{piece}" for piece in PIECES),
    *"#@.,،[]_😀中",
    *[
        "ab",
        "abc",
        "##bc",
        "با",
        "##تة",
        "mask",
        "\U0001d165\U0001d16d",
        "##\U0001d165",
        "##\U0001d16d",
        "\U0001d157",
    ],
]


@settings(max_examples=400, deadline=None)
@given(text=TEXT, do_lower_case=st.booleans())
def test_ids_are_those_of_the_tokenizers_library(text: str, do_lower_case: bool) -> None:
    text = text.replace("\n", " ").replace("\r", " ")
    expected = library_tokenizer(SMALL, do_lower_case).encode(text, add_special_tokens=False).ids
    assert Tokenizer(SMALL, do_lower_case=do_lower_case).ids(text) == expected


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_real_text_gives_the_librarys_ids(do_lower_case: bool) -> None:
    lines = (DATA / "pretraining_data" / "documents.txt").read_text(encoding="utf-8").splitlines()
    library = library_tokenizer(VOCAB, do_lower_case)
    tokenizer = Tokenizer(VOCAB, do_lower_case=do_lower_case)
    expected = [encoding.ids for encoding in library.encode_batch(lines, add_special_tokens=False)]
    assert [tokenizer.ids(line) for line in lines] == expected


def test_typed_special_tokens_stay_text() -> None:
    entries = [VOCAB[number] for number in Tokenizer(VOCAB, do_lower_case=True).ids("a [MASK] [CLS]")]
    assert "[MASK]" not in entries
    assert "[CLS]" not in entries
    assert Tokenizer(SMALL, do_lower_case=True).ids("[MASK]") == [SMALL.index(e) for e in ("[", "mask", "]")]


def test_words_longer_than_200_characters_are_unknown() -> None:
    tokenizer = Tokenizer(SMALL, do_lower_case=True)
    assert tokenizer.ids("a" * 200) == [SMALL.index("a"), *[SMALL.index("##a")] * 199]
    assert tokenizer.ids("a" * 201) == [SMALL.index("[UNK]")]


def listed_differences() -> dict[str, set[int]]:
    lists: dict[str, set[int]] = {"cased": set(), "lower": set(), "new": set()}
    for line in (DATA / "unicode_differences.txt").read_text().splitlines():
        if not line.startswith("#"):
            kind, span = line.split()
            first, last = (int(code, 16) for code in span.split("-"))
            lists[kind].update(range(first, last + 1))
    return lists


def reference_words(code: int, lower: bool) -> list[str]:
    """The reference's rules for one code point between two letters, on this interpreter's Unicode."""
    char, category = chr(code), unicodedata.category(chr(code))
    if code in (0, 0xFFFD) or (category.startswith("C") and char not in "\t\n\r"):
        char = ""
    elif category == "Zs" or char in "\t\n\r":
        char = " "
    if any(first <= code <= last for first, last in CJK):
        char = f" {char} "
    if lower:
        decomposed = unicodedata.normalize("NFD", char.lower())
        char = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    text = ""
    for c in f"a{char}a":
        punctuation = unicodedata.category(c).startswith("P") or (33 <= ord(c) < 127 and not c.isalnum())
        text += f" {c} " if punctuation else c
    return text.split()


@pytest.mark.parametrize("lower", [True, False])
def test_tables_follow_the_references_rules_but_for_the_listed_code_points(lower: bool) -> None:
    lists = listed_differences()
    passed_over = (
        lists["new"] | lists["lower" if lower else "cased"] | RECLASSIFIED | set(range(0xD800, 0xE000))
    )
    tables = load_tables(do_lower_case=lower)
    wrong = [
        f"U+{code:04X}"
        for code in range(sys.maxunicode + 1)
        if code not in passed_over and tables.split(f"a{chr(code)}a") != reference_words(code, lower)
    ]
    assert wrong == []


@pytest.mark.slow
def test_committed_tables_are_what_the_pinned_library_does() -> None:
    from make_unicode_tables import tables

    from qarib_tasks.vocabulary.unicode_rules import TABLES

    committed = [line for line in TABLES.read_text().splitlines() if not line.startswith("#")]
    assert list(tables()) == committed


@pytest.mark.parametrize(("slots", "units"), [(4, 1000), (1 << 12, 90), (1 << 12, 1)])
def test_a_full_memory_changes_nothing(slots: int, units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = DATA / "pretraining_data" / "hostile.txt"
    tokenizer = Tokenizer(VOCAB, do_lower_case=True)
    whole = read_shard(shard, tokenizer, 1, lambda phase, share: None)
    small = (np.zeros(slots, np.uint64), np.zeros(units, np.uint64), np.zeros(2, np.int64))
    monkeypatch.setattr(tokenizer, "new_memory", lambda size: small)
    again = read_shard(shard, tokenizer, 1, lambda phase, share: None)
    assert np.array_equal(again.tokens, whole.tokens)
    assert again.statistics == whole.statistics
    assert np.count_nonzero(small[0]) <= slots / 2
