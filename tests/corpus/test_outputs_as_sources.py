"""Outputs are never sources."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command

TEXT = "\n\n".join(f"ذهب سامي إلى السوق صباح اليوم {number}" for number in range(40)) + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "a.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "g"


@pytest.mark.parametrize("source", ["g/*.txt", "g/*", "g", "g/**"])
def test_a_pattern_that_matches_the_output(
    folder: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    command = ["collect", source, "-o", "g/data.txt", "--no-deduplicate", "--heldout", "g/held.txt"]
    command += ["--heldout-share", "0.4"]
    assert not run_command(command)
    first = {path: (path.read_bytes(), path.stat().st_ino) for path in folder.iterdir()}
    assert not run_command(command)
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in folder.iterdir()} == first
    assert "g/data.txt: left out of source" in caplog.text
    assert "g/held.txt: left out of source" in caplog.text


def test_an_output_that_is_named_as_a_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["collect", "g/a.txt", "-o", "g/a.txt"]) == 1
    assert not run_command(["collect", "g/a.txt", "-o", "g/data.txt"])
    (folder / "link.txt").symlink_to("data.txt")
    for source in ("g/data.txt", "g/link.txt"):
        assert run_command(["collect", source, "-o", "g/data.txt"]) == 1
        assert "the output is also an input" in capsys.readouterr().err or source == "g/link.txt"
    assert (folder / "a.txt").read_text(encoding="utf-8") == TEXT
    assert run_command(["collect", "g/d*.txt", "-o", "g/data.txt"]) == 1
    assert "g/d*.txt: names only files that this command made" in capsys.readouterr().err


def test_a_stranger_s_file_that_the_output_would_replace(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data.txt").write_text("a stranger's\n")
    assert run_command(["collect", "g/*.txt", "-o", "g/data.txt"]) == 1
    assert "g/data.txt: the output is also an input" in capsys.readouterr().err
    assert (folder / "data.txt").read_text() == "a stranger's\n"


@pytest.mark.parametrize("source", ["g/*", "g"])
def test_side_files_of_other_outputs_are_no_text(
    folder: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not run_command(["collect", "g/a.txt", "-o", "g/data.txt"])
    (folder / "notes.manifest.json").write_text('{"text": "ذهب سامي إلى السوق"}\n', encoding="utf-8")
    caplog.set_level(logging.INFO)
    assert not run_command(["collect", source, "-o", "other.txt", "--no-deduplicate"])
    assert "left out 2 files that commands wrote: g/data.txt.manifest.json, g/data.txt.report.html" in (
        caplog.text
    )
    assert (folder.parent / "other.txt").read_text(encoding="utf-8").count("صباح اليوم 39") == 2
    assert "ذهب سامي إلى السوق\n" in (folder.parent / "other.txt").read_text(encoding="utf-8")


def test_a_vocabulary_is_no_text(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not run_command(["vocab", "-i", "g/a.txt", "--size", "55", "--placeholders", "1"])
    caplog.set_level(logging.INFO)
    assert not run_command(["collect", "g", "-o", "data.txt"])
    assert "g: left out 4 files that commands wrote: g/a.txt.vocab, " in caplog.text
    assert Path("data.txt").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("end", ["collecting", "collecting/x", "fetched", "fetched/a/x"])
def test_paths_in_the_temporary_folders_of_the_output(
    folder: Path, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["collect", "g/a.txt", "-o", "data.txt"]
    assert run_command([*command, "--heldout", f"data.txt.{end}", "--heldout-share", "0.4"]) == 1
    assert "belongs to the temporary folders of the output data.txt" in capsys.readouterr().err
    source = Path(f"data.txt.{end}")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(TEXT, encoding="utf-8")
    assert run_command(["collect", str(source), "-o", "./g/../data.txt"]) == 1
    assert "belongs to the temporary folders" in capsys.readouterr().err
    assert source.read_text(encoding="utf-8") == TEXT
    assert not Path("data.txt").exists()


@pytest.mark.parametrize("source", ["g/*", "g"])
def test_an_edited_output_that_was_kept(folder: Path, source: str, caplog: pytest.LogCaptureFixture) -> None:
    command = ["collect", source, "-o", "g/data.txt"]
    assert not run_command(command)
    first = (folder / "data.txt").read_text(encoding="utf-8")
    (folder / "a.txt.changed-1").write_text("ذهب سامي إلى السوق صباح أمس\n", encoding="utf-8")
    for name in ("data.txt", "data.txt.report.html"):
        (folder / name).write_text("edited\n")
        assert not run_command(command)
    assert (folder / "data.txt.changed-1").exists()
    caplog.set_level(logging.INFO)
    assert not run_command(command)
    assert "g/data.txt.changed-1: left out of source" in caplog.text
    assert "g/a.txt.changed-1: left out" not in caplog.text
    lines = (folder / "data.txt").read_text(encoding="utf-8").splitlines()
    assert set(lines) == {*first.splitlines(), "ذهب سامي إلى السوق صباح أمس"}
