"""Paths on the command line and in settings: `~`, `-`, folders, and streams that the caller closed.

Covers qarib_tasks/cli/main.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from qarib_tasks.cli.main import cli, run_command
from qarib_tasks.cli.options import with_homes
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.exit_status import REFUSED

TEXT = "\n\n".join(f"ذهب سامي إلى السوق صباح اليوم {number}" for number in range(40)) + "\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "run")
    Path("in.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "home"


def test_home_without_a_shell(home: Path) -> None:
    """A shell leaves the `~` of `--output=~/data.txt` as it is."""
    assert not run_command(["collect", "in.txt", "--output=~/data.txt"])
    assert not run_command(["split", "~/data.txt", "~/shards", "--lines", "40"])
    size = ("--size", "55", "--placeholders", "1")
    assert not run_command(["vocab", "--input=~/data.txt", "--output=~/v.txt", *size])
    assert {path.name for path in home.iterdir()} >= {"data.txt", "shards", "v.txt"}
    assert os.listdir() == ["in.txt"]


def test_home_in_settings(home: Path) -> None:
    (home / "v.txt").write_text("[PAD]\n")
    config = resolve({"preset": "demo", "workspace": "~/work", "vocab": {"vocab_file": "gs://b/v.txt"}})
    config = with_homes(config, "workspace", "vocab.vocab_file", "train.start_from")
    assert config.workspace == str(home / "work")
    assert config.vocab.vocab_file == "gs://b/v.txt"
    job = TrainingJob(
        training_data="~/d",
        heldout_data="h",
        vocab_file="v",
        output="~/o",
        earlier_data=("~/e", "f"),
        train=TrainConfig(start_from="~/m"),
    )
    job = with_homes(job, "training_data", "output", "earlier_data", "train.start_from")
    assert (job.training_data, job.output) == (f"{home}/d", f"{home}/o")
    assert (job.earlier_data, job.train.start_from) == ((f"{home}/e", "f"), f"{home}/m")
    Path("job.yaml").write_text("{training_data: d, heldout_data: h, vocab_file: ~/v.txt, output: ~/out}")
    assert run_command(["train", "--config", "job.yaml"]) == REFUSED
    assert (home / "out").is_dir()
    Path("run.yaml").write_text("{preset: demo, workspace: ~/work, vocab: {vocab_file: ~/none}}")
    assert run_command(["run", "--config", "run.yaml"]) == 1
    assert sorted(os.listdir()) == ["in.txt", "job.yaml", "run.yaml"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("collect in.txt -o -", "-: standard output cannot hold an output"),
        ("collect in.txt -o x --heldout -", "-: standard output cannot hold an output"),
        ("convert in.txt --vocab v -o -", "-: standard output cannot hold an output"),
        ("split in.txt -", "-: standard output cannot hold an output"),
        ("collect in.txt -o new/", "new/: is a folder, not a file"),
        ("split - shards", "-: standard input cannot be read here"),
        ("vocab -i -", "-: standard input cannot be read here"),
        ("convert - --vocab v -o x", "-: standard input cannot be read here"),
        ("train --config -", "-: standard input cannot be read here"),
    ],
)
def test_what_is_no_file(home: Path, command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command.split()) == (REFUSED if command.startswith("train") else 1)
    assert capsys.readouterr().err.startswith(f"qarib: error: {message}. ")
    assert os.listdir() == ["in.txt"]


def test_a_file_with_the_name_of_standard_input(home: Path) -> None:
    Path("in.txt").rename("-")
    assert not run_command(["split", "-", "./-x", "--lines", "90"])
    assert Path("-x/shard_0000").read_text(encoding="utf-8") == TEXT


def test_help_says_what_is_expected() -> None:
    text = CliRunner().invoke(cli, ["collect", "--help"]).output
    assert "--output PATH" in text
    assert "--workspace DIRECTORY" in CliRunner().invoke(cli, ["promote", "--help"]).output


def test_streams_that_are_closed(home: Path) -> None:
    """What is opened next must not get their numbers: libraries print to these."""
    command = f"{sys.executable} -m qarib_tasks.cli collect in.txt -o"
    done = subprocess.run(
        f"{command} a <&- >&- 2>&-; echo $?; {command} b >&-; echo $?; {command} missing/../c 2>&-; echo $?",
        shell=True,
        env={**os.environ, "PYTHONPATH": str(SAMPLE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[:2] == ["0", "0"]
    assert Path("a").read_bytes() == Path("b").read_bytes() != b""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://b", "file:///x", "https://h/x", "gs:/x"])
@pytest.mark.parametrize(
    "command",
    [
        "collect in.txt -o {}",
        "collect in.txt -o out.txt --heldout {}",
        "vocab -i in.txt -s 55 --placeholders 1 -o {}",
        "split in.txt {}",
        "convert in.txt --vocab in.txt -o {}",
        "emulate tpu --folder {}",
    ],
)
def test_an_output_is_no_address(
    home: Path, command: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """There was a folder `gs:`."""
    assert run_command(command.format(address).split()) == 1
    assert f"{address}: an output is written to this machine, not to an address" in capsys.readouterr().err
    assert os.listdir() == ["in.txt"]


def test_an_input_that_is_an_address(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["split", "gs://b/in.txt", "out"]) == 1
    assert "gs://b/in.txt: an address cannot be read here" in capsys.readouterr().err
    Path("gs:").mkdir()
    Path("gs:/in.txt").write_text(TEXT, encoding="utf-8")
    assert not run_command(["split", "gs:/in.txt", "./gs:/out"])
