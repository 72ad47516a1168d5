"""The command `qarib` as its users type it: in a process of its own.

Covers qarib_tasks/cli/__main__.py, qarib_tasks/cli/corpus.py, qarib_tasks/cli/deployment.py,
qarib_tasks/cli/emulators.py, qarib_tasks/cli/main.py, qarib_tasks/cli/promotion.py,
qarib_tasks/cli/training.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from qarib_tasks.cli.main import cli
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.machines.exit_status import COMMANDS, REFUSED


def qarib(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qarib_tasks.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLE.parent)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_from_text_to_examples_under_the_names_people_know(tmp_path: Path) -> None:
    steps = [
        ("collect", SAMPLE / "muwatta.txt", SAMPLE / "udhr.txt", "-o", "data.txt"),
        ("vocab", "-i", "data.txt", "-s", "800", "--placeholders", "8"),
        ("split", "data.txt", "shards/", "--lines", "3000"),
        ("convert", "shards/shard_0000", "-o", "out/shard_0000.tfrecord", "--vocab", "data.txt.vocab"),
        ("verify", "out/shard_0000.tfrecord"),
        ("inspect", "out/shard_0000.tfrecord"),
    ]
    for step in steps:
        result = qarib(*step, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert sum(1 for _ in (tmp_path / "data.txt.vocab").open(encoding="utf-8")) == 800
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "shard_0000.tfrecord",
        "shard_0000.tfrecord.manifest.json",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "nowhere.txt", "-o", "out/data.txt"), "nowhere.txt: no such file"),
        (("collect", "empty.txt", "-o", "out/data.txt"), "no text was found"),
        (("vocab", "-i", "nowhere.txt", "-o", "out/vocab"), "nowhere.txt: no such file"),
        (("vocab", "-i", "empty.txt", "-o", "out/vocab"), "the corpus is empty"),
        (
            ("vocab", "-i", "small.txt", "-s", "64000", "-o", "out/vocab"),
            "too small for 64,000 vocabulary entries",
        ),
        (("vocab", "-i", "small.txt", "-s", "3", "-o", "out/vocab"), "--size: Input should be"),
        (("split", "nowhere.txt", "out/shards"), "nowhere.txt: no such file"),
        (("split", "empty.txt", "out/shards"), "the file is empty"),
        (("convert", "nowhere", "-o", "out/x.tfrecord", "--vocab", "vocab.txt"), "no such file"),
        (("convert", "small.txt", "-o", "out/x.tfrecord", "--vocab", "no_mask.txt"), "[MASK]"),
        (("train", "--config", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("train", "--config", "unknown.yaml"), "trian: unknown setting"),
        (("evaluate", "--config", "unknown.yaml"), "trian: unknown setting"),
        (("export", "--config", "unknown.yaml"), "trian: unknown setting"),
        (("run", "--config", "unknown.yaml"), "trian: unknown setting"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "small.txt").write_text("السلام عليكم\n", encoding="utf-8")
    (tmp_path / "no_mask.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n")
    (tmp_path / "unknown.yaml").write_text("trian: {train_steps: 5}\n")
    result = qarib(*arguments, cwd=tmp_path)
    assert result.returncode == (REFUSED if arguments[0] in COMMANDS else 1)
    errors = [line for line in result.stderr.splitlines() if line.startswith("qarib: error: ")]
    assert len(errors) == 1, result.stderr
    assert message in errors[0]
    assert "Traceback" not in result.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "out" in path.parts]
    # A conversion that failed says so in a manifest; nothing else may stay.
    assert [path.name for path in left] in ([], ["x.tfrecord.manifest.json"])


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    wanted = {
        "collect",
        "vocab",
        "split",
        "convert",
        "verify",
        "inspect",
        "train",
        "evaluate",
        "export",
        "run",
    }
    assert wanted <= set(cli.commands)
    commands = dict(cli.commands)
    group = commands.pop("emulate")
    assert isinstance(group, click.Group)
    commands |= {f"emulate {name}": command for name, command in group.commands.items()}
    for name, command in commands.items():
        with click.Context(command, info_name=f"qarib {name}") as context:
            text = command.get_help(context)
        assert "Example" in text, name
        example = " ".join(text.split("Example", 1)[1].split())
        assert f"qarib {name} " in example + " ", name


def test_help_comes_fast_without_the_heavy_libraries(tmp_path: Path) -> None:
    code = (
        "import sys; from qarib_tasks.cli.main import cli; list(cli.commands.values())\n"
        "heavy = {'tensorflow', 'keras', 'numba', 'sentencepiece', 'tokenizers', 'airflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SAMPLE.parent
    )
    assert result.stdout.strip() == "[]"


def test_a_command_starts_without_the_settings_of_others() -> None:
    code = (
        "import sys; from qarib_tasks.cli.main import cli; cli.commands['collect']\n"
        "print([name for name in sys.modules if name.startswith('qarib_tasks.config.')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "qarib_tasks.config.corpus" in ended.stdout
    for name in ("training", "tpu", "run", "evaluation"):
        assert f"qarib_tasks.config.{name}" not in ended.stdout


def test_collecting_plain_text_starts_without_the_readers_of_other_formats(tmp_path: Path) -> None:
    """Each takes milliseconds, of the few hundred that the start of a command takes."""
    (tmp_path / "a.txt").write_text("هذا نص عربي قصير\n", encoding="utf-8")
    code = (
        "import sys; from qarib_tasks.cli.main import cli\n"
        "cli(sys.argv[1:], standalone_mode=False); print(sorted(sys.modules))"
    )
    arguments = ["collect", str(tmp_path / "a.txt"), "-o", str(tmp_path / "data.txt")]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert "'qarib_tasks.corpus.reading.text'" in ended.stdout
    others = [f"qarib_tasks.corpus.reading.{name}" for name in ("tables", "delimited", "json_lines", "warc")]
    records = ["qarib_tasks.storage.records.contents", "qarib_tasks.storage.records.schemas"]
    for name in (*others, *records, "tarfile", "pyarrow", "gcsfs"):
        assert f"'{name}'" not in ended.stdout, name
