"""Processes that train together, each with the processor as its only device, as on a TPU slice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ports import free_ports

from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.machines.exit_status import OTHER_ENDED, STOPPED
from qarib_tasks.train.output import Output
from tests.support.training_examples import make_job, write_shard

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
HOSTS = 2
STEPS = 200
SECONDS = 1500.0


class Slice:
    """The machines of a slice, each with a process that trains."""

    def __init__(self, config: Path) -> None:
        # JAX's port; the workers' own messages use the next one.
        coordinator = f"127.0.0.1:{free_ports(2)[0]}"
        self.logs = [config.with_name(f"worker-{host}.log") for host in range(HOSTS)]
        self.processes = []
        for host, log in enumerate(self.logs):
            environment = {
                "QARIB_TPU_WORKER": str(host),
                "QARIB_TPU_WORKERS": str(HOSTS),
                "QARIB_TPU_COORDINATOR": coordinator,
                "JAX_PLATFORMS": "cpu",
                # What was compiled once is not compiled again after a restart.
                "JAX_COMPILATION_CACHE_DIR": str(config.with_name("compiled")),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # its many small functions too
            }
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "qarib_tasks.cli", "train", "--config", str(config)],
                        env=os.environ | environment,
                        cwd=ROOT,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < deadline, self.text()
            assert all(process.poll() is None for process in self.processes), self.text()
            time.sleep(0.02)

    def end(self) -> list[int]:
        """Wait for the processes: their exit statuses."""
        try:
            return [process.wait(SECONDS) for process in self.processes]
        except subprocess.TimeoutExpired:
            raise AssertionError(self.text()) from None
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def text(self, host: int | None = None) -> str:
        logs = self.logs if host is None else [self.logs[host]]
        return "\n".join(log.read_text() for log in logs)


def config_of(job: TrainingJob, folder: Path) -> Path:
    config = folder / "config.yaml"
    config.write_text(dump_yaml(job))
    return config


def test_two_hosts_stopped_and_killed_train_as_one_does(tmp_path: Path) -> None:
    """With masks that are drawn, and token dropping. After a restart, they divide the optimizer's state."""
    job = make_job(
        tmp_path,
        examples=(90, 70, 50, 60, 40),
        train_steps=STEPS,
        save_checkpoints_steps=STEPS // 4,
        masking="dynamic",
        token_dropping=0.5,
    )
    job = replace(job, model=replace(job.model, num_hidden_layers=3))
    config, output = config_of(job, tmp_path), Output(job)

    first = Slice(config)
    first.until(lambda: "step 1 of" in first.text(1))
    first.processes[1].send_signal(signal.SIGTERM)
    assert first.end() == [STOPPED, STOPPED], first.text()
    (recovery,) = output.checkpoints.glob("recovery-*.json")
    saved = json.loads(recovery.read_text())
    assert saved["step"] < STEPS
    assert len(saved["others"]) == HOSTS - 1
    assert f"step {saved['step']} is saved" in first.text(0)
    assert f"step {saved['step']} is saved" in first.text(1)

    config_of(replace(job, train=replace(job.train, shard_optimizer=True)), tmp_path)
    second = Slice(config)
    second.until((output.checkpoints / f"checkpoint-{STEPS // 2}.json").exists)
    second.processes[1].kill()
    survivor, killed = second.end()
    assert killed == -signal.SIGKILL
    # JAX, or the line between the workers: whichever hears of it first.
    assert survivor in (OTHER_ENDED, -signal.SIGABRT), second.text()
    assert json.loads(output.progress.read_text())["state"] == "training"

    last = max(int(path.stem.split("-")[1]) for path in output.checkpoints.glob("checkpoint-*.json"))
    assert STEPS // 2 <= last < STEPS

    third = Slice(config)
    assert third.end() == [0, 0], third.text()
    assert f"resuming from the checkpoint of step {last}" in third.text(1)
    progress = json.loads(output.progress.read_text())
    assert (progress["state"], progress["step"], progress["devices"]) == ("finished", STEPS, HOSTS)

    done = subprocess.run(
        [sys.executable, "-m", "tests.support.training_hosts", str(config), str(HOSTS)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    interval = STEPS // 100
    history = [json.loads(line) for line in output.history.read_text().splitlines()]
    assert [line["step"] for line in history] == [1, *range(interval, STEPS + 1, interval)]
    losses = json.loads(done.stdout)
    means = [losses[0], np.mean(losses[1:interval])]
    means += [np.mean(losses[step - interval : step]) for step in range(2 * interval, STEPS + 1, interval)]
    np.testing.assert_allclose([line["loss"] for line in history], means, rtol=1e-4)

    # Once more: all know that there is nothing to do.
    fourth = Slice(config)
    assert fourth.end() == [0, 0]
    assert "already trained" in fourth.text(1)


def test_what_one_host_cannot_read_ends_both_and_is_said_by_the_one(tmp_path: Path) -> None:
    job = make_job(tmp_path, examples=(40, 40), train_steps=2000, shuffle_window=16)
    bad = tmp_path / "pretraining_data" / "shard_0001.tfrecord"
    write_shard(bad, [b"no example"] * 40)
    both = Slice(config_of(job, tmp_path))
    statuses = both.end()
    assert sorted(statuses) == [1, OTHER_ENDED], both.text()
    host = statuses.index(1)
    assert "qarib: error: " in both.text(host)
    assert f"this rank ends too: rank {host} has ended: " in both.text(1 - host)
