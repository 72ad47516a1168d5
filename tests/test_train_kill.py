"""A trainer that is killed at any instant and started again ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.config import TrainingJob, dump_yaml
from qarib_tasks.presets import SAMPLE
from tests.training_examples import make_job

KILLS = 6


def qarib(command: str, config: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SAMPLE.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "qarib_tasks.cli", command, "--config", str(config)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def to_the_end(job: TrainingJob, config: Path, command: str) -> None:
    process = qarib(command, config)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def write_config(job: TrainingJob, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(dump_yaml(job))
    return path


def outputs(job: TrainingJob) -> list[dict[str, object]]:
    return list(json.loads((Path(job.output) / "manifest.json").read_text())["outputs"])


def kill_at_line(config: Path, text: str, skip: int) -> bool:
    """Start the trainer and kill it at a line of its log with `text` after `skip` such; False if it ended."""
    process = qarib("train", config)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            skip -= text in line
            if skip < 0:
                process.send_signal(signal.SIGKILL)
                break
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_files(tmp_path: Path) -> None:
    job = replace(
        make_job(tmp_path, train_steps=40, save_checkpoints_steps=5, keep_checkpoint_max=2),
        model=replace(make_job(tmp_path).model, hidden_dropout_prob=0.1, num_hidden_layers=2),
    )
    undisturbed = replace(job, output=str(tmp_path / "undisturbed" / "small"))
    killed = replace(job, output=str(tmp_path / "killed" / "small"))
    for one in (undisturbed, killed):
        write_config(one, Path(one.output))
    to_the_end(undisturbed, Path(undisturbed.output) / "config.yaml", "train")
    to_the_end(undisturbed, Path(undisturbed.output) / "config.yaml", "export")
    config = Path(killed.output) / "config.yaml"
    chance = random.Random(5)
    # At the announcement of a checkpoint, while it is written, evaluated, or the steps behind it run.
    kills = [kill_at_line(config, chance.choice([": loss", "evaluation after"]), 1) for _ in range(KILLS)]
    assert any(kills)
    to_the_end(killed, config, "train")
    to_the_end(killed, config, "export")
    assert outputs(killed) == outputs(undisturbed)
    steps = [json.loads(line)["step"] for line in (Path(killed.output) / "bert_model/history.jsonl").open()]
    assert steps == list(range(1, 41))
