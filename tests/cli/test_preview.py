"""`qarib preview`, and the options that it shares with `qarib collect`.

Covers qarib_tasks/cli/sources.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.cli.corpus import collect_command
from qarib_tasks.cli.main import run_command
from qarib_tasks.cli.preview import preview_command
from tests.support.collecting import CASES, SENTENCES


def test_each_source_is_shown_and_each_error_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    good, other = str(CASES / "c3-quotes.tsv"), str(CASES / "p1-dictionary.parquet")
    wrong = [str(CASES / name) for name in ("e1-cp1256.txt", "a8-report.pdf", "nowhere.txt")]
    assert run_command(["preview", wrong[0], good, *wrong[1:], other]) == 1
    out, err = capfd.readouterr()
    assert f"c3-quotes: {good}: 1 file, 572 bytes\n  format     tsv; encoding utf-8\n" in out
    assert f"p1-dictionary: {other}: 1 file" in out
    assert f"           * text = \u2068{SENTENCES[0]}\u2069\n  document 1 \u2068{SENTENCES[0]}\u2069\n" in out
    errors = [line for line in err.splitlines() if line.startswith("qarib: error: ")]
    assert [path in line for path, line in zip(wrong, errors, strict=True)] == [True] * 3
    assert "--encoding windows-1256" in errors[0]
    assert "Traceback" not in err
    assert run_command(["preview", good, other]) == 0


def test_warnings_name_options(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["preview", str(CASES / "c3-quotes.tsv"), "--field", "id"]) == 0
    out = capfd.readouterr().out
    assert "  warning: " in out
    assert "Is 'id' the right column? `--field text` looks like text\n" in out
    assert run_command(["preview", str(CASES / "w7-doc-a-line.txt"), "--document", "line"]) == 0
    assert "Raise `--maximum-characters` (now 10,000)" in capfd.readouterr().out


def test_a_configuration_is_previewed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"collect:\n  cleaning: []\n  sources:\n  - name: quotes\n    path: {CASES / 'c3-quotes.tsv'}\n"
    )
    assert run_command(["preview", "--config", str(config)]) == 0
    assert capfd.readouterr().out.startswith("quotes: ")
    assert run_command(["preview"]) == 2
    assert run_command(["preview", "x.txt", "--config", str(config)]) == 1


def test_it_reads_and_cleans_as_collect_does() -> None:
    own = {"output", "heldout", "heldout_share", "deduplicate", "near_duplicates", "random_seed"}
    options = {option.name for option in collect_command.params} - own - {"without_texts_of"}
    assert {option.name for option in preview_command.params} == options


def test_no_source_has_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is that of collect. If cleaning drops all, warnings say why."""
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").touch()
    Path("header.csv").write_text("text\n")
    Path("latin.txt").write_text("hello there\n")
    Path("good.txt").write_text(f"{SENTENCES[0]}\n", encoding="utf-8")
    for sources, status in (
        *((["empty.csv"], 1), (["header.csv"], 1), (["empty.csv", "good.txt"], 1)),
        *((["good.txt"], 0), (["header.csv", "good.txt"], 0), (["latin.txt"], 0)),
    ):
        assert run_command(["preview", *sources]) == status, sources
        if sources != ["latin.txt"]:
            assert run_command(["collect", *sources, "-o", "out.txt"]) == status, sources
