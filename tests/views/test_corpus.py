"""The corpus and the vocabulary, as the page shows them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import DEFAULT_CLEANING
from qarib_tasks.corpus.collect import collect
from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.views.corpus import corpus_view
from qarib_tasks.views.runs import data_sizes
from qarib_tasks.views.shards import shards_view
from tests.support.collecting import config
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, states


def test_broken_files_are_no_figures(run: MadeUpRun, bucket: FolderBucket) -> None:
    for name in (
        *("data.txt.manifest.json", "vocab.txt.manifest.json", "manifest.json"),
        "pretraining_data/shard_0000.tfrecord.manifest.json",
    ):
        (run.dataset.root / name).write_text("{ not JSON")
    assert corpus_view(run.record, files(run, bucket))["corpus"] is None
    assert states(shards_view(run.record, files(run, bucket), run.tasks))["0000"] == "corrupt"


def test_losses_and_their_warnings(run: MadeUpRun, bucket: FolderBucket, tmp_path: Path) -> None:
    source, text = Path(__file__).parents[1] / "data" / "cases" / "w7-doc-a-line.txt", tmp_path / "data.txt"
    made = config(source, source={"document": "line"}, cleaning=DEFAULT_CLEANING)
    manifest = collect(made, text, heldout=None, random_seed=1)
    manifest.write(manifest_of(run.dataset.data))
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    ((rule, number, total, unit, share),) = corpus["lost"]
    assert (rule, number, total, unit) == ("maximum_length", 3, 4, "documents")
    assert share == pytest.approx(0.9993, abs=1e-4)
    assert corpus["summary"] == "3 of 4 documents (99.9% of the bytes) dropped by maximum_length"
    (warning,) = corpus["warnings"]
    assert "Raise `maximum_characters`" in warning
    assert data_sizes(run.record, files(run, bucket))["warnings"] == [warning]
    counted = {"a": {"task": "mood", "documents": 1234}, "b": {"task": "topic", "documents": 0}}
    counted["c"] = {"task": "one", "documents": 1}
    statistics = {**manifest.statistics, "contamination": counted}
    replace(manifest, statistics=statistics).write(manifest_of(run.dataset.data))
    (_, stayed, one) = corpus_view(run.record, files(run, bucket))["corpus"]["warnings"]
    assert one.startswith("1 document contains test texts of the task one")
    assert stayed.startswith("1,234 documents contain test texts of the task mood")


def test_files_left_out_and_undecodable_bytes(run: MadeUpRun, bucket: FolderBucket, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\xff\n")
    (tmp_path / "b.txt").touch()
    made = config(tmp_path / "*.txt", source={"encoding_errors": "replace"})
    manifest = collect(made, tmp_path / "out" / "data.txt", heldout=None, random_seed=1)
    manifest.write(manifest_of(run.dataset.data))
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    assert (corpus["totals"]["undecodable_bytes"], corpus["totals"]["left_out_files"]) == (1, 1)
    assert corpus["files"] == [
        [str(tmp_path / "b.txt"), "left out: empty"],
        [str(tmp_path / "a.txt"), "1 undecodable byte"],
    ]


def test_texts_that_rules_changed_and_dropped(run: MadeUpRun, bucket: FolderBucket, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("خبـــر اليوم\n\nhello\n\n" + "x" * 600 + "\n", encoding="utf-8")
    made = config(source, cleaning=DEFAULT_CLEANING)
    manifest = collect(made, tmp_path / "data.txt", heldout=None, random_seed=1)
    place = manifest_of(run.dataset.data)
    manifest.write(place)
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    assert corpus["changed_texts"] == {"tatweel": [["source0", "خبـــر اليوم", "خبر اليوم"]]}
    assert sorted(corpus["dropped_texts"]["arabic_share"]) == [
        ["source0", "hello"],
        ["source0", "x" * 239 + "…"],
    ]
    # Of any type and number.
    wrong = {"changed_texts": {"a": [["s", "b"], ["s", 1, "c"]], "b": 3}, "dropped_texts": [1]}
    replace(manifest, statistics={**manifest.statistics, **wrong}).write(place)
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    assert (corpus["changed_texts"], corpus["dropped_texts"]) == ({"a": []}, {})
    many = {"dropped_texts": {str(n): [["s", "y" * 1000]] * 100 for n in range(100)}}
    many["sources"] = {str(n): {"samples": [["a", "b"]] * 100} for n in range(100)}  # type: ignore[dict-item]
    replace(manifest, statistics={**manifest.statistics, **many}).write(place)
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    assert {len(texts) for texts in corpus["dropped_texts"].values()} == {10}
    assert {len(text) for texts in corpus["dropped_texts"].values() for _, text in texts} == {400}
    assert (len(corpus["dropped_texts"]), len(corpus["samples"])) == (40, 50)


def test_sizes_beside_each_other_are_of_the_same(
    run: MadeUpRun, bucket: FolderBucket, tmp_path: Path
) -> None:
    """Text that is kept, and text that was read: the files are compressed, and smaller than either."""
    sentence = "قال رسول الله صلى الله عليه وسلم في هذا اليوم"
    text = "".join(f"{sentence} {number}\n\n" for number in range(300)) + "hello\n"
    source = tmp_path / "a.txt.gz"
    source.write_bytes(gzip.compress(text.encode()))
    made = config(source, cleaning=DEFAULT_CLEANING)
    manifest = collect(made, tmp_path / "data.txt", heldout=None, random_seed=1)
    manifest.write(manifest_of(run.dataset.data))
    corpus = corpus_view(run.record, files(run, bucket))["corpus"]
    lines = [line for line in text.splitlines(keepends=True) if line.strip()]
    for figures in (corpus["totals"], corpus["sources"]["source0"]):
        assert figures["bytes_read"] == source.stat().st_size < figures["bytes"]
        assert figures["text_read"] == sum(len(line.encode()) for line in lines)
        assert figures["bytes"] == figures["text_read"] - len(b"hello\n")
    # What an earlier version did not count is not known, and not zero.
    about = {key: value for key, value in manifest.statistics.items() if not key.startswith("text_")}
    del about["bytes"], about["documents"]
    replace(manifest, statistics=about).write(manifest_of(run.dataset.data))
    totals = corpus_view(run.record, files(run, bucket))["corpus"]["totals"]
    assert [totals[key] for key in ("text_read", "bytes", "documents", "duplicates")] == [None, None, None, 0]


def test_corpus_and_vocabulary(run: MadeUpRun, bucket: FolderBucket) -> None:
    view = corpus_view(run.record, files(run, bucket))
    corpus, vocabulary = view["corpus"], view["vocabulary"]
    assert corpus["line_words"] == [["1", 2], ["4-5", 7], ["1024+", 1]]
    assert corpus["changed"] == [["elongation", 3]]
    # What an earlier version wrote has no shares.
    assert corpus["lost"] == [["arabic_share", 2, None, "lines", None]]
    assert (corpus["summary"], corpus["warnings"]) == ("", [])
    assert corpus["samples"] == {"tweets": [["قال  قال", "قال قال"]]}
    assert vocabulary["fit"]["wordpieces_a_word"] == pytest.approx(12 / 9)
    assert vocabulary["fit"]["unknown_share"] == pytest.approx((0.001 + 0.002) * 4 / 13)
    # Without the workspace a few shards' manifests stand for all.
    fit = corpus_view(run.record, files(run, bucket, local=False))["vocabulary"]["fit"]
    assert fit["shards"] == 3
    assert sum(name.startswith("read") for name in bucket.asked) == 5
