"""Collecting: what is read, kept, and made again.

Covers qarib_tasks/config/corpus.py, qarib_tasks/corpus/report.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.corpus import collect as corpus
from qarib_tasks.corpus.collect import collect, collect_source
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.collecting import collected, config


def test_lines_are_stripped_and_blank_lines_become_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff\n\n  قال \r\nثم\r\n\n \t\n\nمرحبا".encode())
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "قال\nثم\n\nمرحبا\n"


def test_every_file_of_a_glob_in_order_and_every_source(tmp_path: Path) -> None:
    for name, text in {"b.txt": "second\n", "a.txt": "first\n", "c.dat": "third\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert collected(config(tmp_path / "*.txt", tmp_path / "c.dat"), tmp_path) == "first\n\nsecond\n\nthird\n"
    figures = Manifest.read(tmp_path / "out" / "data.json").statistics
    assert {name: figures["sources"][name]["files"] for name in ("source0", "source1")} == {
        "source0": 2,
        "source1": 1,
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [("line", "a\n\nb\n\nc\n"), ("file", "a\nb\nc\n"), ("blank_line", "a\nb\n\nc\n")],
)
def test_what_a_document_is(tmp_path: Path, document: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\nc\n", encoding="utf-8")
    assert collected(config(tmp_path / "a.txt", source={"document": document}), tmp_path) == expected


def test_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good \xff\xfe bad\n" + "\ufffd".encode())
    settings = config(tmp_path / "a.txt", source={"encoding_errors": "replace"})
    assert collected(settings, tmp_path) == "good \ufffd\ufffd bad\n\ufffd\n"
    manifest = Manifest.read(tmp_path / "out" / "data.json")
    assert manifest.statistics["undecodable_bytes"] == 2


def test_limit_and_share(tmp_path: Path) -> None:
    documents = [f"text {i}\nmore {i}" for i in range(1000)]
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    settings = config(tmp_path / "a.txt", source={"limit": 10})
    assert collected(settings, tmp_path) == "\n\n".join(documents[:10]) + "\n"
    some = collected(config(tmp_path / "a.txt", source={"share": 0.25}), tmp_path).strip().split("\n\n")
    assert 200 <= len(some) <= 300
    assert some == [document for document in documents if document in set(some)]


def test_cleaning_is_in_the_manifest_and_on_the_page(tmp_path: Path) -> None:
    lines = ["مـرحبا بكم", "hello there", "<b> نعم https://a.b"]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = collected(config(tmp_path / "a.txt", cleaning=["tatweel", "urls", "arabic_share"]), tmp_path)
    assert text == "مرحبا بكم\n<b> نعم URL\n"
    manifest = Manifest.read(tmp_path / "out" / "data.json")
    assert manifest.statistics["changed"] == {"tatweel": 1, "urls": 1}
    assert manifest.statistics["dropped"] == {"arabic_share": 1}
    assert ["مـرحبا بكم", "مرحبا بكم"] in [
        list(pair) for pair in manifest.statistics["sources"]["source0"]["samples"]
    ]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "hello there" in page
    assert "(dropped)" in page
    assert "<b>" not in page
    assert "&lt;b&gt; نعم URL" in page


def test_collecting_again_does_nothing_until_an_input_changes(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    source.write_text("first\n", encoding="utf-8")
    collected(config(source), tmp_path)
    before = out.stat().st_ino
    collected(config(source), tmp_path)
    assert out.stat().st_ino == before
    source.write_text("second\n", encoding="utf-8")
    assert collected(config(source), tmp_path) == "second\n"
    assert not list(out.parent.glob("*.sources"))


def test_sources_collected_beforehand_are_used_and_a_damaged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"text of {name}\n", encoding="utf-8")
    settings = config(*(tmp_path / f"{name}.txt" for name in "abc"))
    out = tmp_path / "out" / "data.txt"
    for name in ("source2", "source0"):
        collect_source(settings, name, out)
    (tmp_path / "out" / "data.sources" / "source2.txt").write_text("damaged\n")
    read: list[str] = []
    real = corpus.read

    def watched(source: object, path: Path, *rest: object) -> object:
        read.append(path.name)
        return real(source, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus, "read", watched)
    assert collected(settings, tmp_path) == "text of a\n\ntext of b\n\ntext of c\n"
    assert read == ["b.txt", "c.txt"]
    collect_source(settings, "source1", out)
    assert read == ["b.txt", "c.txt"]
    with pytest.raises(ConfigError, match="no such source"):
        collect_source(settings, "source9", out)


def test_a_file_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first\n", encoding="utf-8")
    collected(config(tmp_path / "a.txt"), tmp_path)
    (tmp_path / "out" / "data.txt").write_text("fir")
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "first\n"


@pytest.mark.parametrize(
    ("content", "cleaning"), [("", []), (" \n\n\t\n", []), ("hello\n", ["arabic_share"])]
)
def test_no_text_at_all_is_one_clear_error_and_leaves_no_corpus(
    tmp_path: Path, content: str, cleaning: list[str]
) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match="no text was found"):
        collected(config(tmp_path / "a.txt", cleaning=cleaning), tmp_path)
    assert not (tmp_path / "out" / "data.txt").exists()
    assert not manifest_of(tmp_path / "out" / "data.txt").exists()


def test_no_source_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no source"):
        collect(CollectConfig(), tmp_path / "data.txt", heldout=None, random_seed=34)
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        collected(config(tmp_path / "nowhere.txt"), tmp_path)
