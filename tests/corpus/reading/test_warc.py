"""Text of web pages, as Common Crawl publishes it."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of


def record(text: str, kind: str = "conversion", media: str = "text/plain") -> bytes:
    data = text.encode()
    header = f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {media}\r\nContent-Length: {len(data)}\r\n\r\n"
    return header.encode() + data + b"\r\n\r\n"


def documents(path: Path, **settings: object) -> list[str]:
    source = SourceConfig(name="s", path=str(path), **settings)  # type: ignore[arg-type]
    lines = [line for batch in read(source, path, str(path), Counter()) for line in batch]
    return [text.strip() for text in "\n".join(lines).split("\n\n") if text.strip()]


def test_each_page_is_a_document_without_its_header() -> None:
    assert documents(CASES / "w1.warc.wet.gz") == ["\n".join(SENTENCES[:3]), "\n".join(SENTENCES[3:6])]


def test_blank_lines_and_headers_in_a_page_are_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(
        record("about", "warcinfo", "application/warc-fields") + record("a\n\nWARC/1.0\r\nb") + record("c")
    )
    assert documents(path) == ["a\nWARC/1.0\nb", "c"]
    assert documents(path, document="line") == ["a", "WARC/1.0", "b", "c"]
    assert lines_of(path, format="text")[0] == "WARC/1.0"
    assert documents(path, document="file") == ["a\nWARC/1.0\nb\nc"]


def test_bytes_that_cannot_be_decoded_are_counted_and_shift_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record("a?b" + "c" * 20000).replace(b"?", b"\xff") + record("d"))
    counts: Counter[str] = Counter()
    assert lines_of(path, counts) == ["a\ufffdb" + "c" * 20000, "d"]
    assert counts["undecodable_bytes"] == 1
    path.write_bytes(record("?" * 9).replace(b"?", b"\xff"))
    with pytest.raises(InputError, match="are not UTF-8"):
        lines_of(path)


def test_damage_and_web_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    whole = record("abc") * 2
    for data, message in (
        (whole[:-6], "cut short"),
        (whole.replace(b"Content-Length: 3", b"X: 3"), "no length"),
        (whole.replace(b"Content-Length: 3", b"Content-Length: 1"), "no record begins here"),
        # A stream reads all that is left if it is asked for fewer than 0 bytes.
        (whole.replace(b"Content-Length: 3", b"Content-Length: -1"), "no length"),
        (record("abc", "metadata").replace(b"Length: 3", b"Length: -4"), "no length"),
        (
            whole.replace(
                b"Content-Length", b"".join(b"%d: 1\r\n" % i for i in range(1001)) + b"Content-Length"
            ),
            "more than 1,000 headers",
        ),
        (record("<html>", "response", "application/http"), "web pages, not their text"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message) as error:
            lines_of(path)
        assert str(path) in str(error.value)
        path.write_bytes(gzip.compress(data))
        with pytest.raises(InputError, match=message):
            lines_of(path)
