"""A trainer that is killed at any instant and started again ends with the same bits."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.config.training.job import TrainingJob
from tests.support.training_examples import make_job

KILLS = 20
STEPS = 1_600
# A life goes on for so long after its first steps: some lives see a checkpoint written, some do not.
SECONDS = 1.5

# Importing TensorFlow takes longer than a life. The server imports it once, does nothing with it, and every
# trainer is a fork of it.
TRAINERS = multiprocessing.get_context("forkserver")
TRAINERS.set_forkserver_preload(["qarib_tasks.train.runtime", "tests.support.trainer_process"])


def start(job: TrainingJob, command: str) -> multiprocessing.context.ForkServerProcess:
    from tests.support.trainer_process import run

    process = TRAINERS.Process(target=run, args=(job, command))
    process.start()
    return process


def to_the_end(job: TrainingJob) -> None:
    for command in ("train", "export"):
        process = start(job, command)
        process.join()
        assert process.exitcode == 0


def history(job: TrainingJob) -> list[int]:
    path = Path(job.output) / "bert_model" / "history.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


def kill_soon(job: TrainingJob, chance: random.Random) -> bool:
    """Start the trainer, kill it at a random instant after its first steps; False if it ended before."""
    process = start(job, "train")
    progress = Path(job.output) / "progress.json"
    before = progress.stat().st_mtime_ns if progress.is_file() else 0
    while process.is_alive() and not (progress.is_file() and progress.stat().st_mtime_ns != before):
        process.join(timeout=0.01)
    process.join(timeout=chance.uniform(0, SECONDS))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_files(tmp_path: Path) -> None:
    # With what a step draws and what its rate depends on: masks, and a schedule with a checkpoint of its own.
    recipe = {"masking": "dynamic", "bias_correction": True, "schedule": "wsd", "decay_share": 0.25}
    job = make_job(tmp_path, train_steps=STEPS, save_checkpoints_steps=320, keep_checkpoint_max=2, **recipe)
    job = replace(job, model=replace(job.model, hidden_dropout_prob=0.1, num_hidden_layers=1))
    undisturbed = replace(job, output=str(tmp_path / "undisturbed" / "small"))
    # A recovery checkpoint every half second: many kills meet one that is being written.
    killed = replace(job, train=replace(job.train, recovery_minutes=0.5 / 60))
    to_the_end(undisturbed)
    chance, kills, trainings = random.Random(time.time_ns()), 0, 0
    while kills < KILLS:
        # A machine so fast that it ends before all kills trains once more.
        trainings += 1
        one = replace(killed, output=str(tmp_path / f"killed-{trainings}" / "small"))
        while kills < KILLS and kill_soon(one, chance):
            kills += 1
        to_the_end(replace(one, train=undisturbed.train))
        require_same(one, undisturbed)


def require_same(killed: TrainingJob, undisturbed: TrainingJob) -> None:
    ends = [json.loads((Path(one.output) / "manifest.json").read_text()) for one in (killed, undisturbed)]
    assert ends[0]["outputs"] == ends[1]["outputs"]
    assert history(killed) == history(undisturbed)
    files = [{p.name for p in (Path(one.output) / "bert_model").iterdir()} for one in (killed, undisturbed)]
    assert files[0] == files[1]
