"""The sample text and a vocabulary of it. No test changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.presets import SAMPLE
from tests.support.vocabularies import build


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "data.txt"
    texts = [(SAMPLE / f"{name}.txt").read_text(encoding="utf-8") for name in ("muwatta", "tweets", "office")]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def built(corpus: Path) -> Path:
    """The folder of a vocabulary of the corpus."""
    build(corpus, corpus.parent / "built" / "vocab.txt")
    return corpus.parent / "built"
