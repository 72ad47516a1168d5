"""What a preview says about sources, and how little of them it reads.

Covers qarib_tasks/corpus/preview/pace.py.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, as_json, as_parquet, as_text, seen, sentences


def test_a_wrong_column_of_a_large_file_is_seen_in_ten_seconds(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    lines = sentences(5_000)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,label,tweet\n")
        for start in range(0, 400_000, len(lines)):
            file.writelines(f"{start + i},{'np'[i % 2]}os,{line}\n" for i, line in enumerate(lines))
    assert path.stat().st_size > 50_000_000
    start = time.process_time()
    found = seen(path, field="id")
    assert time.process_time() - start < 10
    assert [document.before for document in found.documents] == ["0", "1", "2"]
    assert [(column.name, bool(column.example)) for column in found.columns] == [
        ("id", True), ("label", True), ("tweet", True),
    ]  # fmt: skip
    assert (found.column, found.formats, found.encodings) == ("id", ("csv",), ("utf-8",))
    assert "delimiter ','" in found.dialect
    (warning,) = found.warnings
    assert "are numbers or dates" in warning
    assert "no line of 2,000 has Arabic letters" in warning
    assert "Is 'id' the right column? `field: tweet` looks like text" in warning
    assert Limits().preview_lines <= found.sample_lines < 3 * Limits().preview_lines
    assert not found.complete

    found = seen(path, field="label")
    assert "have 2 different values, mostly nos, pos" in found.warnings[-1]
    found = seen(path, field="tweet")
    assert found.warnings == ()
    assert found.lines
    assert 380_000 < found.lines < 420_000
    words = sum(len(line.split()) for line in lines) * 400_000 / len(lines)
    assert found.words
    assert 0.95 * words < found.words < 1.05 * words
    with pytest.raises(InputError, match=r"no column 'text'\. Use one of these columns: id, label, tweet"):
        seen(path)


def as_list(lines: list[str]) -> bytes:
    return json.dumps([{"id": 7, "text": line} for line in lines], indent=1).encode()


def as_utf16(lines: list[str]) -> bytes:
    return as_text(lines).decode().encode("utf-16")


def as_gz(lines: list[str]) -> bytes:
    return gzip.compress(as_text(lines), 1)


def as_bz2(lines: list[str]) -> bytes:
    return bz2.compress(as_text(lines), 1)


def as_xz(lines: list[str]) -> bytes:
    return lzma.compress(as_json(lines), preset=0)


@pytest.mark.parametrize(
    ("write", "formats", "encoding"),
    [
        (as_text, "text", "utf-8"),
        (as_json, "jsonl", "utf-8"),
        (as_list, "jsonl", "utf-8"),
        (as_parquet, "parquet", ""),
        (as_utf16, "text", "utf-16-le"),
        (as_gz, "text in gz", "utf-8"),
        (as_bz2, "text in bz2", "utf-8"),
        (as_xz, "jsonl in xz", "utf-8"),
    ],
)
def test_lines_and_words_are_estimated(
    write: Callable[[list[str]], bytes], formats: str, encoding: str, tmp_path: Path
) -> None:
    lines = sentences(60_000)
    path = tmp_path / "data"
    path.write_bytes(write(lines))
    found = seen(path, cleaning={"cleaning": []})
    assert not found.complete
    assert found.lines
    assert found.words
    assert found.seconds
    assert found.formats == (formats,)
    assert found.encodings == ((encoding,) if encoding else ())
    assert 54_000 < found.lines < 66_000
    words = sum(len(line.split()) for line in lines)
    assert 0.9 * words < found.words < 1.1 * words
    if formats not in ("text", "text in gz", "text in bz2"):
        assert found.documents[0].before.startswith(lines[0][:100])


def test_a_small_source_is_read_completely(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.txt", as_text(SENTENCES))
        archive.writestr("two.jsonl", as_json(SENTENCES[:3]))
    found = seen(tmp_path / "a.zip", cleaning={"cleaning": []})
    assert (found.complete, found.lines, found.sample_lines) == (True, 15, 15)
    assert found.words == sum(len(line.split()) for line in SENTENCES + SENTENCES[:3])
    assert found.formats == ("text in zip", "jsonl in zip")
    assert len(found.documents) == 3


def test_what_cleaning_drops_is_said_by_rule(tmp_path: Path) -> None:
    found = seen(CASES / "w7-doc-a-line.txt", document="line")
    assert found.documents[0].after == ""
    assert found.documents[0].dropped == ("maximum_length",)
    assert found.kept_lines == 0.25
    assert found.kept_bytes < 0.01
    assert found.losses == "3 of 4 documents (99.9% of the bytes) dropped by maximum_length"
    assert found.warnings[0].startswith(
        "maximum_length dropped 99.9% of the bytes. Raise `maximum_characters`"
    )
    (tmp_path / "a.txt").write_text("سطر عربي\n\nنص    ثان\n\nو ثالث\n\nو رابع\n", encoding="utf-8")
    found = seen(tmp_path / "a.txt")
    assert [(each.before, each.after) for each in found.documents] == [
        ("سطر عربي", "سطر عربي"),
        ("نص    ثان", "نص ثان"),
        ("و ثالث", "و ثالث"),
    ]


def test_damaged_text_is_named() -> None:
    found = seen(CASES / "e11-mojibake.txt")
    assert any("damaged earlier: UTF-8 was read as ISO-8859-1" in warning for warning in found.warnings)


def test_what_collect_refuses_is_refused() -> None:
    with pytest.raises(InputError, match="probably windows-1256"):
        seen(CASES / "e1-cp1256.txt")
    with pytest.raises(InputError, match="a PDF document"):
        seen(CASES / "a8-report.pdf")


def test_many_files_share_the_sample(tmp_path: Path) -> None:
    """Files of another kind far from the first are seen, too."""
    for number in range(20):
        lines = sentences(4_000, seed=number)
        (tmp_path / f"{number:02}.txt").write_bytes(as_json(lines) if number > 15 else as_text(lines))
    found = seen(tmp_path, cleaning={"cleaning": []})
    assert (found.files, found.files_read) == (20, 5)
    assert found.formats == ("text", "jsonl")
    assert found.lines
    assert 60_000 < found.lines < 100_000
    # Collecting would stop before the last one.
    (tmp_path / "99.pdf").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(InputError, match=r"99\.pdf"):
        seen(tmp_path)
    found = seen(tmp_path, limit=10, document="line", cleaning={"cleaning": []})
    assert (found.files_read, found.lines) == (1, 10)


def test_empty_lines_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\n" * 3_000_000)
    assert seen(tmp_path / "a.txt").warnings == ("no text was found in the sample",)
    (tmp_path / "a.txt").write_bytes(b"\n")
    assert seen(tmp_path / "a.txt").warnings == ("no text was found",)


def test_without_time_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(as_text(sentences(50_000)))
    found = seen(tmp_path / "a.txt", seconds=0)
    assert (found.sample_lines, found.lines, found.complete) == (0, None, False)


def test_columns_of_every_format_have_examples() -> None:
    for name, formats in [
        ("b1-data-00000-of-00001.arrow", "arrow"),
        ("p7-pandas-index.parquet", "parquet"),
        ("j3-array-pretty.json", "jsonl"),
        ("c3-quotes.tsv", "tsv"),
    ]:
        found = seen(CASES / name)
        assert found.formats == (formats,)
        examples = {column.name: column.example for column in found.columns}
        assert examples[found.column] == found.documents[0].before[:60], name


def test_an_empty_part_does_not_hide_the_estimate(tmp_path: Path) -> None:
    path = tmp_path / "spark"
    path.mkdir()
    (path / "part-0").touch()
    assert (seen(path).bytes, seen(path).lines) == (0, 0)
    (path / "part-1").write_bytes(as_text(sentences(40_000)))
    found = seen(path)
    assert not found.complete
    assert found.bytes == (path / "part-1").stat().st_size
    assert found.lines
    assert abs(found.lines - 40_000) < 4_000


def test_files_that_are_left_out_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(as_text(sentences(10)))
    (tmp_path / "b.txt").touch()
    assert seen(tmp_path).losses == "1 file left out"
    (warning,) = seen(tmp_path / "b.txt").warnings
    assert warning == f"no text was found; left out: {tmp_path / 'b.txt'} (empty)"
