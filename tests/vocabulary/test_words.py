"""Words, as the tokenizer sees them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from tests.support.vocabularies import counted


@pytest.mark.parametrize("lower", [True, False])
def test_words_are_those_of_the_tokenizers_library(corpus: Path, lower: bool) -> None:
    hostile = (
        "İstanbul ﷺ a\u0301\u0302b ก\u0e39\u0e38 가각 你好 a\u00adb x\u0483\u0484 e\u0f71\u0f72 ÅΣς 👍🏻"
    )
    text = corpus.read_text(encoding="utf-8") + hostile
    normalizer, pre_tokenizer = BertNormalizer(lowercase=lower), BertPreTokenizer()
    expected: Counter[str] = Counter()
    for word, count in Counter(text.split()).items():
        for part, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(word)):
            expected[part] += count
    assert counted(text, lower=lower) == expected
