"""A command does not replace what another command made, and finds what it made itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command

TEXT = "ذهب الولد إلى المدرسة\nثم عاد إلى البيت\nوكتب رسالة إلى صديقه\n" * 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, times in (("a.txt", 1), ("b.txt", 2)):
        lines = [f"{line} {name[0]} {number}" for number, line in enumerate((TEXT * times).splitlines())]
        Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert not run_command(["collect", "a.txt", "-o", "data.txt"])
    assert not run_command(["vocab", "-i", "data.txt", "-s", "70", "--placeholders", "2", "-o", "vocab.txt"])
    assert not run_command(["convert", "data.txt", "--vocab", "vocab.txt", "-o", "x.tfrecord"])
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("convert b.txt --vocab vocab.txt -o data.txt", "data.txt: is part of a corpus that qarib made"),
        ("vocab -i b.txt -s 100 --replace -o data.txt", "data.txt: is part of a corpus that qarib made"),
        ("collect b.txt -o vocab.txt", "vocab.txt: is part of a vocabulary that qarib made, not of a corpus"),
        ("convert b.txt --vocab vocab.txt -o vocab.txt", "vocab.txt: the output is also an input"),
        ("collect b.txt -o x.tfrecord", "x.tfrecord: is part of a converted shard that qarib made"),
        ("vocab -i b.txt -s 100 --replace -o x.tfrecord", "x.tfrecord: is part of a converted shard"),
    ],
)
def test_what_another_command_made_stays(
    command: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    assert run_command(command.split()) == 1
    assert message in capsys.readouterr().err
    assert contents(folder) == before


def test_another_heldout_file_is_written_and_the_one_before_is_kept(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def collect(*more: str) -> str:
        caplog.clear()
        assert not run_command(["collect", "b.txt", "--document", "line", "-o", "o.txt", *more])
        return caplog.text

    caplog.set_level("INFO")
    share = ["--heldout-share", "0.3"]
    collect("--heldout", "h1.txt", *share)
    heldout = Path("h1.txt").read_bytes()
    err = collect("--heldout", "sub/h2.txt", *share)
    assert Path("sub/h2.txt").read_bytes() == heldout
    assert "h1.txt: from an earlier run: kept as h1.txt.changed-1" in err
    assert Path("h1.txt.changed-1").read_bytes() == heldout
    # Without a held-out part, its documents are in the training text.
    assert "sub/h2.txt: from an earlier run: kept as h2.txt.changed-1" in collect()
    assert set(heldout.splitlines()) <= set(Path("o.txt").read_bytes().splitlines())
    collect("--heldout", "h1.txt", *share)
    assert Path("h1.txt").read_bytes() == heldout
    assert "already collected" in collect("--heldout", "h1.txt", *share)


@pytest.mark.parametrize(
    "command", ["convert - --vocab vocab.txt -o y.tfrecord", "split - y", "vocab -i - -s 100 -o y.txt"]
)
def test_a_step_that_reads_lines_reads_nothing_else(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wide.txt").write_text(TEXT, encoding="utf-16")
    assert run_command(command.replace(" - ", " wide.txt ").split()) == 1
    assert "wide.txt: not UTF-8, but UTF-16" in capsys.readouterr().err
    assert not [path for path in folder.glob("y*") if not path.name.endswith("manifest.json")]
