"""A damaged JSON record of a training: what it says is made again, and the model stays the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import FillMask
from tests.support.records.damage import damaged_json
from tests.support.training_examples import make_job

HISTORY = "bert_model/history.jsonl"
CASES = [
    ("progress.json", "half"),
    ("progress.json", "state: number"),
    ("bert_evals/evaluation-4.json", "half"),
    ("bert_evals/evaluation-4.json", "masked_lm_loss: text"),
    ("bert_evals/evaluation-2.json", "half"),
    ("bert_model/checkpoint-4.json", "half"),
    ("bert_model/checkpoint-4.json", "position: empty"),
    ("manifest.json", "half"),
    ("manifest.json", "statistics.evaluation: list"),
]


def run(job: TrainingJob) -> Manifest:
    train(job)
    evaluate(job)
    return export(job)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, Manifest]:
    folder = tmp_path_factory.mktemp("trained")
    job = make_job(folder, train_steps=4, num_warmup_steps=1, save_checkpoints_steps=2)
    return job, run(job)


@pytest.fixture
def copied(trained: tuple[TrainingJob, Manifest], tmp_path: Path) -> TrainingJob:
    job, _ = trained
    output = tmp_path / Path(job.output).name
    shutil.copytree(job.output, output)
    return replace(job, output=str(output))


def said(caplog: pytest.LogCaptureFixture, path: Path) -> list[str]:
    return [line for line in caplog.messages if line.startswith(f"{path}: ") and ".damaged-1" in line]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CASES)
def test_the_model_is_the_same(
    trained: tuple[TrainingJob, Manifest],
    copied: TrainingJob,
    name: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = Path(copied.output) / name
    damaged = damaged_json(path.read_bytes())[damage]
    path.write_bytes(damaged)
    lost = name == "bert_evals/evaluation-2.json"  # Its checkpoint is older than the newest.
    if lost:  # Only an export reads it.
        (Path(copied.output) / "manifest.json").unlink()
    again = run(copied)
    before = trained[1]
    assert again.outputs == before.outputs or lost
    assert again.statistics["evaluation"] == before.statistics["evaluation"]
    assert len(again.statistics["evaluations"]) == len(before.statistics["evaluations"]) or lost
    assert path.with_name(f"{path.name}.damaged-1").read_bytes() == damaged
    assert len(said(caplog, path)) == 1
    caplog.clear()
    assert run(copied).outputs == again.outputs
    assert not said(caplog, path)


@pytest.mark.slow
def test_a_history_that_lost_lines_is_completed_from_the_progress(
    trained: tuple[TrainingJob, Manifest], copied: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    output = Path(copied.output)
    lines = (output / HISTORY).read_bytes().splitlines(keepends=True)
    (output / HISTORY).write_bytes(b"".join([lines[0][:-5] + b"\xff\n", *lines[1:2], b"[]\n"]))
    (output / "manifest.json").unlink()
    again = run(copied)
    assert again.statistics == trained[1].statistics
    assert again.outputs == trained[1].outputs
    assert len(said(caplog, output / HISTORY)) == 1
    (output / HISTORY).write_bytes(b"")
    for name in ("manifest.json", "progress.json"):
        (output / name).unlink()
    with pytest.raises(CorruptError, match=r"history\.jsonl: lacks the figures.*Restore it"):
        export(copied)


@pytest.mark.slow
def test_an_exported_model_whose_config_lacks_a_size_is_an_error(copied: TrainingJob) -> None:
    path = Path(copied.output) / "export" / "config.json"
    cases = damaged_json(path.read_bytes())
    for damage in (
        "half",
        "list",
        "not UTF-8",
        "nested",
        "num_attention_heads: removed",
        "hidden_size: text",
    ):
        path.write_bytes(cases[damage])
        with pytest.raises(Exception, match=r"config\.json") as error:
            FillMask(Path(copied.output))
        assert type(error.value).__module__ == "qarib_tasks.errors", damage
