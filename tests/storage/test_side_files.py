"""What commands write beside outputs is recognized, also by the names of the first version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qarib_tasks.storage.manifest import FileRecord, Kind, Manifest, manifest_of
from qarib_tasks.storage.side_files import is_side_file


def made(folder: Path, manifest: str, kind: Kind, *names: str) -> None:
    """Write outputs and their manifest."""
    for name in names:
        (folder / name).write_text(f"{name}\n")
    Manifest(kind=kind, id=names[0], outputs=[FileRecord.of(folder / name) for name in names]).write(
        folder / manifest
    )


def side_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if is_side_file(path)}


def test_beside_a_text(tmp_path: Path) -> None:
    made(tmp_path, "a.b.manifest.json", "corpus", "a.b", "a.b.report.html")
    assert side_files(tmp_path) == {"a.b.manifest.json", "a.b.report.html"}


def test_beside_a_text_of_the_first_version(tmp_path: Path) -> None:
    made(tmp_path, "data.json", "corpus", "data.txt", "report.html")
    assert side_files(tmp_path) == {"data.json", "report.html"}


@pytest.mark.parametrize("manifest", ["vocab.txt.manifest.json", "vocab.json"])
def test_a_vocabulary_is_no_text(tmp_path: Path, manifest: str) -> None:
    made(tmp_path, manifest, "vocabulary", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
    made(tmp_path, "data.txt.vocab.manifest.json", "vocabulary", "data.txt.vocab")
    made(tmp_path, "a.tfrecord.manifest.json", "shard", "a.tfrecord")
    assert side_files(tmp_path) == {path.name for path in tmp_path.iterdir()}


def test_files_of_others(tmp_path: Path) -> None:
    made(tmp_path, "shards.manifest.json", "shards", "shard_0000")
    for name in ("data.json", "report.html", "tokenizer.json", "x.manifest.json", "vocab.txt", "a.txt"):
        (tmp_path / name).write_text('{"config": {}, "kind": "corpus"}\n')
    (tmp_path / "config.json").write_text('{\n "config": 1\n}\n')
    (tmp_path / "broken.json").symlink_to("nowhere")
    assert side_files(tmp_path) == {"shards.manifest.json"}


def test_a_large_file_with_the_former_name_of_a_manifest_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tweets.json").touch()
    os.truncate(tmp_path / "tweets.json", 1 << 42)
    assert manifest_of(tmp_path / "tweets.txt").name == "tweets.txt.manifest.json"
    assert not is_side_file(tmp_path / "tweets.json")
