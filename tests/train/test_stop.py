"""A training that is interrupted saves its state and goes on from it to the same bits.

Covers qarib_tasks/train/hosts/termination.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, StoppedError, TrainingError
from qarib_tasks.machines.exit_status import STOPPED
from qarib_tasks.storage.files import checksums
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.hosts.termination import Termination
from qarib_tasks.train.loop import train
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import log_interval
from qarib_tasks.train.results.export import export
from tests.support.training_examples import make_job

STEPS = 300
TIMES = ("examples_per_second", "tokens_per_second", "model_flops_utilization", "data_wait_share")


def new_job(folder: Path) -> TrainingJob:
    return make_job(
        folder, train_steps=STEPS, save_checkpoints_steps=200, shuffle_window=12, recovery_minutes=0
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = new_job(tmp_path_factory.mktemp("undisturbed"))
    train(job)
    return job


def names(job: TrainingJob) -> list[str]:
    return Checkpoints(Output(job), keep=3).names()


def history(job: TrainingJob) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Output(job).history.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def assert_same_end(job: TrainingJob, other: TrainingJob) -> None:
    final = f"checkpoint-{STEPS}.safetensors"
    assert checksums(Output(job).checkpoints / final) == checksums(Output(other).checkpoints / final)
    assert history(job) == history(other)
    evaluations = [sorted(path.name for path in Output(j).evaluations.glob("*.json")) for j in (job, other)]
    assert evaluations[0] == evaluations[1]
    assert list(export(job).outputs) == list(export(other).outputs)


def test_going_on_from_a_recovery_checkpoint_within_a_line_of_the_history(
    undisturbed: TrainingJob, tmp_path: Path
) -> None:
    job = new_job(tmp_path)
    shards = {path: path.read_bytes() for path in Path(job.training_data).iterdir()}
    for path, data in shards.items():
        if data[:2] != b"\x1f\x8b":
            path.write_bytes(data[:-1])  # the last record cannot be read: the machine dies there
    with pytest.raises(CorruptError):
        train(replace(job, train=replace(job.train, recovery_minutes=1e-9)))
    (name,) = names(job)
    kind, step = name.split("-")
    assert kind == "recovery"
    assert int(step) % log_interval(STEPS)
    for path, data in shards.items():
        path.write_bytes(data)
    train(job)
    assert names(job) == [f"checkpoint-{STEPS}", "checkpoint-200"]
    assert_same_end(job, undisturbed)


def test_sigterm_saves_the_step_and_leaves(undisturbed: TrainingJob, tmp_path: Path) -> None:
    job = new_job(tmp_path)

    def terminate() -> None:
        history = Output(job).history
        while not history.is_file() or history.read_bytes().count(b"\n") < 5:
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(StoppedError, match=r"ended by SIGTERM, step \d+ is saved"):
        train(job)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert json.loads(Output(job).progress.read_text())["state"] == "stopped"
    (name,) = names(job)
    assert name.startswith("recovery-")
    train(job)
    assert_same_end(job, undisturbed)


def send(number: int) -> None:
    """A signal to this process, which Python handles before the next line."""
    os.kill(os.getpid(), number)
    raise AssertionError("the signal was let pass")


def test_a_signal_before_there_is_anything_to_save_ends_it_at_once() -> None:
    with Termination(), pytest.raises(StoppedError, match=r"ended by SIGINT\. "):
        send(signal.SIGINT)


def test_only_a_second_ctrl_c_does_not_wait() -> None:
    with Termination() as termination, termination.held():
        for number in (signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert termination.asked_by == "SIGTERM"
        with pytest.raises(StoppedError, match="SIGINT"):
            send(signal.SIGINT)


def test_another_sigterm_while_it_ends_does_not_hide_what_is_saved() -> None:
    """A preempted machine sends one by its notice, and one by its power button."""

    def ends() -> None:
        try:
            termination.end(7)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            assert termination.asked_by == "SIGTERM"

    with Termination() as termination:
        with termination.held():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError, match="ended by SIGTERM, step 7 is saved"):
            ends()


def test_a_loss_that_is_not_finite_names_its_shards_and_leaves_the_checkpoint(
    undisturbed: TrainingJob, tmp_path: Path
) -> None:
    job = replace(
        undisturbed,
        output=str(tmp_path / "small"),
        train=replace(undisturbed.train, recovery_minutes=1e-9),
    )
    shutil.copytree(Output(undisturbed).checkpoints, Output(job).checkpoints)
    checkpoints = Checkpoints(Output(job), keep=1)
    Output(job).checkpoints.joinpath(f"checkpoint-{STEPS}.json").unlink()
    index = checkpoints.newest()
    assert index is not None
    state = checkpoints.load(index)
    checkpoints.save(index, state | {"bert/embeddings/LayerNorm/gamma": np.full(16, 1e30, np.float32)})
    before = checksums(checkpoints.state_path("checkpoint-200"))
    message = r"the loss of step 20[12] is .* the examples are from shard_000\d.tfrecord"
    with pytest.raises(TrainingError, match=message):
        train(job)
    assert checkpoints.names()[-1] == "checkpoint-200"
    assert checksums(checkpoints.state_path("checkpoint-200")) == before
    assert "nan" not in "".join(path.read_text() for path in Output(job).checkpoints.glob("*.json")).lower()


def qarib(command: str, job: TrainingJob) -> subprocess.CompletedProcess[str]:
    config = Path(job.output) / "config.yaml"
    config.write_text(dump_yaml(job))
    program = """
import sys
from qarib_tasks.cli.main import main
try:
    main()
finally:
    assert not {"keras", "tensorflow", "jax"} & set(sys.modules)
"""
    return subprocess.run(
        [sys.executable, "-c", program, command, "--config", str(config)],
        env={**os.environ, "PYTHONPATH": str(SAMPLE.parent)},
        capture_output=True,
        text=True,
    )


def test_what_is_done_is_known_without_tensorflow(undisturbed: TrainingJob) -> None:
    export(undisturbed)
    for command, said in (("train", "already trained"), ("export", "already exported")):
        result = qarib(command, undisturbed)
        assert result.returncode == 0, result.stderr
        assert said in result.stderr


@pytest.mark.slow
def test_the_command_ends_with_the_status_of_a_stopped_training(tmp_path: Path) -> None:
    job = make_job(tmp_path, train_steps=1_000_000, save_checkpoints_steps=1_000_000)
    config = tmp_path / "config.yaml"
    config.write_text(dump_yaml(job))
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-m", "qarib_tasks.cli", "train", "--config", str(config)],
            env={**os.environ, "PYTHONPATH": str(SAMPLE.parent)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if "evaluation after" in line or "resuming from" in line:
                    process.send_signal(number)
            assert process.wait() == STOPPED
    (name,) = names(job)
    assert name.startswith("recovery-")
