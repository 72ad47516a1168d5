"""The vocabulary as the published recipe makes it."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.vocabulary.build import build_vocab
from qarib_tasks.vocabulary.report import report
from tests.support.vocabularies import SIZE


def test_the_published_recipe_has_the_faults_that_ours_has_not(
    corpus: Path, built: Path, tmp_path: Path
) -> None:
    """design.md, section 6: punctuation is [UNK], and entries with hamza and madda are dead."""
    config = VocabConfig(vocab_size=SIZE, placeholders=16, recipe="published")
    build_vocab(corpus, tmp_path / "vocab.txt", config, do_lower_case=True, random_seed=34)
    published, ours = (report(at / "vocab.txt", corpus, do_lower_case=True) for at in (tmp_path, built))
    assert published.entries == ours.entries == SIZE
    assert (len(ours.dead), ours.unknown_share < 0.002) == (0, True)
    assert len(published.dead) > 0.05 * SIZE
    assert any("أ" in entry for entry in published.dead)
    assert published.unknown_share > 0.1
    unknown = dict(published.unknown_words)
    assert all(unknown.get(mark) for mark in ".،:/#@؟!")
