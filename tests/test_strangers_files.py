"""No command changes a file that is not ours, whatever its name: the property behind storage/ownership.py.

Each command is run once to learn every name that it writes, also for a moment. Then it is run again with a
stranger's file at each of these names, and with all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.cli.main import cli, run_command
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.storage.files import is_temporary

STRANGERS = (b"a stranger's\n", b"", b'{"kind": "a stranger\'s", "id": "x", "outputs": []}\n')
_watched: list[tuple[Path, set[str]]] = []
_RANDOM = re.compile(r"[a-z0-9_]{8}$")  # the end of the names that tempfile makes


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
    """

    name: str
    arguments: Sequence[str]
    prepare: Callable[[Path], object]
    outputs: Sequence[str] = ()
    former: Sequence[str] = ()
    status: int = 0


# The commands that other tests cover in the same way, or that write nothing that a user could have.
ELSEWHERE = {
    "train": "tests/train/test_strangers.py",
    "evaluate": "tests/train/test_strangers.py",
    "export": "tests/train/test_strangers.py",
    "run": "tests/runs/test_prepare.py",
    "promote": "tests/registry/test_promotion.py",
    "fill-mask": "tests/train/results/test_fill_mask.py",
    "emulate": "tests/emulators/cloud_tpu/test_machines.py",
    "airflow-init": "tests/plugins/deployment/test_setup.py",
    "metrics": "tests/plugins/reporting/test_metrics.py",
}
SMALL = ("--size", "400", "--placeholders", "8")
CONVERT = ("--dupe-factor", "1")


@cache
def text() -> str:
    lines = (SAMPLE / "udhr.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(lines[:120])


def texts(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.txt").write_text(text(), encoding="utf-8")
    (folder / "in" / "b.txt").write_text(text()[:500] + "\n", encoding="utf-8")


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


COMMANDS = [
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
    Command("preview", ("preview", "in/a.txt"), texts),
    Command("verify", ("verify", "a.tfrecord"), converted),
    Command("inspect", ("inspect", "a.tfrecord", "--vocab", "v.txt"), converted),
    Command("vocab-report", ("vocab-report", "v.txt", "--text", "in/a.txt"), shard),
]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every path in the watched folder that anything is done to, and what is in the folder then."""
    if not _watched or event not in ("open", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.remove"):
        return
    folder, names = _watched[-1]
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    for argument in arguments[:2]:
        if isinstance(argument, str | bytes | os.PathLike):
            path = os.path.join(folder, os.fsdecode(argument))
            if path.startswith(f"{folder}/"):
                names.add(os.path.relpath(path, folder))
    with suppress(OSError):  # Something was removed in the meantime; the next event lists it again.
        names.update(listed(folder))


def listed(folder: Path) -> Iterator[str]:
    """Yield the names of everything below a folder."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(root, name), folder)


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[set[str]]:
    """Yield the set of the names below `folder` that are written in the block."""
    names: set[str] = set()
    _watched.append((folder, names))
    try:
        yield names
    finally:
        _watched.pop()


def names_of(command: Command, folder: Path, run: Callable[[Sequence[str]], int]) -> list[str]:
    """Run the command in a new folder, and return every name that it writes, and those of 3ef437a."""
    command.prepare(folder)
    before = set(listed(folder))
    with watched(folder) as names:
        status = run(command.arguments)
    assert status == command.status
    found = {name for name in names if not any(map(_is_random, Path(name).parts))} - before
    return sorted(found | {name.rstrip("/") for name in command.former})


def _is_random(part: str) -> bool:
    """Whether a name, or a part of one, shows that it is ours: nobody chooses it."""
    return is_temporary(part) or (part.startswith(".qarib-") and _RANDOM.search(part) is not None)


def place(folder: Path, name: str, content: bytes, is_folder: bool) -> dict[Path, bytes | None]:
    """Put a stranger's file there, or a folder with one; returns what has to be there afterwards."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir(exist_ok=True)
        path = path / "notes"
    path.write_bytes(content)
    return {path: content}


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
    run: Callable[[Sequence[str]], int],
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
    status = run(command.arguments)
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
    found = names_of(command, folder, run_command)
    folders = {name.rstrip("/") for name in command.former if name.endswith("/")}
    kinds = {name: name in folders or (folder / name).is_dir() for name in found}
    # A folder that only exists during the run is one that something was in.
    kinds |= {str(parent): True for name in found for parent in Path(name).parents if str(parent) != "."}
    kinds = {name: is_folder for name, is_folder in sorted(kinds.items()) if name in found}
    if not command.status and command.outputs:
        assert set(command.outputs) <= set(kinds), "the watch sees too little"
    faults = []
    for content in STRANGERS:
        for name, is_folder in kinds.items():
            if not content and name in command.outputs:
                continue
            faults += check(command, folder, run_command, capsys, {name: is_folder}, content)
        rest = {name: kind for name, kind in kinds.items() if name not in command.outputs}
        faults += check(command, folder, run_command, capsys, rest, content)
    assert not faults, "\n".join(faults)


def test_every_command_is_covered() -> None:
    covered = {command.arguments[0] for command in COMMANDS}
    assert covered | set(ELSEWHERE) == set(cli.commands)
    assert not covered & set(ELSEWHERE)
    root = Path(__file__).parents[1]
    assert all((root / path).is_file() for path in ELSEWHERE.values())
