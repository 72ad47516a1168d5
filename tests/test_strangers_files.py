"""No command changes a file that is not ours, whatever its name: the property behind storage/ownership.py.

Each command is run once to learn every name that it writes, also for a moment. Then it is run again with a
stranger's file at each of these names, and with all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from ports import free_ports

from qarib_tasks.cli.main import cli, run_command
from tests.support.strangers import MADE_BEFORE, STRANGERS, is_random, listed, place, text, texts, watched


@dataclass(frozen=True)
class Command:
    """A command, and what it is run on.

    Attributes:
        name: of the case.
        arguments: of `qarib`; paths are relative to the folder that it is run in.
        prepare: makes the inputs in that folder.
        outputs: the outputs that the user names. An empty file there may be replaced.
        former: names that commit 3ef437a wrote too; a folder's ends with a slash.
        status: of the first run.
        run: runs the command; returns its status.
        reads_only: it writes nothing.
    """

    name: str
    arguments: Sequence[str]
    prepare: Callable[[Path], object]
    outputs: Sequence[str] = ()
    former: Sequence[str] = ()
    status: int = 0
    run: Callable[[Sequence[str]], int] = run_command
    reads_only: bool = False


# The commands that need other things of Airflow's or the trainer's, and whose tests do the same there.
ELSEWHERE = {
    "run": "tests/test_strangers_files_of_a_run.py",
    "train": "tests/train/test_strangers.py",
    "evaluate": "tests/train/test_strangers.py",
    "export": "tests/train/test_strangers.py",
    "fill-mask": "tests/train/test_strangers.py",
    "finetune": "tests/train/finetuning/test_results.py",
    "airflow-init": "tests/plugins/deployment/test_setup.py",
    "track": "tests/tracking/test_wandb_offline.py",
    "wheelhouse": "tests/tpu/wheelhouse/test_make.py",
}
SMALL = ("--size", "400", "--placeholders", "8")
CONVERT = ("--dupe-factor", "1")


@cache
def vocabulary() -> bytes:
    from qarib_tasks.config.vocabulary import VocabConfig
    from qarib_tasks.vocabulary.build import build_vocab

    folder = Path(os.environ["STRANGERS_VOCABULARY"])
    (folder / "data").write_text(text(), encoding="utf-8")
    config = VocabConfig(vocab_size=400, placeholders=8)
    build_vocab(folder / "data", folder / "vocab", config, do_lower_case=True, random_seed=34)
    return (folder / "vocab").read_bytes()


def shard(folder: Path) -> None:
    texts(folder)
    (folder / "v.txt").write_bytes(vocabulary())


def converted(folder: Path) -> None:
    shard(folder)
    assert not run_command(["convert", "in/a.txt", "-o", "a.tfrecord", "--vocab", "v.txt", *CONVERT])


def failing(folder: Path) -> None:
    shard(folder)
    (folder / "v.txt").write_text("[PAD]\n")


def made_before(folder: Path) -> None:
    shutil.copytree(MADE_BEFORE, folder / "work")


def planned(folder: Path) -> None:
    (folder / "run.yaml").write_text("preset: qarib\nworkspace: work\n")


def nothing(folder: Path) -> None:
    pass


def serve(arguments: Sequence[str]) -> int:
    """Run a server in a process of its own until it says that it is ready, and stop it."""
    (port,) = map(str, free_ports(1))
    command = [
        sys.executable,
        "-m",
        "qarib_tasks.cli",
        *(port if each == "PORT" else each for each in arguments),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline():
            process.terminate()
        print(process.communicate()[1], end="", file=sys.stderr)
        return process.returncode


def examine(arguments: Sequence[str]) -> int:
    """Run the doctor: that Google cannot be reached is a fault, but no error of the command."""
    return run_command(arguments) - 1


COMMANDS = [
    Command("plan", ("plan", "--config", "run.yaml"), planned, reads_only=True),
    Command("doctor", ("doctor", "--config", "run.yaml"), planned, run=examine, reads_only=True),
    Command(
        "report-bug",
        ("report-bug", "work/models/demo-c50f6ad7af", "-o", "report.md"),
        made_before,
        ("report.md",),
    ),
    Command(
        "collect",
        ("collect", "in/a.txt", "in/b.txt", "-o", "data.txt"),
        texts,
        ("data.txt",),
        ("data.json", "report.html", "data.sources/", "fetched/"),
    ),
    Command(
        "collect, near repeats and a held-out part",
        (
            *("collect", "in/*.txt", "-o", "out/x.y", "--heldout", "held/x.y", "--heldout-share", "0.3"),
            *("--near-duplicates", "0.9"),
        ),
        texts,
        ("out/x.y", "held/x.y"),
        ("out/x.json", "out/report.html", "out/x.sources/", "out/fetched/", "held/x.json"),
    ),
    Command(
        "collect, nothing found",
        ("collect", "in/*.txt", "-o", "data.txt", "--minimum-characters", "9000"),
        texts,
        ("data.txt",),
        ("data.json", "report.html", "data.sources/"),
        status=1,
    ),
    Command(
        "vocab",
        ("vocab", "-i", "in/a.txt", *SMALL),
        texts,
        ("in/a.txt.vocab",),
        ("in/a.txt.json", "in/tokenizer.json", "in/tokenizer_config.json"),
    ),
    Command(
        "vocab, named",
        ("vocab", "-i", "in/a.txt", "-o", "vocab.txt", *SMALL, "--replace"),
        texts,
        ("vocab.txt",),
        ("vocab.json",),
    ),
    Command(
        "vocab, the published recipe",
        ("vocab", "-i", "in/a.txt", "-o", "v", "--recipe", "published", *SMALL),
        texts,
        ("v",),
        ("v.json", "tokenizer.json", "tokenizer_config.json"),
    ),
    Command(
        "vocab, too small a text",
        ("vocab", "-i", "in/b.txt", "-o", "v", "--size", "64000"),
        texts,
        ("v",),
        ("v.json",),
        status=1,
    ),
    Command(
        "split",
        ("split", "in/a.txt", "shards", "--lines", "40"),
        texts,
        (),
        ("shards.json", "shards/shard_0017"),
    ),
    Command(
        "convert",
        ("convert", "in/a.txt", "-o", "a.tfrecord", "--vocab", "v.txt", *CONVERT),
        shard,
        ("a.tfrecord",),
        ("a.json", "bert_config.json"),
    ),
    Command(
        "convert, unusable vocabulary",
        ("convert", "in/a.txt", "-o", "a.tfrecord", "--vocab", "v.txt", *CONVERT),
        failing,
        ("a.tfrecord",),
        ("a.json",),
        status=1,
    ),
    Command(
        "promote",
        ("promote", "demo-c50f6ad7af", "--workspace", "work"),
        made_before,
        former=("work/models/promoted.json",),
    ),
    Command("emulate gcs", ("emulate", "gcs", "--folder", "b", "--port", "PORT"), nothing, run=serve),
    Command("emulate tpu", ("emulate", "tpu", "--folder", "t", "--port", "PORT"), nothing, run=serve),
    Command("preview", ("preview", "in/a.txt"), texts, reads_only=True),
    Command("verify", ("verify", "a.tfrecord"), converted, reads_only=True),
    Command("inspect", ("inspect", "a.tfrecord", "--vocab", "v.txt"), converted, reads_only=True),
    Command("vocab-report", ("vocab-report", "v.txt", "--text", "in/a.txt"), shard, reads_only=True),
    Command(
        "metrics", ("metrics", "--port", "PORT", "--statsd-port", "PORT"), nothing, run=serve, reads_only=True
    ),
]


def names_of(command: Command, folder: Path) -> list[str]:
    """Run the command in a new folder, and return every name that it writes, and those of 3ef437a."""
    command.prepare(folder)
    before = set(listed(folder))
    with watched(folder) as names:
        status = command.run(command.arguments)
        names.update(listed(folder))  # of another process
    assert status == command.status
    found = {name for name in names if not any(map(is_random, Path(name).parts))} - before
    return sorted(found | {name.rstrip("/") for name in command.former})


def survived(placed: dict[Path, bytes | None]) -> list[str]:
    """What is wrong with the strangers' files."""
    faults = []
    for path, content in placed.items():
        if not path.is_file():
            faults.append(f"{path} is gone")
        elif path.read_bytes() != content:
            faults.append(f"{path} was changed")
    return faults


