"""What a command says when it fails: one line, and the traceback only on request."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from qarib_tasks.cli import failures
from qarib_tasks.cli import main as command_line
from qarib_tasks.cli.failures import failure, with_options
from qarib_tasks.cli.main import cli, run_command
from qarib_tasks.cli.options import options_of
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.errors import InputError


def read(path: Path) -> str:
    """Something of ours that reads a file."""
    return path.read_text(encoding="utf-8")


def arrow(path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.read_table(path)


def sentencepiece(path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceProcessor(model_file=str(path))


def safetensors(path: Path) -> None:
    from safetensors.numpy import load_file

    load_file(path)


def tokenizers(path: Path) -> None:
    from tokenizers import Tokenizer

    Tokenizer.from_file(str(path))


def full(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def out_of_memory(path: Path) -> None:
    raise MemoryError


def interrupted(path: Path) -> None:
    raise KeyboardInterrupt


def bug(path: Path) -> None:
    raise KeyError("a bug")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Let `qarib split` call a function with the path of its data."""

    def use(function: Callable[[Path], object]) -> None:
        @click.command("split")
        @click.argument("data", type=click.Path(path_type=Path))
        def split(data: Path) -> None:
            function(data)

        monkeypatch.setitem(cli.commands, "split", split)

    return use


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (full, "qarib: error: {path}: No space left on device. Free disk space on the disk of {disk} ("),
        (arrow, "qarib: error: {path}: pyarrow: Could not open Parquet"),
        (sentencepiece, "qarib: error: {path}: sentencepiece: "),
        (safetensors, "qarib: error: {path}: safetensors"),
        (tokenizers, "qarib: error: {path}: "),
        (lambda path: json.loads("{"), "qarib: error: {path}: json: Expecting property name"),
        (lambda path: read(path), "qarib: error: {path}: not UTF-8: byte 0xff at 0. Save the file as UTF-8"),
        (lambda path: path.mkdir(), "qarib: error: {path}: File exists. Choose another path"),
        (lambda path: (path / "x").open(), "qarib: error: {path}/x: Not a directory. Correct the path"),
        (lambda path: path.parent.open(), "qarib: error: {folder}: Is a directory. Give the path of a file"),
        (out_of_memory, "qarib: error: out of memory. Use a machine with more memory"),
        (bug, "qarib: error: internal error: KeyError: 'a bug'. This is a bug: run the command again with "),
    ],
)
def test_an_error_is_one_line_with_the_path(
    tmp_path: Path,
    failing: Callable[[Callable[[Path], object]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[[Path], object],
    line: str,
) -> None:
    monkeypatch.setattr(failures, "OURS", SAMPLE.parent)  # The functions of this file, too.
    path = tmp_path / "file"
    path.write_bytes(b"\xff not what it should be" * 10)
    failing(function)
    assert run_command(["split", str(path)]) == 1
    out, error = capsys.readouterr()
    disk = next(folder for folder in path.parents if folder.is_mount())
    assert error.startswith(line.format(path=path, folder=tmp_path, disk=disk))
    assert error.count("\n") == 1
    assert not out


def test_the_traceback_is_shown_on_request(
    tmp_path: Path,
    failing: Callable[[Callable[[Path], object]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QARIB_DEBUG", "1")
    failing(bug)
    assert run_command(["split", "x"]) == 1
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert error.splitlines()[-1].startswith("qarib: error: internal error: KeyError")


def test_ctrl_c(
    failing: Callable[[Callable[[Path], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(interrupted)
    assert run_command(["split", "x"]) == 130
    assert capsys.readouterr().err.strip() == "qarib: interrupted"


def test_where_to_report_a_bug_is_in_the_project_file() -> None:
    project = tomllib.loads((SAMPLE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Issues"].startswith("https://")


def test_on_the_command_line_messages_name_options() -> None:
    options = options_of(cli.commands["collect"]) | options_of(cli.commands["vocab"])
    for text, shown in (
        ("Correct the record, or raise skip_at_most", "Correct the record, or raise --skip-at-most"),
        ("Set `encoding: windows-1256`", "Set `--encoding windows-1256`"),
        ("Set `header: false`, and `field`", "Set `--no-header`, and `--field`"),
        ("Set vocab_size to 500.", "Set --size to 500."),
        ("vocab_size: Input should be less", "--size: Input should be less"),
        ("Check `cleaning`", "Check `--clean`"),
        ("sources.0: `encoding`: unknown", "`--encoding`: unknown"),
        (
            "cleaning.0: Input should be 'arabic_share' (got 'a')",
            "--clean: Input should be 'arabic_share' (got 'a')",
        ),
        ("cleaning: duplicate rules: 'arabic_share'", "--clean: duplicate rules: 'arabic_share'"),
        ("limit: too low; arabic_share: too high", "--limit: too low; --arabic-share: too high"),
        ("collect.heldout_share: none", "--heldout-share: none"),
        ("a/limit: no; collect.py: no", None),
        ("the limit; my_vocab_size and vocab_size.txt, a/vocab_size", None),
    ):
        assert with_options(text, options) == (shown or text)
    assert failure(InputError("bad", where="a", do="Set `limit`"), options) == "a: bad. Set `--limit`"


def test_settings_in_a_file_keep_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text('{"text": 1}\n')
    Path("run.yaml").write_text("collect: {sources: [{name: mine, path: bad.jsonl}]}\n")
    assert run_command(["collect", "--config", "run.yaml", "-o", "out/data.txt"]) == 1
    assert "raise skip_at_most" in capsys.readouterr().err
    assert run_command(["collect", "bad.jsonl", "-o", "out/data.txt"]) == 1
    assert "raise --skip-at-most" in capsys.readouterr().err


def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    code = (
        "import sys; from qarib_tasks.cli import main\n"
        "main.cli.commands['split'].callback = lambda **_: print('line\\n' * 100_000)\n"
        "sys.exit(main.run_command(['split', 'a', 'b']))"
    )
    command = f'"{sys.executable}" -c "$CODE" | head -n 1; echo "${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "CODE": code}
    done = subprocess.run(
        ["bash", "-c", command], cwd=SAMPLE.parent, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("line\n1\n", "")
    with Path("/dev/full").open("w") as file:
        small = code.replace("100_000", "1")
        done = subprocess.run(
            [sys.executable, "-c", small], cwd=SAMPLE.parent, stdout=file, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("qarib: error: No space left on device")
    assert "Traceback" not in done.stderr


def test_warnings_in_the_log_name_options(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("7,نعم قال سامي إلى ليلى\n8,لا\n", encoding="utf-8")
    command = [sys.executable, "-m", "qarib_tasks.cli", "preview", "a.csv", "--field", "2"]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLE.parent)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert "a.csv: the first row is taken for the names of the columns" in done.stderr
    assert "If it is text, set `--no-header`\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "here\udcc7", "x"], "here\\xc7: the name of the file is not UTF-8. Rename the file"),
        (["collect", "a", "--without-texts-of=here\udcc7"], "here\\xc7: the name of the file is not UTF-8"),
        (["split", "a", "out/\udcc7"], "out/\\xc7: not UTF-8. Write it in UTF-8; `locale` shows"),
        (["collect", "a", "--field", "\udcc7"], "--field \\xc7: not UTF-8"),
        (["preview", "a", "--encoding=\udcc7"], "--encoding \\xc7: not UTF-8"),
        (["fill-mask", "m", "\udcc7"], "\\xc7: not UTF-8"),
    ],
)
def test_arguments_that_are_not_utf_8(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value that is no file is not said to be one."""
    monkeypatch.chdir(tmp_path)
    Path("here\udcc7").touch()
    assert run_command(arguments) == 1
    assert capsys.readouterr().err.startswith(f"qarib: error: {message}")


def test_main_ends_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["qarib", "split", "nowhere", "x"])
    # A shell that starts the tests in the background ignores SIGINT for them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert ended.value.code == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--limit", "-1", "error: --limit: Input should be greater"),
        ("--skip-at-most", "-1", "error: --skip-at-most: Input should be greater"),
        ("--encoding", "nope", "error: `--encoding`: unknown encoding 'nope'"),
        ("--delimiter", "ab", "error: `--delimiter` must be one character"),
    ],
)
@pytest.mark.parametrize("command", [["preview"], ["collect", "-o", "out"]])
def test_a_bad_value_names_the_option_and_no_place_in_a_file(
    capsys: pytest.CaptureFixture[str], command: list[str], option: str, value: str, message: str
) -> None:
    assert run_command([*command, "a.txt", "b.txt", option, value]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "sources." not in error
