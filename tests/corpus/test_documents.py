"""A text and its documents' records, whatever blocks the lines come in."""

from __future__ import annotations

import io

import numpy as np
import pytest

from qarib_tasks.corpus.documents import BINS, RECORD, DocumentWriter, bin_name, histogram

LINES = ["one two", "three", "", "four", "", "", "five six seven", "eight", ""]
TEXT = b"one two\nthree\n\nfour\n\nfive six seven\neight\n"


def written(block: int, limit: int = 0) -> tuple[bytes, list[tuple[int, ...]], DocumentWriter]:
    text, records = io.BytesIO(), io.BytesIO()
    writer = DocumentWriter(text, records, limit)
    sizes = [writer.write(LINES[at : at + block]) for at in range(0, len(LINES), block)]
    writer.close()
    assert sum(sizes) <= len(text.getvalue())
    rows = np.frombuffer(records.getvalue(), dtype=RECORD)
    return text.getvalue(), [tuple(int(value) for value in row) for row in rows], writer


@pytest.mark.parametrize("block", [1, 2, 3, 4, 100])
def test_the_same_text_and_records_in_any_blocks(block: int) -> None:
    text, records, writer = written(block)
    assert text == TEXT
    assert [record[1:] for record in records] == [(14, 2, 3), (5, 1, 1), (21, 2, 4)]
    assert records == written(100)[1]
    assert len({record[0] for record in records}) == writer.documents == 3
    assert writer.line_words == {"1": 3, "2": 1, "3": 1}


@pytest.mark.parametrize("block", [1, 4, 100])
def test_the_limit_counts_whole_documents(block: int) -> None:
    text, records, writer = written(block, limit=2)
    assert text == b"one two\nthree\n\nfour\n"
    assert len(records) == writer.documents == 2


def test_bins_hold_every_number_once() -> None:
    assert histogram(np.arange(1, 2000)) == {
        bin_name(place): (BINS[place + 1] if place + 1 < len(BINS) else 2000) - first
        for place, first in enumerate(BINS)
    }
    assert [bin_name(place) for place in (0, 4, len(BINS) - 1)] == ["1", "6-7", "1024+"]
