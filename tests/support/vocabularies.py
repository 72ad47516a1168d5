"""Vocabularies of the sample text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.vocabulary.build import build_vocab
from qarib_tasks.vocabulary.words import normalized

SIZE = 1500


def build(
    data: Path, out: Path, *, size: int = SIZE, lower: bool = True, sample_lines: int = 10**6
) -> list[str]:
    config = VocabConfig(vocab_size=size, placeholders=16, sample_lines=sample_lines)
    build_vocab(data, out, config, do_lower_case=lower, random_seed=34)
    return out.read_text(encoding="utf-8").split("\n")[:-1]


def counted(text: str, *, lower: bool = True) -> Counter[str]:
    return normalized(Counter(text.split()), do_lower_case=lower)
