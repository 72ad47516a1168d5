"""What a file is, by its bytes; what is refused, and by which name."""

from __future__ import annotations

import io
import json
import pickle
import re
import sqlite3
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from qarib_tasks.corpus.content.detection import (
    binary_name,
    compression_of,
    document_name,
    table_of,
    text_format,
)
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("a4-gzip-named.txt", "gz"),
        ("a6-empty.txt.gz", "gz"),
        ("a5-multi.txt.bz2", "bz2"),
        ("a6-empty.txt.bz2", "bz2"),
        ("a5-multi.txt.xz", "xz"),
        ("a14-two-frames.txt.zst", "zst"),
        ("a15-skippable.txt.zst", "zst"),
        ("a10-nested.zip", "zip"),
        ("a3-corpus.tar", "tar"),
        ("e1-cp1256.txt", ""),
        ("e3-utf16le-bom.txt", ""),
    ],
)
def test_compressions_and_archives(name: str, packed: str) -> None:
    assert compression_of((CASES / name).read_bytes()) == packed


def test_compressions_without_a_case() -> None:
    import lzma

    assert compression_of(lzma.compress(b"abc", lzma.FORMAT_ALONE)) == "xz"
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w"):
            pass
        assert compression_of(file.getvalue()) == "zip"
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert compression_of(tarfile.TarInfo("نص.txt").tobuf(form)) == "tar"
    old = bytearray(tarfile.TarInfo("a.txt").tobuf())
    old[257:265] = bytes(8)  # An archive of before 1988 has no "ustar".
    old[148:156] = b"%06o\0 " % (256 + sum(old[:148]) + sum(old[156:512]))
    assert compression_of(bytes(old)) == "tar"
    for text in (b"BZhello\n", b"]\n", b"]", b"PK in a text", b"BZh"[:2], b"", bytes(512)):
        assert compression_of(text) == ""


