"""How well a vocabulary fits a text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from qarib_tasks.vocabulary.build import SPECIAL_TOKENS
from qarib_tasks.vocabulary.file import load_vocab
from qarib_tasks.vocabulary.report import dead_entries, lower_case_of, report, wordpieces
from tests.support.vocabularies import counted


def test_the_report_knows_dead_unused_and_unknown(corpus: Path, tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    own = [
        "ق",
        "##ال",
        "قال",
        "##ق",
        "##قل",
        "Big",
        "قَال",
        "أب",
        "##أب",
        "a.b",
        "##.",
        "never",
        "ab",
        "##b",
        "[UNUSED_0]",
    ]
    vocab.write_text("\n".join([*SPECIAL_TOKENS, *own]) + "\n", encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text("قَالَ ققل قال! a\nab. مرحبا مرحبا\n", encoding="utf-8")
    found = report(vocab, text, do_lower_case=True)
    assert found.dead == ["Big", "قَال", "أب", "##أب", "a.b", "##."]
    assert (found.entries, found.placeholders) == (20, 1)
    assert found.words == 9
    assert found.unknown_words == [("مرحبا", 2), ("!", 1), (".", 1), ("a", 1)]
    assert found.wordpieces == 2 + 2 + 1 + 5
    assert found.unknown_share == 0.5
    assert found.wordpieces_per_word == pytest.approx(10 / 9)
    assert found.never_used == ["##ال", "##ق", "never", "##b"]
    cased = report(vocab, text, do_lower_case=False)
    assert cased.dead == ["a.b", "##."]


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"do_lower_case": 1}', "", None])
def test_settings_of_a_tokenizer_that_say_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer_config.json"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert lower_case_of(tmp_path / "vocab.txt") is None


def test_an_entry_that_a_longer_one_always_hides_is_dead(tmp_path: Path) -> None:
    # Every word that could lead to ##b begins with "ab", which is an entry.
    assert dead_entries([*SPECIAL_TOKENS, "a", "ab", "##b"], do_lower_case=True) == ["##b"]
    assert dead_entries([*SPECIAL_TOKENS, "a", "ab", "##b", "c"], do_lower_case=True) == []


def test_wordpieces_are_those_of_the_tokenizers_library(corpus: Path, built: Path) -> None:
    entries = set(load_vocab(built / "vocab.txt"))
    tokenizer = Tokenizer.from_file(str(built / "tokenizer.json"))
    for word in [*list(counted(corpus.read_text(encoding="utf-8")))[::10], "x" * 200, "x" * 201, "漢"]:
        mine = wordpieces(word, entries, max(map(len, entries)))
        assert (mine or ["[UNK]"]) == tokenizer.encode(word, add_special_tokens=False).tokens
