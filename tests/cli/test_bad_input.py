"""Every command with every kind of bad input: one line, status 1, 2, or 78, and nothing is written.

Covers qarib_tasks/cli/main.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qarib_tasks.cli.main import run_command
from qarib_tasks.machines.exit_status import COMMANDS as OF_BACKENDS
from qarib_tasks.machines.exit_status import REFUSED

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
# Where {bad} stands, the bad input is given.
COMMANDS = {
    "collect": "collect {bad} -o out/data.txt",
    "collect --config": "collect --config {bad} -o out/data.txt",
    "vocab": "vocab -i {bad} -o out/vocab.txt -s 100",
    "vocab-report": "vocab-report {bad} --text good.txt",
    "vocab-report --text": "vocab-report vocab.txt --text {bad}",
    "split": "split {bad} out/shards",
    "convert": "convert {bad} -o out/x.tfrecord --vocab vocab.txt",
    "convert --vocab": "convert good.txt -o out/x.tfrecord --vocab {bad}",
    "verify": "verify {bad}",
    "inspect": "inspect {bad} --vocab vocab.txt",
    "inspect --vocab": "inspect good.tfrecord --vocab {bad}",
    "run": "run --config {bad}",
    "train": "train --config {bad}",
    "evaluate": "evaluate --config {bad}",
    "export": "export --config {bad}",
    "fill-mask": "fill-mask {bad} [MASK]",
    "finetune": "finetune {bad} --train good.txt -o out/results",
    "finetune --task": "finetune folder --task {bad} -o out/results",
    "promote": "promote some-model --workspace {bad}",
    "output of collect": "collect good.txt -o {bad}",
    "output of vocab": "vocab -i good.txt -s 40 --placeholders 8 -o {bad}",
    "output of split": "split good.txt {bad}",
    "output of convert": "convert good.txt -o {bad} --vocab vocab.txt",
}
# Any text is text for these; what is wrong with it is for the tests of the readers.
READ_TEXT = ("collect", "vocab", "vocab-report --text", "split", "convert")
NOT_READ = ("missing", "folder", "unreadable", "dead link")


def unreadable(path: Path) -> None:
    path.write_text("x\n")
    path.chmod(0)


KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "empty": lambda path: path.touch(),
    "unreadable": unreadable,
    "dead link": lambda path: path.symlink_to("nowhere"),
    "not UTF-8": lambda path: path.write_bytes("preset: تجربة\n".encode("cp1256") * 50),
    "YAML with tabs": lambda path: path.write_text("a: 1\n\tb: 2\n"),
    "YAML with a key twice": lambda path: path.write_text("preset: demo\npreset: qarib\n"),
}


def outcome(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = run_command(arguments)
    return status, [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(("qarib:", "Error:"))
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [name for name in COMMANDS if not name.startswith("output")])
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("السلام عليكم\nورحمة الله\n\nكيف الحال\n" * 20, encoding="utf-8")
    (tmp_path / "vocab.txt").write_bytes((FOLDER / "vocab.txt").read_bytes())
    (tmp_path / "good.tfrecord").touch()
    bad = "bad.tfrecord" if command in ("verify", "inspect") else "bad"
    KINDS[kind](tmp_path / bad)
    before = sorted(os.listdir())
    if os.geteuid() == 0 and kind == "unreadable":
        tmp_path.chmod(0o777)
        os.seteuid(65534)
    try:
        status, lines = outcome([word.format(bad=bad) for word in COMMANDS[command].split()], capsys)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    if status == 0 and command in READ_TEXT and kind not in NOT_READ:
        return
    assert status in (1, 2) or (status == REFUSED and command.split()[0] in OF_BACKENDS)
    assert len(lines) == 1, lines
    assert "internal error" not in lines[0]
    assert kind != "folder" or "no such file" not in lines[0]
    assert "bad" in lines[0] or "some-model" in lines[0] or kind == "dead link"
    assert sorted(name for name in os.listdir() if name != "out") == before


@pytest.mark.parametrize("command", [name for name in COMMANDS if name.startswith("output")])
@pytest.mark.parametrize("bad", [".", "/", "..", "", "x" * 256])
def test_outputs_without_a_usable_name_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    bad: str,
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    Path("good.txt").write_text("السلام عليكم\nورحمة الله\n\nكيف الحال\n" * 20, encoding="utf-8")
    Path("vocab.txt").write_bytes((FOLDER / "vocab.txt").read_bytes())
    if command == "output of split" and bad in (".", "..", "", "/"):
        return  # folders
    status, lines = outcome([word.format(bad=bad) for word in COMMANDS[command].split()], capsys)
    assert status == 1
    assert len(lines) == 1, lines
    assert "internal error" not in lines[0]
    assert "disk space" not in lines[0]
    assert sorted(os.listdir()) == ["good.txt", "vocab.txt"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name.startswith("output")])
@pytest.mark.parametrize("kind", ["folder", "below a file", "below a folder without permission"])
def test_bad_output_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("السلام عليكم\nورحمة الله\n\nكيف الحال\n" * 20, encoding="utf-8")
    (tmp_path / "vocab.txt").write_bytes((FOLDER / "vocab.txt").read_bytes())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "file").write_text("mine\n")
    bad = {"folder": "bad", "below a file": "bad/file/out", "below a folder without permission": "bad/out"}
    if kind == "folder" and command == "output of split":
        return
    tmp_path.chmod(0o755)
    if os.geteuid() == 0 and "permission" in kind:
        os.seteuid(65534)
    elif "permission" in kind:
        (tmp_path / "bad").chmod(0o555)
    try:
        status, lines = outcome([word.format(bad=bad[kind]) for word in COMMANDS[command].split()], capsys)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (tmp_path / "bad").chmod(0o755)
    assert status == 1
    assert len(lines) == 1, lines
    assert "bad" in lines[0]
    assert "internal error" not in lines[0]
    assert [path.name for path in (tmp_path / "bad").iterdir()] == ["file"]
    assert (tmp_path / "bad" / "file").read_text() == "mine\n"