def test_tables(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import ipc

    assert table_of((CASES / "p1-dictionary.parquet").read_bytes()) == "parquet"
    assert table_of((CASES / "b1-data-00000-of-00001.arrow").read_bytes()) == "arrow"
    table = pyarrow.table({"text": SENTENCES})
    for write in (ipc.new_file, ipc.new_stream):
        with write(tmp_path / "a", table.schema) as writer:
            writer.write_table(table)
        assert table_of((tmp_path / "a").read_bytes()) == "arrow"
        assert lines_of(tmp_path / "a") == SENTENCES
    assert table_of(b"WARC/1.0\r\n") == "warc"
    assert table_of(b"\xff\xff\xff\xff\n") == table_of(b"WARC is a format\n") == ""


def refused(path: Path, name: str, **settings: object) -> None:
    with pytest.raises(InputError) as error:
        lines_of(path, **settings)
    assert name in error.value.what
    assert error.value.where is not None
    assert error.value.where.startswith(str(path))


@pytest.mark.parametrize("settings", [{}, {"format": "text"}, {"format": "csv"}, {"encoding": "cp1256"}])
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\nabc", "a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "Microsoft Office document (doc"),
        (b"{\\rtf1\\ansi \\u1575?}", "an RTF document"),
        (pickle.dumps(SENTENCES), "a Python pickle"),
        (pickle.dumps(SENTENCES, protocol=2), "a Python pickle"),
        (pickle.dumps(SENTENCES, protocol=0), "a Python pickle"),
        (pickle.dumps({"a": 1}, protocol=0), "a Python pickle"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"ORC\x00\x08", "an ORC file"),
        (b"Obj\x01\x04\x14avro.codec", "an Avro file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG image"),
        (b"GIF89a\x01\x00", "a GIF image"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"\x04\x22\x4d\x18\x64", "an lz4 file"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF model"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00" + b'{"__metadata__":{}}', "a safetensors file"),
        (b"PARE" + bytes(9), "an encrypted Parquet file"),
        (b"\x1f\x9d\x90abc", "compress"),
        (b"BOOKMOBI".rjust(68, b"\x00"), "Kindle"),
        (b"\x00\x01\x00\x00Standard Jet DB\x00", "Access"),
    ],
)
def test_binary_files_are_refused_by_name(
    tmp_path: Path, data: bytes, name: str, settings: dict[str, str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data + "\nنص\n".encode())
    refused(path, name, **settings)


def test_files_of_this_machine_are_refused_by_name(tmp_path: Path) -> None:
    import sys

    refused(Path(sys.executable).resolve(), "a program")
    with sqlite3.connect(tmp_path / "a.txt") as database:
        database.execute("create table texts (text)")
    database.close()
    refused(tmp_path / "a.txt", "an SQLite database")
    for case, name in (("a8-article.docx", "docx"), ("a8-report.pdf", "a PDF document")):
        refused(CASES / case, name)


def test_our_own_records_are_refused_by_name(tmp_path: Path) -> None:
    import google_crc32c

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    data, size = b"abc", (3).to_bytes(8, "little")
    (tmp_path / "a.txt").write_bytes(size + masked(size) + data + masked(data))
    refused(tmp_path / "a.txt", "a TFRecord file")


def test_words_that_begin_like_a_signature_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in (
        *("ORCHESTRA", "PACKED", "RIFF raff", "ID3 tags", "Donald, DUCK", "070701 calls", "GIF89", "MZ"),
        *("the\tftyp", "(dog)", "care", "Objects", "8BPS", "wOFF", "080706050", "AVI  AVI", "PAR", "WARC"),
    ):
        path.write_text(text + "\nنص\n", encoding="utf-8")
        assert lines_of(path) == [text, "نص"]


def test_json_lines_and_articles_by_content(tmp_path: Path) -> None:
    objects = "".join(json.dumps({"text": s}) + "\n" for s in SENTENCES)
    for name in ("a.txt", "wiki_00", "part-00000"):
        (tmp_path / name).write_text(objects, encoding="utf-8")
        assert lines_of(tmp_path / name) == SENTENCES
        assert lines_of(tmp_path / name, format="text") == objects.splitlines()
    (tmp_path / "a.txt").write_text(objects, encoding="utf-16")
    assert lines_of(tmp_path / "a.txt") == SENTENCES
    assert [line[:2] for line in lines_of(CASES / "w6-wiki_00")] == ["ما", "ذه", "زي", "اش"]
    for text in (b"{abc}\n{def}\n", b'["a"] plain\n', b'{"a" plain\n', b"[1]\n", b"", b"{\n", b"7\n"):
        assert text_format(text) == "text"
    (tmp_path / "a.txt").write_text(json.dumps([{"text": s} for s in SENTENCES], indent=1), encoding="utf-8")
    assert lines_of(tmp_path / "a.txt") == SENTENCES
    for text in (
        b'{"a": 1}\nplain\n', b'{\n "a": [\n', b'{"a": 1,}\n', b"{'a': 1}\n", b'["a", "b"]\n',
        b'// comment\n{"a": 1}\n{"a": 2}\n',
    ):  # fmt: skip
        assert text_format(text) == "jsonl"
    (tmp_path / "a.txt").write_text('{"text": "a"}\nplain\n')
    with pytest.raises(InputError, match=r":2: invalid JSON.*If it is plain text, set `format: text`"):
        lines_of(tmp_path / "a.txt")
    # One object may be longer than what is known of it.
    assert text_format(b'{"text": "' + b"a" * 10_000) == "jsonl"
    assert text_format(b'<doc id="7" url="u" title="t">\n') == "wikiextractor"


def test_documents_in_zip_files() -> None:
    for members, name in (
        (["[Content_Types].xml", "word/document.xml"], "docx"),
        (["[Content_Types].xml", "xl/workbook.xml"], "xlsx"),
        (["[Content_Types].xml", "ppt/presentation.xml"], "pptx"),
        (["mimetype", "META-INF/container.xml"], "EPUB"),
        (["mimetype", "content.xml"], "OpenDocument"),
        (["model/data.pkl", "model/data/0"], "PyTorch"),
        (["a.npy"], "NumPy"),
        (["META-INF/MANIFEST.MF", "A.class"], "Java"),
    ):
        assert name in document_name(members)
    for members in (["a.txt"], ["word/a.txt"], ["mimetype.txt"], ["a.npy", "a.txt"], []):
        assert document_name(members) == ""


def test_a_name_is_not_what_a_file_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for ending in ("gz", "bz2", "xz", "zst", "zip", "tar", "tgz"):
        path = tmp_path / f"a.txt.{ending}"
        path.write_text("\n".join(SENTENCES), encoding="utf-8")
        assert lines_of(path) == SENTENCES
        assert f"{path}: not compressed, although its name ends with .{ending}" in caplog.text


def test_random_bytes_are_not_named() -> None:
    import random

    generator = random.Random(34)
    for _ in range(300):
        assert binary_name(b"\xfe" + generator.randbytes(200)) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_by_its_header(tmp_path: Path, encoding: str) -> None:
    """Excel writes "Unicode text" as a file that is called .txt."""
    path = tmp_path / "a.txt"
    for delimiter in "\t,;|":
        rows = [["id", "text", "label"], *(["7", sentence, "no"] for sentence in SENTENCES)]
        path.write_text("\r\n".join(delimiter.join(row) for row in rows), encoding=encoding)
        assert lines_of(path) == SENTENCES
        assert len(lines_of(path, format="text")) == len(lines_of(path, field="other")) == len(rows)
    for text in ("the text, and\nno table, is this", "text\nنص\n", "text, label\nنص\n"):
        path.write_text(text, encoding=encoding)
        assert lines_of(path) == text.splitlines()


@pytest.mark.parametrize(
    "text", ["PAR1 {}", "WARC/1 {}", "SIMPLE  = {}", "cnumpy\n{}", "(inumpy\n{}", "V{}\np1", "ARROW1 {}"]
)
def test_text_like_a_signature_is_read(tmp_path: Path, text: str) -> None:
    text = text.format(SENTENCES[0])
    (tmp_path / "a").write_text(text, encoding="utf-8")
    assert lines_of(tmp_path / "a") == text.splitlines()


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol(protocol: int) -> None:
    for value in ("نص", {"a": "نص"}, {}, ["نص"], ("نص", "ثم"), [1, 2], "\n".join(SENTENCES)):
        assert binary_name(pickle.dumps(value, protocol)) == "a Python pickle"


def test_what_unpacking_makes_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "\n".join(SENTENCES).encode()
    for data, name in (
        *((zlib.compress(text, level), "data that zlib compressed") for level in (1, 5, 6, 9)),
        (b"\x04\x22\x4d\x18\x64", "an lz4 file"),
        (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"not text, but {name}\\. Unpack the file"):
            lines_of(path)


def test_library_records(tmp_path: Path) -> None:
    data = b"00714cam a2200205 a 4500001001300000003000400013\x1e" + SENTENCES[0].encode() + b"\x1e\x1d"
    (tmp_path / "a.txt").write_bytes(data)
    refused(tmp_path / "a.txt", "library records (MARC)")


def test_rows_in_a_plain_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    names = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": r"\|"}
    for delimiter, name in names.items():
        first = "x" if delimiter == "\t" else "7"
        lines = [f"{first}{delimiter}{sentence}{delimiter}no" for sentence in SENTENCES]
        path.write_text("\n".join(lines), encoding="utf-8")
        caplog.clear()
        assert len(lines_of(path)) == len(lines)
        (warning,) = caplog.messages
        assert re.search(f"each line has 3 columns, separated by {name}, and all are read as text", warning)
        assert "`header: false`" in warning
        # A setting that only tables have, or the number of a column, says that it is one.
        assert lines_of(path, header=False, field="2") == SENTENCES
        with pytest.raises(
            InputError, match=r"plain text, which has no column 2\. If it is a table, set `format"
        ):
            lines_of(path, field="2")
    for text in ("\n".join(SENTENCES), "صدر\tعجز\nبيت\n\tثم", "a, b\nc, d\ne, f", "7\t8\n9\t"):
        path.write_text(text, encoding="utf-8")
        caplog.clear()
        lines_of(path)
        assert caplog.messages == []
    lines_of(path, field="tweet")
    assert "read as plain text, without `field`" in caplog.text


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_table_in_quotes_that_is_read_as_text_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, delimiter: str, quote: str
) -> None:
    path = tmp_path / "a.txt"
    for row, count in (
        ("{q}0{q}{d}{q}{s}{d} ثم{q}", 2),
        ("{q}{s}{q}{d}pos{d}", 3),
        ("x{d}{q}{s}{q}{d}{q}قال: {q}{q}نعم{q}{q}{q}", 3),
    ):
        rows = [row.format(q=quote, d=delimiter, s=sentence) for sentence in SENTENCES]
        path.write_text("\n".join(rows), encoding="utf-8")
        caplog.clear()
        assert len(lines_of(path)) == len(rows)
        assert f"each line has {count} columns, separated by" in caplog.text
    for line in (
        f"{quote}نعم{quote}{delimiter} قال",
        f"{quote}نعم{quote} قال{delimiter}ثم مضى",
        f"{quote}نعم{quote}",
    ):
        path.write_text("\n".join([line] * 9), encoding="utf-8")
        caplog.clear()
        lines_of(path)
        assert "columns, separated by" not in caplog.text


def test_the_line_of_excel_above_a_table_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffsep=;\r\nid;text\r\n" + "\r\n".join(f"7;{s}" for s in SENTENCES), encoding="utf-8")
    assert lines_of(path) == SENTENCES
