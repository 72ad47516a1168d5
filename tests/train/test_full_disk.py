"""A full disk during a training's commands: one line with the path, and what was there before stays.

The limit on the size of files stands for the size of the disk. Covers qarib_tasks/train/results/export.py.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.cli.main import run_command
from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.training.job import TrainingJob
from tests.support.training_examples import make_job

BYTES = 20_000  # less than a checkpoint and than the exported weights


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_what_was_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(tmp_path, train_steps=1, num_warmup_steps=0, save_checkpoints_steps=1)
    more = replace(job, train=replace(job.train, train_steps=2))

    def run(command: str, job: TrainingJob) -> tuple[int, list[str]]:
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(to_dict(job)))
        capsys.readouterr()
        status = run_command([command, "--config", str(tmp_path / "job.yaml")])
        return status, [line for line in capsys.readouterr().err.splitlines() if line.startswith("qarib: ")]

    for command, some, place in (
        ("train", job, "bert_model/checkpoint-1.safetensors"),
        ("export", job, "export"),
        ("train", more, "bert_model/checkpoint-2.safetensors"),
        ("export", more, "export"),
    ):
        before = {
            path: data
            for path, data in files(job.output).items()
            if path.suffix in (".safetensors", ".txt", ".md") or path.name == "manifest.json"
        }
        with full_disk():
            status, errors = run(command, some)
        assert (status, len(errors)) == (1, 1), errors
        assert errors[0].startswith(f"qarib: error: {job.output}/{place}")
        assert "File too large" in errors[0]
        after = files(job.output)
        assert {path: after.get(path) for path in before} == before
        assert {path for path in after if path.suffix == ".safetensors"} == {
            path for path in before if path.suffix == ".safetensors"
        }
        assert run(command, some) == (0, [])
