"""A training's commands over a folder with files of others of every name that they write: none changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.cli.main import run_command
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import InputError
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from tests.support.training_examples import make_job

STRANGERS = (b'{"name": "of somebody else"}\n', b"")
REFUSED = {
    "train": {"progress.json", "bert_model/history.jsonl", "bert_model/checkpoint-2.safetensors"},
    "evaluate": {"bert_evals/evaluation-2.json", "bert_evals/eval_results.txt"},
    "export": {"manifest.json", "export/model.safetensors", "export/vocab.txt", "export/README.md.new"},
}


def otherwise(job: TrainingJob) -> TrainingJob:
    """With other settings of the evaluation, so that there is something to do."""
    return replace(job, evaluate=replace(job.evaluate, max_eval_steps=2))


COMMANDS: dict[str, Callable[[TrainingJob], object]] = {
    "train": train,
    "evaluate": lambda job: evaluate(otherwise(job)),
    "export": lambda job: export(otherwise(job)),
}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, dict[str, Path]]:
    """The job, and the folder as it is before each command and after the last one."""
    folder = tmp_path_factory.mktemp("stages")
    job = make_job(folder, train_steps=2, num_warmup_steps=1, save_checkpoints_steps=1, keep_checkpoint_max=1)
    stages = {}
    for name, command in COMMANDS.items():
        stages[name] = folder / name
        Path(job.output).mkdir(parents=True, exist_ok=True)
        shutil.copytree(job.output, stages[name])
        command(job)
    stages["end"] = Path(job.output)
    return job, stages


@pytest.mark.parametrize("name", COMMANDS)
def test_no_file_of_others_changes(
    stages: tuple[TrainingJob, dict[str, Path]], name: str, tmp_path: Path
) -> None:
    """The command is refused, or succeeds without the names that it is refused for."""
    job, folders = stages
    after = [*COMMANDS, "end"][list(COMMANDS).index(name) + 1]
    before = files(folders[name])
    made = files(folders[after])
    written = {file for file in made if made[file] != before.get(file)}
    written |= {"bert_model/checkpoint-1.json", "bert_model/checkpoint-1.safetensors", "export/README.md.new"}
    number, refused = 0, set()
    while True:
        folder = tmp_path / str(number)
        shutil.copytree(folders[name], folder)
        own = {file: STRANGERS[place % 2] for place, file in enumerate(sorted(written - {".lock"} - refused))}
        for file, data in own.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        there = files(folder)
        try:
            COMMANDS[name](replace(job, output=str(folder)))
        except InputError as error:
            message = str(error)
        else:
            now = files(folder)
            assert {file: now[file] for file in own} == own
            break
        now = files(folder)
        assert {file: now[file] for file in there} == there, f"{name} was refused and wrote"
        (file,) = [file for file in own if message.startswith(f"{folder / file}: exists and was not made")]
        assert "\n" not in message
        refused.add(file)
        number += 1
    assert REFUSED[name] <= refused


def test_the_words_for_a_mask_write_nothing(
    stages: tuple[TrainingJob, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = stages
    shutil.copytree(folders["end"], tmp_path / "model")
    for place, name in enumerate(("NOTES.txt", "model/NOTES.txt", "model/export/vocab.txt.changed-1")):
        (tmp_path / name).write_bytes(STRANGERS[place % 2])
    before = files(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_command(["fill-mask", "model", "w1 [MASK] w3"]) == 0
    assert files(tmp_path) == before
