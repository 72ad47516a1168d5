"""Sets as they are published, read with settings only: documents in are documents out, but for named rules.

Covers qarib_tasks/corpus/reading/read.py.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of

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


def texts_of_pages() -> list[str]:
    """Pages of one to four lines; one is foreign, one is there twice, one has a foreign line."""
    texts = [
        "\n".join(sentence(7 * number + line) for line in range(1 + number % 4)) for number in range(COUNT)
    ]
    texts[40] = "a foreign page\nof two lines"
    texts[50] += "\na foreign line"
    texts[60] = texts[61]
    return texts


def check(documents: list[list[str]], figures: Mapping[str, Any], texts: Sequence[str]) -> None:
    """Check that the pages came in, and came out but for those that rules dropped."""
    kept = [text.split("\n") for number, text in enumerate(texts) if number not in (40, 60)]
    kept[49].remove("a foreign line")
    assert sorted(documents) == sorted(kept)
    # Of the foreign page, the rule leaves no line.
    assert (figures["duplicates"], figures["dropped"]) == (1, {"arabic_share": 3})
    assert figures["documents_read"] == COUNT - 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("w1.warc.wet.gz", {}),
        ("w2-ar-en.txt.zip", {"format": "moses"}),
        ("w3-ar_EG-en.txt.zip", {"format": "moses"}),
        ("w4-cc100.txt.xz", {}),
    ],
)
def test_small_samples(name: str, settings: dict[str, Any]) -> None:
    assert lines_of(CASES / name, **settings) == SENTENCES[:6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a7-trailing-garbage.txt.gz", "cannot be read: Not a gzipped file"),
        ("c21-nul.csv", "not text .looks like binary data: 3 control characters in the first 180 bytes"),
        ("w2-ar-en.txt.zip", r"w2-ar-en.txt.zip/TED.ar-en.xml: not plain text, but an XML file"),
        ("w3b-mono-ar.zip", r"w3b-mono-ar.zip/OpenSubtitles/raw/ar/2001/1.xml: .* an XML file"),
    ],
)
def test_samples_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines_of(CASES / name)


def test_a_csv_file_without_a_byte_is_empty() -> None:
    assert lines_of(CASES / "c9-zero-bytes.csv") == []


def test_an_aligned_set_of_opus_in_a_zip(tmp_path: Path) -> None:
    """Moses: a line is a sentence; the other side, the licence and the alignment are not read."""
    texts = [sentence(number) for number in range(COUNT)]
    texts[5], texts[6] = "", texts[7]
    for pair, arabic in (("ar-en", "ar"), ("ar_EG-en", "ar_EG")):
        path = tmp_path / f"{pair}.txt.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README", "TED corpus\n")
            archive.writestr("LICENSE", "CC-BY\n")
            archive.writestr(f"TED2020.{pair}.{arabic}", "".join(f"{text}\n" for text in texts))
            archive.writestr(f"TED2020.{pair}.en", "Sami went.\n" * COUNT)
            archive.writestr(f"TED2020.{pair}.xml", '<?xml version="1.0"?>\n<cesAlign/>\n')
        documents, figures = collected(tmp_path / pair, path, format="moses", document="line")
        assert sorted(documents) == sorted(
            [text] for number, text in enumerate(texts) if number not in (5, 6)
        )
        # The empty line is no document, and nothing of the other files is read.
        counts = (figures["documents_read"], figures["duplicates"], figures["dropped"])
        assert counts == (COUNT - 1, 1, {})


def test_the_text_of_common_crawl(tmp_path: Path) -> None:
    texts = texts_of_pages()
    records = [("warcinfo", "application/warc-fields", "Software-Info: ia-web-commons\r\n")]
    records += [("conversion", "text/plain", text) for text in texts]
    path = tmp_path / "CC-MAIN-20230320.warc.wet.gz"
    with path.open("wb") as file:
        for kind, media, text in records:
            data = text.encode()
            head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {media}\r\nContent-Length: {len(data)}"
            file.write(gzip.compress(f"{head}\r\n\r\n".encode() + data + b"\r\n\r\n"))
    check(*collected(tmp_path, path), texts)


def test_cc_100(tmp_path: Path) -> None:
    texts = texts_of_pages()
    path = tmp_path / "ar.txt.xz"
    path.write_bytes(lzma.compress("".join(f"{text}\n\n" for text in texts).encode()))
    check(*collected(tmp_path, path), texts)


def test_oscar(tmp_path: Path) -> None:
    texts = texts_of_pages()
    path = tmp_path / "ar_meta_part_1.jsonl.zst"
    lines = [
        json.dumps({
            "content": text,
            "warc_headers": {"warc-target-uri": "https://example.org", "content-length": str(len(text))},
            "metadata": {"identification": {"label": "ar", "prob": 0.99}, "annotation": None},
        }, ensure_ascii=False)
        for text in texts
    ]  # fmt: skip
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    check(*collected(tmp_path, path, field="content"), texts)


def test_wikiextractor_in_both_forms(tmp_path: Path) -> None:
    """Each article is a document, also with blank lines between its paragraphs, as `<doc …>` has them."""
    texts = texts_of_pages()
    articles = [
        f'<doc id="{number}" url="https://ar.wikipedia.org/wiki?curid={number}" title="مقالة">\n'
        + text.replace("\n", "\n\n") + "\n\n</doc>\n"
        for number, text in enumerate(texts)
    ]  # fmt: skip
    records = [
        json.dumps({"id": str(n), "title": "مقالة", "text": text}) + "\n" for n, text in enumerate(texts)
    ]
    for name, parts in (("doc", articles), ("json", records)):
        path = tmp_path / f"{name}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for member, some in (("AA/wiki_00", parts[:200]), ("AB/wiki_00", parts[200:])):
                data = "".join(some).encode()
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        check(*collected(tmp_path / name, path), texts)
