"""Collecting: what is read, kept, left out, and made again.

Covers qarib_tasks/config/corpus.py, qarib_tasks/corpus/reading/source.py, qarib_tasks/corpus/report.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.corpus.collect import collect, collect_source
from qarib_tasks.corpus.reading import source as one_source
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.collecting import CASES, SENTENCES, collected, config


def test_lines_are_stripped_and_blank_lines_become_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff\n\n  قال \r\nثم\r\n\n \t\n\nمرحبا".encode())
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "قال\nثم\n\nمرحبا\n"


def test_every_file_of_a_glob_in_order_and_every_source(tmp_path: Path) -> None:
    for name, text in {"b.txt": "second\n", "a.txt": "first\n", "c.dat": "third\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert collected(config(tmp_path / "*.txt", tmp_path / "c.dat"), tmp_path) == "first\n\nsecond\n\nthird\n"
    figures = Manifest.read(tmp_path / "out" / "data.txt.manifest.json").statistics
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
    manifest = Manifest.read(tmp_path / "out" / "data.txt.manifest.json")
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
    manifest = Manifest.read(tmp_path / "out" / "data.txt.manifest.json")
    assert manifest.statistics["changed"] == {"tatweel": 1, "urls": 1}
    assert manifest.statistics["dropped"] == {"arabic_share": 1}
    assert ["مـرحبا بكم", "مرحبا بكم"] in [
        list(pair) for pair in manifest.statistics["sources"]["source0"]["samples"]
    ]
    page = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
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
    assert not list(out.parent.glob("*.collecting"))


def test_sources_collected_beforehand_are_used_and_a_damaged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"text of {name}\n", encoding="utf-8")
    settings = config(*(tmp_path / f"{name}.txt" for name in "abc"))
    out = tmp_path / "out" / "data.txt"
    for name in ("source2", "source0"):
        collect_source(settings, name, out)
    (tmp_path / "out" / "data.txt.collecting" / "source2.txt").write_text("damaged\n")
    read: list[str] = []
    real = one_source.read

    def watched(source: object, path: Path, *rest: object) -> object:
        read.append(path.name)
        return real(source, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(one_source, "read", watched)
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
    assert (tmp_path / "out" / "data.txt.changed-1").read_text() == "fir"


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


def test_a_folder_of_many_encodings_is_one_error_that_names_each_file(tmp_path: Path) -> None:
    for name in sorted(path.name for path in (CASES / "mixed-folder").iterdir()):
        (tmp_path / name).write_bytes((CASES / "mixed-folder" / name).read_bytes())
    (tmp_path / "e.txt").write_bytes("\n".join(SENTENCES).encode("iso-8859-6"))
    (tmp_path / "f.txt").write_bytes(b"%PDF-1.7")
    settings = config(tmp_path / "*.txt", source={"document": "line"}, deduplicate=False)
    with pytest.raises(InputError, match="found 3 problems") as error:
        collected(settings, tmp_path)
    assert [part.where for part in error.value.parts] == [
        str(tmp_path / name) for name in ("c-ansi-arabic.txt", "e.txt", "f.txt")
    ]
    for likely in ("windows-1256", "iso-8859-6", "a PDF document"):
        assert likely in str(error.value)
    assert not (tmp_path / "out" / "data.txt").exists()
    for name in ("e.txt", "f.txt"):
        (tmp_path / name).unlink()
    # The encoding is for files whose bytes do not say another one.
    settings = config(
        tmp_path / "*.txt", source={"document": "line", "encoding": "windows-1256"}, deduplicate=False
    )
    text = collected(settings, tmp_path)
    assert len(text.split("\n\n")) == 419
    assert "\ufffd" not in text


def test_files_left_out_and_undecodable_bytes_are_in_manifest_and_report(tmp_path: Path) -> None:
    for name in ("part-0.csv", "part-1.csv", "part-2.csv", "_SUCCESS"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "part-0.csv").write_bytes(b"id,text\n1,abc\n" + b"2,abcd\n" * 10000 + b"3,\xffabc\n")
    settings = config(tmp_path / "[p_]*")
    assert collected(settings, tmp_path).endswith("\ufffdabc\n")
    figures = Manifest.read(tmp_path / "out" / "data.txt.manifest.json").statistics
    source = figures["sources"]["source0"]
    assert (figures["undecodable_bytes"], figures["left_out_files"]) == (1, 3)
    assert source["undecodable"] == {str(tmp_path / "part-0.csv"): 1}
    assert source["left_out"] == {
        str(tmp_path / "_SUCCESS"): "a file of the system",
        str(tmp_path / "part-1.csv"): "empty",
        str(tmp_path / "part-2.csv"): "empty",
    }
    page = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
    assert f"<td>{tmp_path / 'part-0.csv'}<td>1" in page
    assert f"<td>{tmp_path / 'part-2.csv'}<td>empty" in page


def test_a_source_of_empty_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good\n")
    for name in ("a6-zero.zip", "a6-empty.txt.gz"):
        (tmp_path / name).write_bytes((CASES / name).read_bytes())
    with pytest.raises(InputError, match=r"no text was found; left out: .*a6-empty.*empty.*a6-zero"):
        collected(config(tmp_path / "good.txt", tmp_path / "a6*"), tmp_path)


def test_text_in_archives_in_other_encodings_is_collected(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "\n".join(SENTENCES).encode("cp1256"))
        archive.writestr("b.txt", "\n".join(SENTENCES).encode("utf-16"))
    settings = config(tmp_path / "a.zip", source={"encoding": "windows-1256"}, deduplicate=False)
    assert collected(settings, tmp_path).split() == "\n".join(SENTENCES * 2).split()


def test_the_work_grows_with_the_sources_and_no_faster(tmp_path: Path) -> None:
    """Counts calls, which unlike time are the same on every machine."""
    for number in range(80):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number}\n", encoding="utf-8")

    def calls(count: int) -> int:
        settings, made = config(*(tmp_path / f"{i:02}.txt" for i in range(count))), 0

        def counted(frame: object, event: str, argument: object) -> None:
            nonlocal made
            made += 1

        sys.setprofile(counted)
        try:
            collect(settings, tmp_path / f"out{count}" / "data.txt", heldout=None, random_seed=34)
        finally:
            sys.setprofile(None)
        return made

    calls(10)  # Imports and tables.
    first, second, third = calls(20), calls(40), calls(80)
    assert (third - second) / 40 < 1.05 * (second - first) / 20
