"""Splitting, against GNU split itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qarib_tasks.config.conversion import SplitConfig
from qarib_tasks.corpus.content.plain import other_than_text
from qarib_tasks.dataset.split import split
from qarib_tasks.errors import InputError
from qarib_tasks.storage.manifest import Manifest


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=30),
    last_newline=st.booleans(),
    shard_lines=st.integers(1, 12),
)
def test_the_same_bytes_as_gnu_split(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], last_newline: bool, shard_lines: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    data, theirs = folder / "data.txt", folder / "theirs"
    written = b"\n".join(lines) + (b"\n" if last_newline else b"x")
    assume(not other_than_text(written))
    data.write_bytes(written)
    theirs.mkdir()
    subprocess.run(
        ["split", "-a", "4", "-l", str(shard_lines), "-d", str(data), f"{theirs}/shard_"], check=True
    )
    manifest = split(data, folder / "shards", SplitConfig(shard_lines=shard_lines))
    assert contents(folder / "shards") == contents(theirs)
    assert [record.name for record in manifest.outputs] == [f"shards/{name}" for name in contents(theirs)]


def test_shards_of_another_split_do_not_stay(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1\n2\n3\n4\n")
    split(data, tmp_path / "shards", SplitConfig(shard_lines=1))
    split(data, tmp_path / "shards", SplitConfig(shard_lines=2))
    assert contents(tmp_path / "shards") == {"shard_0000": b"1\n2\n", "shard_0001": b"3\n4\n"}


def test_a_damaged_shard_is_made_again_and_a_whole_split_is_left_alone(tmp_path: Path) -> None:
    data, shards = tmp_path / "data.txt", tmp_path / "shards"
    data.write_text("1\n2\n3\n")
    split(data, shards, SplitConfig(shard_lines=2))
    before = (shards / "shard_0000").stat().st_ino
    split(data, shards, SplitConfig(shard_lines=2))
    assert (shards / "shard_0000").stat().st_ino == before
    (shards / "shard_0001").unlink()
    split(data, shards, SplitConfig(shard_lines=2))
    assert (shards / "shard_0001").read_text() == "3\n"


def test_too_many_shards_and_an_empty_file_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1\n2\n3\n")
    monkeypatch.setattr("qarib_tasks.dataset.split.MAX_SHARDS", 2)
    with pytest.raises(InputError, match=r"more than 2 shards of 1 lines.*Raise shard_lines"):
        split(data, tmp_path / "shards", SplitConfig(shard_lines=1))
    assert not (tmp_path / "shards.manifest.json").exists()
    data.write_text("")
    with pytest.raises(InputError, match="the file is empty"):
        split(data, tmp_path / "shards", SplitConfig())
    with pytest.raises(InputError, match="no such file"):
        split(tmp_path / "nowhere", tmp_path / "shards", SplitConfig())


def test_the_manifest_records_lines_and_checksums(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1\n2\n3\n")
    split(tmp_path / "data.txt", tmp_path / "shards", SplitConfig(shard_lines=2))
    manifest = Manifest.read(tmp_path / "shards.manifest.json")
    assert manifest.statistics == {"lines": 3, "shards": 2}
    assert manifest.faults(tmp_path) == []
    (tmp_path / "shards" / "shard_0000").write_text("1\n3\n")
    assert manifest.faults(tmp_path) == [f"{tmp_path}/shards/shard_0000 does not match its manifest"]


def test_a_shard_that_the_user_edited_is_kept(tmp_path: Path) -> None:
    data, shards = tmp_path / "data.txt", tmp_path / "shards"
    data.write_text("1\n2\n3\n")
    split(data, shards, SplitConfig(shard_lines=1))
    for number in (0, 2):
        (shards / f"shard_000{number}").write_text("edited\n")
    split(data, shards, SplitConfig(shard_lines=2))
    edited = b"edited\n"
    kept = {"shard_0000.changed-1": edited, "shard_0002.changed-1": edited}
    assert contents(shards) == {"shard_0000": b"1\n2\n", "shard_0001": b"3\n", **kept}