def check(
    command: Command,
    folder: Path,
    capture: pytest.CaptureFixture[str],
    names: dict[str, bool],
    content: bytes,
) -> list[str]:
    """Run the command in a new folder with strangers' files of these names; returns what is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)
    command.prepare(folder)
    placed: dict[Path, bytes | None] = {}
    for name, is_folder in names.items():
        placed |= place(folder, name, content, is_folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capture.readouterr()
    status = command.run(command.arguments)
    errors = [line for line in capture.readouterr().err.splitlines() if line.startswith("qarib: error")]
    faults = survived(dict(before))
    if status not in (0, 1) or (status == 1) != (len(errors) == 1):
        faults.append(f"status {status} with {errors}")
    return [f"{command.name}, {sorted(names)}, {content!r}: {fault}" for fault in faults]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "vocabulary").mkdir()
    monkeypatch.setenv("STRANGERS_VOCABULARY", str(tmp_path / "vocabulary"))
    monkeypatch.chdir(tmp_path / "run")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_strangers_files_stay(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    found = names_of(command, folder)
    assert not (command.reads_only and found), "it writes"
    folders = {name.rstrip("/") for name in command.former if name.endswith("/")}
    kinds = {name: name in folders or (folder / name).is_dir() for name in found}
    # A folder that only exists during the run is one that something was in.
    kinds |= {str(parent): True for name in found for parent in Path(name).parents if str(parent) != "."}
    kinds = {name: is_folder for name, is_folder in sorted(kinds.items()) if name in found}
    if not command.status and command.outputs:
        assert set(command.outputs) <= set(kinds), "the watch sees too little"
    faults = []
    # A server takes a second to start.
    for content in STRANGERS[:1] if command.run is serve else STRANGERS:
        for name, is_folder in kinds.items():
            if not content and name in command.outputs:
                continue
            faults += check(command, folder, capsys, {name: is_folder}, content)
        rest = {name: kind for name, kind in kinds.items() if name not in command.outputs}
        faults += check(command, folder, capsys, rest, content)
    assert not faults, "\n".join(faults)


def test_every_command_is_covered() -> None:
    covered = {command.arguments[0] for command in COMMANDS}
    assert covered | set(ELSEWHERE) == set(cli.commands)
    assert not covered & set(ELSEWHERE)
    root = Path(__file__).parents[1]
    assert all((root / path).is_file() for path in ELSEWHERE.values())
