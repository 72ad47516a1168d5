"""Formats and compressions, and files made to do harm or cut short: an error, never half a corpus.

Covers qarib_tasks/corpus/reading/records.py and qarib_tasks/corpus/reading/text.py.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import LONGEST_LINE
from qarib_tasks.errors import ConfigError, InputError

TEXT = "قال\nثم\n\nمرحبا\n"
RECORDS = [
    {"text": "قال\nثم", "id": 1, "user": {"name": "أ"}},
    {"text": "نعم", "id": 1, "user": {"name": "ب"}},
    {"text": "لا", "id": 2, "user": {"name": "ج"}},
]


def zst(data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zst,
}


def lines(path: Path, counts: Counter[str] | None = None, **settings: Any) -> list[str]:
    """What the source gives, with "" where a document ends, as one list."""
    source = from_dict(SourceConfig, {"name": "s", "path": str(path), **settings})
    given = [
        line
        for batch in read(source, path, path.name, Counter() if counts is None else counts)
        for line in batch
    ]
    return [line for line, before in zip(given, ["", *given[:-1]], strict=True) if line or before]


def refused(path: Path, tmp_path: Path, message: str, **settings: Any) -> None:
    """Collecting it is one clear error that names the file, and leaves nothing that is taken for whole."""
    good = tmp_path / "good.txt"
    good.write_text("نص صحيح\n", encoding="utf-8")
    sources = [{"name": "good", "path": str(good)}, {"name": "bad", "path": str(path), **settings}]
    out = tmp_path / "out" / "data.txt"
    with pytest.raises(InputError, match=message) as error:
        collect(from_dict(CollectConfig, {"sources": sources}), out, heldout=None, random_seed=34)
    assert path.name in str(error.value)
    left = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert left <= {"good.txt", "good.documents", "good.txt.manifest.json", ".qarib"}


@pytest.mark.parametrize("packed", PACKERS)
def test_every_compression_by_its_ending_and_by_name(tmp_path: Path, packed: str) -> None:
    data = PACKERS[packed](TEXT.encode())
    for name, settings in ((f"a.txt.{packed}", {}), ("a", {"compression": packed})):
        (tmp_path / name).write_bytes(data)
        assert lines(tmp_path / name, **settings) == ["قال", "ثم", "", "مرحبا"]


@pytest.mark.parametrize("packed", PACKERS)
def test_a_compressed_file_cut_short_is_an_error(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"a.txt.{packed}"
    data = PACKERS[packed]("".join(f"سطر {i * i}\n" for i in range(5000)).encode())
    path.write_bytes(data[: len(data) // 2])
    refused(path, tmp_path, "cannot be read")
    path.write_bytes(data[:-3])
    refused(path, tmp_path, "cannot be read")
    path.write_bytes(b"not packed at all")
    refused(path, tmp_path, "cannot be read", compression=packed)
    assert lines(path) == ["not packed at all"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("blank_line", ["قال", "ثم", "", "نعم", "", "لا", ""]),
        ("line", ["قال", "ثم", "", "نعم", "", "لا", ""]),
        ("file", ["قال", "ثم", "نعم", "لا"]),
        ("group", ["قال", "ثم", "نعم", "", "لا"]),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet"])
def test_records_and_what_their_documents_are(
    tmp_path: Path, form: str, document: str, expected: list[str]
) -> None:
    path = tmp_path / f"a.{form}"
    if form.startswith("jsonl"):
        data = "\n".join(json.dumps(record) for record in RECORDS).encode()
        path.write_bytes(gzip.compress(data) if form.endswith("gz") else data)
    elif form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    else:
        comma = "," if form == "csv" else "\t"
        rows = [["id", "text"], *([str(r["id"]), f'"{r["text"]}"'] for r in RECORDS)]
        path.write_text("\n".join(comma.join(row) for row in rows) + "\n", encoding="utf-8")
    group = {"group": "id"} if document == "group" else {}
    assert lines(path, document=document, **group) == expected


def test_a_field_inside_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in RECORDS), encoding="utf-8")
    assert lines(path, field="user.name", document="file") == ["أ", "ب", "ج"]


def test_halves_of_surrogate_pairs_in_json_do_not_reach_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(r'{"text": "\ud83d\ude02 نعم \ud83d \u0000 \u0627"}', encoding="utf-8")
    settings = from_dict(CollectConfig, {"sources": [{"name": "a", "path": str(tmp_path / "a.jsonl")}]})
    collect(settings, tmp_path / "data.txt", heldout=None, random_seed=34)
    assert (tmp_path / "data.txt").read_text(encoding="utf-8") == "😂 نعم \ufffd ا\n"


def test_a_moses_zip_gives_its_arabic_side(tmp_path: Path) -> None:
    path = tmp_path / "ar-en.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "about")
        archive.writestr("Corpus.ar-en.ar", "قال\nثم\n")
        archive.writestr("Corpus.ar-en.en", "said\nthen\n")
    assert lines(path, format="moses", document="line") == ["قال", "", "ثم", ""]
    assert lines(path, member="*.en", format="moses", document="line") == ["said", "", "then", ""]
    assert lines(path, member="Corpus*") == ["قال", "ثم", "", "said", "then", ""]
    refused(path, tmp_path, "no member '\\*.fr'", member="*.fr")


def test_a_zip_that_unpacks_to_a_thousand_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.corpus.content.decompression.FREE_EXPANSION", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.txt", "w") as member:
        for _ in range(20):
            member.write(b"a\n" * (1 << 19))
    assert 900 * path.stat().st_size < 20 << 20
    refused(path, tmp_path, "unpacks to more than 200 times")


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_other_archives_that_unpack_without_end(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.corpus.content.decompression.FREE_EXPANSION", 1 << 20)
    path = tmp_path / f"bomb.txt.{packed}"
    path.write_bytes(PACKERS[packed](b"a\n" * (1 << 20)))
    refused(path, tmp_path, "unpacks to more than 200 times")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../b.txt", "..\\outside.txt"])
def test_a_path_that_leaves_the_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "نعم\n")
        archive.writestr(name, "لا\n")
    refused(path, tmp_path, "leads outside the archive")


def test_a_zip_cut_short_damaged_or_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "نعم\n" * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, tmp_path, "cannot be read")
    path.write_bytes(whole[:60] + b"?" + whole[61:])
    refused(path, tmp_path, "CRC")
    # Bit 0 of the flags, in the local header and in the directory, says encrypted.
    directory = whole.rindex(b"PK\x01\x02")
    path.write_bytes(whole[:6] + b"\x01" + whole[7 : directory + 8] + b"\x01" + whole[directory + 9 :])
    refused(path, tmp_path, "encrypted")


def test_a_parquet_file_without_the_column_cut_short_or_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["نعم"], "n": [1]}), path)
    refused(path, tmp_path, r"no column 'text'.*body, n")
    refused(path, tmp_path, "a number instead of text", field="n")
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, tmp_path, "cannot be read", field="body")


def test_a_csv_file_without_the_column_or_with_a_row_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("body,n\nنعم,1\n", encoding="utf-8")
    refused(path, tmp_path, r"no column 'text'.*body, n")
    path.write_text("text,n\nنعم,1\nلا,2,3\nربما,4\n", encoding="utf-8")
    refused(path, tmp_path, "3 columns, expected 2")
    counts: Counter[str] = Counter()
    assert lines(path, counts, skip_at_most=1, document="file") == ["نعم", "ربما"]
    assert counts["skipped"] == 1


@pytest.mark.parametrize(
    "bad", ["{not json", '{"other": 1}', '{"text": 7}', '"text"', '{"text": null}', "[" * 10**5]
)
def test_a_json_line_that_is_none_is_an_error_or_a_bounded_skip(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    good = '{"text": "نعم"}'
    path.write_text("\n".join([good, bad, good, bad, good]), encoding="utf-8")
    refused(path, tmp_path, r"a\.jsonl:2: ")
    refused(path, tmp_path, r"a\.jsonl:4: .*after 1 skipped record\.", skip_at_most=1)
    counts: Counter[str] = Counter()
    assert lines(path, counts, skip_at_most=2, document="file") == ["نعم"] * 3
    assert counts["skipped"] == 2


def test_a_line_too_long_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ok\n" + b"x" * (LONGEST_LINE + 1) + b"\nnext\nlast")
    refused(path, tmp_path, r"a\.txt:2: the line is longer")
    counts: Counter[str] = Counter()
    assert lines(path, counts, skip_at_most=1) == ["ok", "next", "last"]
    assert (counts["skipped"], counts["line"]) == (1, 4)
    path.write_bytes(b"ok\n" + b"x" * (LONGEST_LINE + 1))
    refused(path, tmp_path, r"a\.txt:2: the line is longer")
    assert lines(path, skip_at_most=1) == ["ok"]


def test_settings_that_do_not_fit_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n")
    with pytest.raises(ConfigError, match="plain text has no fields to group by"):
        lines(path, document="group", group="id")
    with pytest.raises(ConfigError, match="set both `document: group` and `group`"):
        lines(path, document="group")
    with pytest.raises(InputError, match="Not a gzipped file"):
        lines(path, format="parquet", compression="gz")
    path.write_bytes(gzip.compress(TEXT.encode()))
    with pytest.raises(InputError, match="not text, but gz"):
        lines(path, compression="none")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["نعم"]}), path)
    with pytest.raises(InputError, match="the content is parquet, and the format is text"):
        lines(path, format="text")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\n<!DOCTYPE html><html><body>Log in</body></html>", "an HTML page"),
        ("\ufeff<html><body>".encode(), "an HTML page"),
        ("\ufeff<html><body>".encode("utf-16-le"), "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a Git LFS pointer"),
        (b'{"error": "Repository not found"}', "JSON"),
        (b"Entry not found", "text"),
        ("نص عربي".encode(), "text"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_text_that_is_named_as_a_table(tmp_path: Path, data: bytes, name: str, form: str) -> None:
    path = tmp_path / f"a.{form}"
    path.write_bytes(data)
    refused(path, tmp_path, f"not {form}, but {name}.*Download the file again")
    path.write_bytes(gzip.compress(data))
    refused(path, tmp_path, f"not {form}, but {name}")
