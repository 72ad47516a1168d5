"""Working folders: ours are removed, also what a killed removal left."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.storage.working_folder import is_our_folder, make_folder, remove_folder


def test_what_a_killed_removal_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "data.txt.collecting"
    folder.mkdir()
    remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "data.txt.collecting"
    folder.mkdir()
    make_folder(folder)
    assert is_our_folder(folder)


def test_files_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "data.txt.collecting"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    remove_folder(folder)
    assert (folder / "notes").read_text() == "mine"
