"""The closing lines of `qarib collect`."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from qarib_tasks.cli.corpus import collect_command
from qarib_tasks.cli.main import run_command

LONG = Path(__file__).parents[1] / "data" / "cases" / "w7-doc-a-line.txt"


def test_losses_are_told_with_the_options_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "data.txt")
    assert not run_command(["collect", str(LONG), "--document", "line", "-o", out])
    _, lost, warning = capsys.readouterr().out.splitlines()
    assert lost == "3 of 4 documents (99.9% of the bytes) dropped by maximum_length"
    assert "Raise `--maximum-characters` (now 10,000)" in warning
    with click.Context(collect_command) as context:
        text = collect_command.get_help(context)
    options = re.findall("`(.+?)`", warning)
    assert options
    assert all(f"{option} " in text for option in options)
    # What it asks for keeps the documents.
    more = ["--document", "line", "--maximum-characters", "100000"]
    assert not run_command(["collect", str(LONG), *more, "-o", out])
    assert capsys.readouterr().out.splitlines()[0].startswith("4 lines, 4 documents;")


def test_with_a_file_of_settings_the_settings_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"collect: {{sources: [{{name: a, path: {LONG}}}]}}\n", encoding="utf-8")
    assert not run_command(["collect", "--config", str(config), "-o", str(tmp_path / "data.txt")])
    _, lost, warning = capsys.readouterr().out.splitlines()
    assert lost.startswith("3 of 4 lines (99.9% of the bytes)")
    assert "Raise `maximum_characters` (now 10,000)" in warning


def test_a_rule_that_has_a_settings_name_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("ذهب سامي إلى السوق\n\nlatin letters\n", encoding="utf-8")
    assert not run_command(["collect", str(tmp_path / "a.txt"), "-o", str(tmp_path / "data.txt")])
    _, lost, warning = capsys.readouterr().out.splitlines()
    assert lost.endswith(" dropped by arabic_share")
    assert warning.startswith("warning: arabic_share dropped ")
    assert "lower `--arabic-share` (now 0.5)" in warning
