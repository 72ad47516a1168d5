"""Lines that end with a character of Unicode other than LF and CR."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.corpus.content.decompression import BLOCK
from tests.support.collecting import SENTENCES, lines_of

ENDS = ["\u0085", "\u2028", "\u2029", "\v", "\f"]


@pytest.mark.parametrize("end", ENDS)
def test_a_text_and_a_table(tmp_path: Path, end: str) -> None:
    for encoding in ("utf-8", "utf-16", *(["iso-8859-6"] if end < "\u0100" else [])):
        named = encoding if encoding == "iso-8859-6" else "auto"
        (tmp_path / "a.txt").write_bytes((end.join(SENTENCES) + end).encode(encoding))
        assert lines_of(tmp_path / "a.txt", encoding=named) == SENTENCES
        (tmp_path / "a.csv").write_bytes(
            end.join(["id,text", *(f"7,{s}" for s in SENTENCES)]).encode(encoding)
        )
        assert lines_of(tmp_path / "a.csv", encoding=named) == SENTENCES


@pytest.mark.parametrize("end", ENDS)
def test_line_ends_between_blocks(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.txt"
    size = len(("نعم" + end).encode())
    for shift in range(size):
        path.write_bytes(("x" * shift + end + ("نعم" + end) * (2 * BLOCK // size + 9)).encode())
        assert lines_of(path) == ["x" * shift] * bool(shift) + ["نعم"] * (2 * BLOCK // size + 9)


def test_among_line_feeds_and_in_json_they_are_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("نعم\u2028لا\nثم\n", encoding="utf-8")
    assert lines_of(path) == ["نعم\u2028لا", "ثم"]
    path.write_text('{"text": "نعم\u2028لا"}', encoding="utf-8")
    assert lines_of(path) == ["نعم\u2028لا"]
