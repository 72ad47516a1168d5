"""The commands that convert, verify and inspect."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from qarib_tasks.cli.conversion import convert_command, inspect_command, verify_command
from qarib_tasks.storage.manifest import Manifest

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
DOCUMENTS, VOCAB = (FOLDER / name for name in ("documents.txt", "vocab.txt"))


def test_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    out = str(tmp_path / "o.tfrecord")
    arguments = [str(DOCUMENTS), "-o", out, "--vocab", str(VOCAB)]
    flags = ["--dupe-factor", "1", "--no-do-lower-case", "--compression", "gzip", "--threads", "2"]
    result = runner.invoke(convert_command, [*arguments, *flags], catch_exceptions=False)
    assert result.exit_code == 0
    assert Manifest.read(tmp_path / "o.tfrecord.manifest.json").config["do_lower_case"] is False
    result = runner.invoke(verify_command, [out], catch_exceptions=False)
    assert "examples, intact" in result.output
    (tmp_path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    result = runner.invoke(inspect_command, [out, "-n", "2", "--skip", "7"], catch_exceptions=False)
    assert result.output.startswith("example 7: ")
    assert result.output.count("[CLS]") == 2
    assert "→[MASK]}" in result.output
    visual = runner.invoke(inspect_command, [out, "-n", "1", "--visual"], catch_exceptions=False)
    assert "{[MASK]←" in visual.output
    packed = runner.invoke(convert_command, [*arguments, "--format", "packed"], catch_exceptions=False)
    assert "packed into" in packed.output
    assert Manifest.read(tmp_path / "o.tfrecord.manifest.json").config["dupe_factor"] == 1
    result = runner.invoke(inspect_command, [out, "-n", "1"], catch_exceptions=False)
    assert " document" in result.output.splitlines()[0]
    help_text = runner.invoke(convert_command, ["--help"]).output
    assert "Example: qarib convert" in help_text
    assert "--do-whole-word-mask / --no-do-whole-word-mask" in help_text
