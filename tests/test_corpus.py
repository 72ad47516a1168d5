"""Collecting: what is kept, what is held out, what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from qarib_tasks.config import CollectConfig, SourceConfig
from qarib_tasks.corpus import LONGEST_LINE, collect
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.layout import manifest_of
from qarib_tasks.manifest import Manifest


def config(path: Path | str, *, document: str = "blank_line", share: float = 0.3) -> CollectConfig:
    source = SourceConfig(name="source", path=str(path), document=document)  # type: ignore[arg-type]
    return CollectConfig(sources=(source,), heldout_share=share)


def collected(source: Path, tmp_path: Path, **settings: object) -> str:
    out = tmp_path / "out" / "data.txt"
    collect(config(source, **settings), out, heldout=None, random_seed=34)  # type: ignore[arg-type]
    return out.read_text(encoding="utf-8")


def test_lines_are_stripped_and_blank_lines_become_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff\n\n  قال \r\nثم\r\n\n \t\n\nمرحبا".encode())
    assert collected(tmp_path / "a.txt", tmp_path) == "قال\nثم\n\nمرحبا\n"


def test_every_file_of_a_glob_in_order_plain_and_gzipped(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second\n", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first\n"))
    assert collected(tmp_path / "*.txt*", tmp_path) == "first\n\nsecond\n"


@pytest.mark.parametrize(
    ("document", "expected"),
    [("line", "a\n\nb\n\nc\n"), ("file", "a\nb\nc\n"), ("blank_line", "a\nb\n\nc\n")],
)
def test_what_a_document_is(tmp_path: Path, document: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\nc\n", encoding="utf-8")
    assert collected(tmp_path / "a.txt", tmp_path, document=document) == expected


def test_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good \xff\xfe bad\n" + "\ufffd".encode())
    assert collected(tmp_path / "a.txt", tmp_path) == "good \ufffd\ufffd bad\n\ufffd\n"
    manifest = Manifest.read(tmp_path / "out" / "data.json")
    assert manifest.statistics["replaced_characters"] == 2


def held_out(text: str, tmp_path: Path, name: str) -> tuple[set[str], set[str]]:
    source, out = tmp_path / f"{name}.txt", tmp_path / name / "data.txt"
    source.write_text(text, encoding="utf-8")
    collect(config(source), out, heldout=out.parent / "heldout" / "data.txt", random_seed=34)
    kept, held = (
        out.read_text().split("\n\n"),
        (out.parent / "heldout" / "data.txt").read_text().split("\n\n"),
    )
    return {d.strip() for d in kept}, {d.strip() for d in held}


def test_a_document_stays_held_out_when_the_corpus_grows(tmp_path: Path) -> None:
    documents = [f"document {i}\nits second line {i}" for i in range(200)]
    kept, held = held_out("\n\n".join(documents[:100]), tmp_path, "small")
    more_kept, more_held = held_out("\n\n".join(reversed(documents)), tmp_path, "large")
    assert kept | held == set(documents[:100])
    assert more_kept | more_held == set(documents)
    assert held == more_held & set(documents[:100])
    assert 30 <= len(more_held) <= 90


def test_a_document_larger_than_the_hashed_part_is_written_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.corpus.HASHED_BYTES", 64)
    text = "\n".join(f"line {i}" for i in range(100))
    kept, held = held_out("\n\n".join(f"{i} {text}" for i in range(20)), tmp_path, "long")
    assert kept | held == {f"{i} {text}" for i in range(20)}


def test_collecting_again_does_nothing_until_an_input_changes(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    source.write_text("first\n", encoding="utf-8")
    collect(config(source), out, heldout=None, random_seed=34)
    before = out.stat().st_ino
    collect(config(source), out, heldout=None, random_seed=34)
    assert out.stat().st_ino == before
    source.write_text("second\n", encoding="utf-8")
    collect(config(source), out, heldout=None, random_seed=34)
    assert out.read_text() == "second\n"


def test_a_file_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    source.write_text("first\n", encoding="utf-8")
    collect(config(source), out, heldout=None, random_seed=34)
    out.write_text("fir")
    collect(config(source), out, heldout=None, random_seed=34)
    assert out.read_text() == "first\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no text was found"),
        (b" \n\n\t\n", "no text was found"),
        (b"ok\n" + b"x" * (LONGEST_LINE + 1), r"a\.txt:2: the line is longer"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        collected(tmp_path / "a.txt", tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_gzip_cut_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first\nsecond\n" * 1000)[:-10])
    with pytest.raises(InputError, match=r"a\.txt\.gz:\d+: cannot be read"):
        collected(tmp_path / "a.txt.gz", tmp_path)
    assert not manifest_of(tmp_path / "out" / "data.txt").exists()


def test_no_source_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no source"):
        collect(CollectConfig(), tmp_path / "data.txt", heldout=None, random_seed=34)
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        collected(tmp_path / "nowhere.txt", tmp_path)


def test_a_held_out_part_that_stays_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    with pytest.raises(InputError, match="none of 2 documents fell to the held-out part"):
        collect(
            config(tmp_path / "a.txt", share=1e-9),
            tmp_path / "o" / "d.txt",
            heldout=tmp_path / "o" / "h.txt",
            random_seed=1,
        )
