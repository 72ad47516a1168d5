"""What the steps after `collect` do not read: anything that is no UTF-8 text."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qarib_tasks.corpus.content.plain import require_plain_text
from qarib_tasks.errors import InputError
from qarib_tasks.storage.tfrecord import frame

TEXT = "ذهب الولد إلى المدرسة في الصباح الباكر\nثم عاد إلى البيت وكتب رسالة إلى صديقه\n" * 20


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": [TEXT]}), path)


def tfrecord(path: Path) -> None:
    path.write_bytes(frame(TEXT.encode()))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_bytes(gzip.compress(TEXT.encode())), "not text, but a gz file"),
        (lambda path: path.write_bytes(bz2.compress(TEXT.encode())), "not text, but a bz2 file"),
        (parquet, "not text, but a parquet file"),
        (tfrecord, "not text, but a TFRecord file"),
        (lambda path: path.write_bytes(b"%PDF-1.7\n"), "not text, but a PDF document"),
        (lambda path: path.write_text(TEXT, encoding="utf-16"), "not UTF-8, but UTF-16"),
        (lambda path: path.write_text(TEXT, encoding="utf-16-be"), "not UTF-8, but UTF-16-BE"),
        (lambda path: path.write_text(TEXT, encoding="cp1256"), "not UTF-8, but WINDOWS-1256"),
    ],
)
def test_what_is_no_utf8_text_is_refused(make, what: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.txt"
    make(path)
    with pytest.raises(InputError, match=what) as raised:
        require_plain_text(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode() + b"\xff\n",
        TEXT.encode() + b"\0\x01\n",
        "ا".encode() * (1 << 19) + "ب".encode()[:1],  # cut within a letter at the end of what is read
    ],
)
def test_text_is_not_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    require_plain_text(path)
