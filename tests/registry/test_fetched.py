"""The cache of fetched source files keeps files of another origin."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.registry.fetched import fetched, forget
from qarib_tasks.storage.manifest import FileRecord, Manifest


def test_only_fetched_files_are_forgotten(tmp_path: Path) -> None:
    for name in ("mine.txt", "mine.txt.json", "listed.txt"):
        (tmp_path / name).write_text("{}")
    record = FileRecord.of(tmp_path / "listed.txt")
    Manifest(kind="corpus", id="listed.txt", outputs=[record]).write(tmp_path / "listed.txt.json")
    assert list(fetched(tmp_path)) == [tmp_path / "listed.txt"]
    (tmp_path / "listed.txt").write_text("edited")
    for name in ("mine.txt", "listed.txt"):
        forget(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / "listed.txt").write_text("{}")
    forget(tmp_path / "listed.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "mine.txt.json"]
