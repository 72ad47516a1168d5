"""A preview as text."""

from __future__ import annotations

from dataclasses import replace

from qarib_tasks.corpus.preview.preview import Column, Document, Preview
from qarib_tasks.corpus.preview.text import shown, text_of, title

PREVIEW = Preview(
    source="tweets",
    path="data/*.csv",
    files=7,
    bytes=3 << 30,
    files_read=5,
    formats=("csv in gz",),
    encodings=("utf-8",),
    dialect="guessed delimiter ','",
    columns=(Column("id", "7"), Column("tweet", "نص")),
    column="tweet",
    documents=(Document("نص", "نص", ()), Document("a", "", ("arabic_share",)), Document("نـص", "نص", ())),
    sample_lines=10_000,
    complete=False,
    kept_lines=0.987,
    kept_bytes=0.99,
    losses="130 of 10,000 lines dropped by arabic_share",
    lines=12_345_678,
    words=98_765_432,
    seconds=7_500.0,
    warnings=(),
)


def test_the_lines() -> None:
    assert title(PREVIEW) == "tweets: data/*.csv: 7 files, 3.0 GiB"
    assert text_of(PREVIEW) == [
        "  format     csv in gz; encoding utf-8 (5 of 7 files read)",
        "  dialect    guessed delimiter ','",
        "  columns    id = \u20687\u2069",
        "           * tweet = \u2068نص\u2069",
        "  document 1 \u2068نص\u2069",
        "    cleaned  (the same)",
        "  document 2 \u2068a\u2069",
        "    cleaned  (dropped: arabic_share)",
        "  document 3 \u2068نـص\u2069",
        "    cleaned  \u2068نص\u2069",
        "  kept       98.7% of 10,000 lines of a sample, 99.0% of their bytes",
        "  lost       130 of 10,000 lines dropped by arabic_share",
        "  estimate   about 12,000,000 lines, 99,000,000 words; about 2 hours to read and clean",
    ]
    unknown = replace(PREVIEW, lines=None, bytes=None)
    assert title(unknown).endswith("7 files, size unknown")
    assert "estimate   none" in text_of(unknown)[-1]
    small = replace(PREVIEW, complete=True, lines=123, words=4567, seconds=0.1)
    assert text_of(small)[-1] == "  estimate   123 lines, 4,567 words; under 2 seconds to read and clean"


def test_text_cannot_control_the_terminal() -> None:
    assert shown("a\x1b[31m\u202eb\u2067\n") == "a\ufffd[31m\ufffdb\ufffd\ufffd"
    assert shown("نص\u200cنص") == "نص\u200cنص"
