"""Manifests and side files of one output are not those of another; names of earlier versions are found.

Covers qarib_tasks/storage/manifest.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.storage.files import checksums_of
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of

RECORD = FileRecord("data.txt", **vars(checksums_of(b"text")))


def former(path: Path, **values: Any) -> None:
    Manifest(**{"kind": "corpus", "id": "data", "outputs": [RECORD], **values}).write(path)


def test_the_manifest_of_an_earlier_version_stays_in_use(tmp_path: Path) -> None:
    former(tmp_path / "data.json")
    assert manifest_of(tmp_path / "data.txt") == tmp_path / "data.json"
    assert manifest_of(tmp_path / "data.csv") == tmp_path / "data.csv.manifest.json"
    assert manifest_of(tmp_path / "data.json") == tmp_path / "data.json.manifest.json"
    former(tmp_path / "data.txt.manifest.json")
    assert manifest_of(tmp_path / "data.txt") == tmp_path / "data.txt.manifest.json"


def test_manifests_of_shards_of_an_earlier_version(tmp_path: Path) -> None:
    former(tmp_path / "shards.json", kind="shards", id="shards", outputs=())
    assert manifest_of(tmp_path / "shards") == tmp_path / "shards.json"
    assert manifest_of(tmp_path / "shards.old") == tmp_path / "shards.old.manifest.json"
    former(tmp_path / "shard_0000.json", kind="shard", id="shard_0000", outputs=(), state="failed")
    assert manifest_of(tmp_path / "shard_0000.tfrecord") == tmp_path / "shard_0000.json"


@pytest.mark.parametrize("text", ["", "{", '{"text": "data.txt"}', "[]", "\xff"])
def test_a_file_that_only_has_the_former_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.json").write_text(text, encoding="latin-1")
    assert manifest_of(tmp_path / "data.txt") == tmp_path / "data.txt.manifest.json"


def test_paths_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shards").mkdir()
    monkeypatch.chdir(tmp_path / "shards")
    assert manifest_of(Path(".")) == tmp_path / "shards.manifest.json"
    assert manifest_of(Path("..")).name == f"{tmp_path.name}.manifest.json"


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    lines = (SAMPLE / "udhr.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    monkeypatch.chdir(tmp_path)
    return "".join(lines[:120])


def run(*arguments: str, status: int = 0) -> None:
    assert run_command(arguments) == status


def entries(path: str) -> int:
    return len(json.loads(Path(path).read_text(encoding="utf-8"))["model"]["vocab"])


def test_two_vocabularies_in_one_folder(text: str) -> None:
    for name, size in (("one", "400"), ("two", "300")):
        Path(f"{name}.txt").write_text(text, encoding="utf-8")
        run("vocab", "-i", f"{name}.txt", "--size", size, "--placeholders", "8")
    assert entries("one.txt.vocab.tokenizer.json") == 400
    assert entries("two.txt.vocab.tokenizer.json") == 300


def test_corpora_whose_names_differ_in_their_ends(text: str) -> None:
    Path("in").write_text(text, encoding="utf-8")
    Path("tweets.json").write_text('{"text": "ذهب سامي إلى السوق"}\n', encoding="utf-8")
    outs = ("tweets.2023", "tweets.2024", "tweets.txt")
    for out in outs:
        run("collect", "in", "-o", out)
    times = [Path(out).stat().st_mtime_ns for out in outs]
    for out in outs:
        run("collect", "in", "-o", out)
    assert [Path(out).stat().st_mtime_ns for out in outs] == times, "each is found complete"
    assert "سامي" in Path("tweets.json").read_text(encoding="utf-8")


def outputs(names: Sequence[str]) -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in names}


def test_a_step_that_fails_leaves_what_it_made_before(text: str) -> None:
    Path("s").write_text(text, encoding="utf-8")
    run("vocab", "-i", "s", "-o", "vocab.txt", "--size", "400", "--placeholders", "8")
    convert = ("convert", "s", "-o", "s.tfrecord", "--dupe-factor", "1", "--vocab")
    run(*convert, "vocab.txt")
    run("split", "s", "shards", "--lines", "50")
    before = outputs([path.as_posix() for path in Path().rglob("*") if path.is_file()])
    run(*convert, "vocab.tx", status=1)
    Path("empty").write_text("")
    run("vocab", "-i", "empty", "-o", "vocab.txt", "--replace", status=1)
    run("vocab", "-i", "s", "-o", "vocab.txt", "--size", "64000", "--replace", status=1)
    run("split", "empty", "shards", status=1)
    run("convert", "s", "-o", "s", "--vocab", "vocab.txt", status=1)
    run("convert", "s", "-o", "vocab.txt", "--vocab", "vocab.txt", status=1)
    run("vocab", "-i", "s", "-o", "s", status=1)
    run("split", "shards/shard_0001", "shards", status=1)
    Path("empty").unlink()
    assert outputs([path.as_posix() for path in Path().rglob("*") if path.is_file()]) == before
