"""Sets as they are published, read with settings only: documents in are documents out, but for named rules.

Covers qarib_tasks/corpus/reading/read.py.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect
from tests.support.collecting import SENTENCES

COUNT = 300


def collected(tmp_path: Path, path: Path, **settings: Any) -> tuple[list[list[str]], Mapping[str, Any]]:
    """Return the documents of a source, as lines, and the manifest's statistics."""
    sources = [{"name": "set", "path": str(path), **settings}]
    config = from_dict(CollectConfig, {"sources": sources, "cleaning": ["minimum_length", "arabic_share"]})
    out = tmp_path / "out" / "data.txt"
    manifest = collect(config, out, heldout=None, random_seed=34)
    text = out.read_text(encoding="utf-8").rstrip("\n")
    return [document.split("\n") for document in text.split("\n\n")], manifest.statistics


def sentence(number: int) -> str:
    return f"{SENTENCES[number % 12]} رقم {number}"


def test_a_tsv_of_sentences_without_header(tmp_path: Path) -> None:
    """As Tatoeba's: quotes are text, and some do not close."""
    texts = [sentence(number) for number in range(COUNT)]
    for number in range(7, COUNT, 50):
        texts[number] = f'"{texts[number]}'
        texts[number + 5] = f'{texts[number + 5]}"'
        texts[number + 9] = f'"{texts[number + 9]}" قال'
    path = tmp_path / "ara_sentences.tsv"
    path.write_text("".join(f"{n}\tara\t{text}\n" for n, text in enumerate(texts)), encoding="utf-8")
    documents, figures = collected(tmp_path, path, header=False, field=3, document="line")
    assert sorted(documents) == sorted([text] for text in texts)
    assert (figures["documents_read"], figures["duplicates"]) == (COUNT, 0)


def test_a_csv_file_with_commas_quotes_and_line_breaks_in_its_cells(tmp_path: Path) -> None:
    texts = [
        "\n".join(f'{sentence(7 * number + line)}, "نعم", ثم' for line in range(1 + number % 4))
        for number in range(COUNT)
    ]
    texts[40] = "too foreign"
    texts[50] = ""
    texts[60] = texts[61]
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(["id", "title, short", "text", "label"])
    writer.writerows([number, "عنوان, آخر", text, number % 3] for number, text in enumerate(texts))
    path = tmp_path / "articles.csv"
    path.write_text(sink.getvalue(), encoding="utf-8-sig", newline="")
    documents, figures = collected(tmp_path, path)
    kept = [text.split("\n") for number, text in enumerate(texts) if number not in (40, 50, 60)]
    assert sorted(documents) == sorted(kept)
    dropped = (figures["duplicates"], figures["dropped"]["arabic_share"], figures["empty_records"])
    assert dropped == (1, 1, 1)


def test_tweets_of_the_streaming_api_in_a_zip(tmp_path: Path) -> None:
    """Notices of deletions are between the tweets, empty lines between the records; a member is empty."""
    texts = [sentence(number) for number in range(COUNT)]
    records: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        tweet: dict[str, Any] = {"id": number, "text": text, "truncated": False, "user": {"lang": "ar"}}
        if number % 10 == 0:
            tweet |= {"text": text[:12] + "…", "truncated": True, "extended_tweet": {"full_text": text}}
        records.append(tweet)
        if number % 50 == 0:
            records.append({"delete": {"status": {"id": number}}})
    lines = [json.dumps(record, ensure_ascii=number % 2 == 0) for number, record in enumerate(records)]
    path = tmp_path / "tweets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("2023/a.jsonl", "\r\n\r\n".join(lines[:100]))
        archive.writestr("2023/b.jsonl", "")
        archive.writestr("2023/c.jsonl", "\r\n\r\n".join(lines[100:]) + "\r\n")
    documents, figures = collected(tmp_path, path, document="line", skip_at_most=COUNT // 50)
    assert sorted(documents) == sorted([text] for text in texts)
    assert (figures["documents_read"], figures["skipped"]) == (COUNT, COUNT // 50)
