"""The names of the sources of `qarib collect`, and standard input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from qarib_tasks.cli.corpus import collect_command
from qarib_tasks.cli.main import run_command
from qarib_tasks.cli.preview import preview_command
from qarib_tasks.config.presets import SAMPLE

LINE = "ذهب سامي إلى السوق صباح اليوم\n"


def test_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qarib_tasks.cli", "collect", "-", "-o", "data.txt"]
    environment = {"PYTHONPATH": str(SAMPLE.parent), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    for data, status, message in (
        (LINE.encode(), 0, "1 line, 1 document;"),
        (b'{"text": 1}\n', 1, "standard input:1: "),
    ):
        more = [] if status == 0 else ["--format", "jsonl"]
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, input=data, capture_output=True
        )
        assert done.returncode == status
        assert message in (done.stdout + done.stderr).decode()
        assert not list((tmp_path / "temporary").iterdir())
    assert (tmp_path / "data.txt").read_text(encoding="utf-8") == LINE


def test_a_document_that_contradicts_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["preview", "a.csv", "--group", "id", "--document", "line"]) == 2
    assert "--group and --document line contradict each other" in capsys.readouterr().err


def test_a_file_given_twice_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/data1.txt").write_text(LINE, encoding="utf-8")
    Path("in/data[1].txt").write_text("اشترت ليلى ثلاثة كتب جديدة\n", encoding="utf-8")
    assert not run_command(
        ["collect", "in/data1.txt", "in/data[1].txt", "in/*", "./in/data1.txt", "-o", "out/data.txt"]
    )
    assert "2 lines, 2 documents; 0 duplicates" in capsys.readouterr().out
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in Path("out").glob("*.json")]
    inputs = [record["name"] for manifest in manifests for record in manifest.get("inputs", ())]
    assert inputs == ["data1/data1.txt", "data_1/data[1].txt"]


@pytest.mark.parametrize("command", [["preview"], ["collect", "-o", "out.txt", "--random-seed", "3"]])
def test_options_beside_a_configuration(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those with the default's value: the file may have another."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(LINE, encoding="utf-8")
    Path("c.yaml").write_text("collect: {sources: [{name: a, path: a.txt}]}\n")
    command += ["--config", "c.yaml"]
    given = ["--document", "line", "--clean", "", "--minimum-characters", "2", "--no-header"]
    assert run_command([*command, *given]) == 1
    assert capsys.readouterr().err == (
        "qarib: error: c.yaml: --header/--no-header, --document, --clean, --minimum-characters: cannot be "
        "combined with --config. In the file, set `cleaning`, `minimum_characters` in the `collect` section, "
        "and `header`, `document` in each source of the `collect` section\n"
    )
    assert not Path("out.txt").exists()
    assert not run_command(command)


def test_every_option_that_a_configuration_replaces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("collect: {sources: [{name: a, path: a.txt}]}\n")
    kept = {"source", "output", "config", "heldout", "random_seed", "without_texts_of"}
    for command in (collect_command, preview_command):
        for option in command.params:
            if option.name in kept:
                continue
            assert isinstance(option, click.Option)
            default = option.default[0] if option.multiple else option.default
            value = [] if option.is_flag else [str(default)]
            out = ["-o", "out"] if command.name == "collect" else []
            assert run_command([str(command.name), "--config", "c.yaml", *out, option.opts[-1], *value]) == 1
            assert option.opts[-1] in capsys.readouterr().err


def test_a_share_without_a_file_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["collect", "a.txt", "-o", "o.txt", "--heldout-share", "0.001"]) == 2
    assert "--heldout-share needs --heldout" in capsys.readouterr().err
