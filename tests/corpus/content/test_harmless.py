"""Files beside the texts that hold none: they are left out by name, in folders and archives."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.content.harmless import is_harmless, is_hidden
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import Findings
from tests.support.collecting import ARCHIVES, CASES, lines_of


def test_files_of_systems_are_no_corpus(tmp_path: Path) -> None:
    for name in ("__MACOSX/a.txt", "a/__MACOSX/b/c.txt", "._a.txt", "a/.DS_Store", "Thumbs.db", "desktop.ini",
                 "_SUCCESS", "_committed_12", ".part-00000.csv.crc", "/x/$RECYCLE.BIN/a.txt", "thumbs.db",
                 "a.pyc", "lost+found/a", "dataset_info.json", "_spark_metadata/0", "texts_$folder$",
                 "a.txt.sig"):  # fmt: skip
        assert is_harmless(name)
    for name in ("a.txt", "_a.txt", "success", ".hidden.txt", "MACOSX/a.txt", "a._b"):
        assert not is_harmless(name)
    assert lines_of(CASES / "spark" / "_SUCCESS") == []
    assert lines_of(CASES / "spark" / "part-00001.csv") == []
    for path in sorted(CASES.glob("a6-*")):
        assert lines_of(path) == []


def findings_of(path: Path, **settings: object) -> tuple[list[str], Findings]:
    findings = Findings()
    source = SourceConfig(name="s", path=str(path), **settings)  # type: ignore[arg-type]
    batches = read(source, path, str(path), Counter(), findings)
    return [line for batch in batches for line in batch if line], findings


SUM = hashlib.md5(b"a", usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("md5sums.txt", f"{SUM}  a.txt\n{SUM} *b.txt.bz2\n".encode(), "checksums"),
        ("a.txt.asc", b"-----BEGIN PGP SIGNATURE-----\n\niQEz", "a signature"),
        ("state.json", b'{"_data_files": [{"filename": "a.arrow"}], "_split": null}', "the library datasets"),
    ],
)
def test_files_without_text_by_their_content(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(data)
    lines, findings = findings_of(tmp_path / name)
    assert lines == []
    assert what in findings.left_out[str(tmp_path / name)]


def test_texts_that_begin_like_checksums_are_read(tmp_path: Path) -> None:
    for text in (f"{SUM}\tنص", f"{SUM} نص آخر", SUM, "a" * 64, f"{SUM}  a b"):
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        assert lines_of(tmp_path / "a.txt") == [text]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_hidden_members_are_left_out_unless_asked_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    hidden = [".git/config", "x/.idea/workspace.xml", ".a.txt.swp"]
    path.write_bytes(ARCHIVES[kind]({"./a.txt": b"a\n", **dict.fromkeys(hidden, b"<?xml version='1.0'?>")}))
    lines, findings = findings_of(path)
    assert lines == ["a"]
    assert findings.left_out == {f"{path}/{name}": "a hidden file" for name in hidden}
    path.write_bytes(ARCHIVES[kind]({".texts/a.txt": b"a\n", "b.txt": b"b\n"}))
    assert lines_of(path, member=".texts/*") == ["a"]
    assert is_hidden(".texts/*")
    assert not any(map(is_hidden, ("./a.txt", "../a.txt", "a.txt", "a./b.")))
