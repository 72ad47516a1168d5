"""The likely encoding of Arabic text, also of a single line."""

from __future__ import annotations

import pytest

from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.corpus.content.guessing import likely_encoding, mistaken_decoding
from tests.support.collecting import SENTENCES

# Mac Arabic has the letters where ISO-8859-6 has them.
ENCODINGS = {"utf-8", "windows-1256", "iso-8859-6", "cp720", "utf-16-le", "utf-16-be"}


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_each_sentence_in_each_encoding(encoding: str) -> None:
    for sentence in SENTENCES:
        assert likely_encoding(sentence.encode(encoding)) == encoding


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1256", "cp720"])
@pytest.mark.parametrize("name", ["muwatta", "tweets", "office"])
def test_real_text_with_diacritics_and_other_scripts(name: str, encoding: str) -> None:
    text = (SAMPLE / f"{name}.txt").read_text(encoding="utf-8")[:20000]
    assert likely_encoding(text.encode(encoding, "ignore")) == encoding
    assert mistaken_decoding(text.splitlines()) is None


def test_other_scripts_are_left_to_the_library() -> None:
    russian = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    assert likely_encoding(russian.encode("cp1251")) == "cp1251"
    assert likely_encoding(bytes(range(128, 256)) * 3) not in ENCODINGS


def test_no_lines_are_in_order() -> None:
    assert mistaken_decoding([]) is None
    assert mistaken_decoding(["plain", "é"]) is None
