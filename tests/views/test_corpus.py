"""The corpus and the vocabulary, as the page shows them."""

from __future__ import annotations

import pytest

from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.shards import shards_view
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, states


def test_broken_files_are_no_figures(run: MadeUpRun, bucket: FolderBucket) -> None:
    for name in ("data.json", "vocab.json", "manifest.json", "pretraining_data/shard_0000.json"):
        (run.dataset.root / name).write_text("{ not JSON")
    assert corpus_view(run.record, files(run, bucket))["corpus"] is None
    assert states(shards_view(run.record, files(run, bucket), run.tasks))["0000"] == "corrupt"


def test_corpus_and_vocabulary(run: MadeUpRun, bucket: FolderBucket) -> None:
    view = corpus_view(run.record, files(run, bucket))
    corpus, vocabulary = view["corpus"], view["vocabulary"]
    assert corpus["line_words"] == [["1", 2], ["4-5", 7], ["1024+", 1]]
    assert corpus["changed"] == [["elongation", 3]]
    assert corpus["samples"] == {"tweets": [["قال  قال", "قال قال"]]}
    assert vocabulary["fit"]["wordpieces_a_word"] == pytest.approx(12 / 9)
    assert vocabulary["fit"]["unknown_share"] == pytest.approx((0.001 + 0.002) * 4 / 13)
    # Without the workspace a few shards' manifests stand for all.
    fit = corpus_view(run.record, files(run, bucket, local=False))["vocabulary"]["fit"]
    assert fit["shards"] == 3
    assert sum(name.startswith("read") for name in bucket.asked) == 5
