"""The two parts of a corpus: training, and held out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qarib_tasks.corpus.collect import collect
from qarib_tasks.errors import InputError
from qarib_tasks.storage.manifest import Manifest
from tests.support.collecting import config, held_out


def test_a_document_stays_held_out_when_the_corpus_grows(tmp_path: Path) -> None:
    documents = [f"document {i}\nits second line {i}" for i in range(200)]
    kept, held = held_out("\n\n".join(documents[:100]), tmp_path, "small")
    more_kept, more_held = held_out("\n\n".join(reversed(documents)), tmp_path, "large")
    assert kept | held == set(documents[:100])
    assert more_kept | more_held == set(documents)
    assert held == more_held & set(documents[:100])
    assert 30 <= len(more_held) <= 90


def test_documents_cut_by_the_reader_s_blocks_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_words = random.Random(1)
    documents = [
        "\n".join(f"{i} {random_words.random()}" for _ in range(random_words.choice([1, 2, 30])))
        for i in range(60)
    ]
    whole = held_out("\n\n".join(documents), tmp_path, "whole")
    monkeypatch.setattr("qarib_tasks.corpus.reading.text.BLOCK", 50)
    monkeypatch.setattr("qarib_tasks.corpus.joining.RECORDS", 7)
    monkeypatch.setattr("qarib_tasks.corpus.joining.CHUNK", 11)
    cut = held_out("\n\n".join(documents), tmp_path, "cut")
    assert whole[0] | whole[1] == set(documents)
    assert cut == whole
    manifests = [Manifest.read(tmp_path / name / "data.txt.manifest.json") for name in ("whole", "cut")]
    for manifest in manifests:
        source = manifest.statistics["sources"]["source0"]
        # Texts and warnings name the file.
        assert source.pop("samples")
        assert source.pop("file_warnings")
        assert manifest.statistics.pop("warnings")
    assert manifests[0].statistics == manifests[1].statistics


def test_a_part_that_stays_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    out, heldout = tmp_path / "o" / "d.txt", tmp_path / "o" / "h.txt"
    with pytest.raises(InputError, match="none of 2 documents is in the held-out part"):
        collect(config(tmp_path / "a.txt", share=1e-9), out, heldout=heldout, random_seed=1)
    with pytest.raises(InputError, match="all 2 documents are in the held-out part"):
        collect(config(tmp_path / "a.txt", share=1 - 1e-9), out, heldout=heldout, random_seed=1)
