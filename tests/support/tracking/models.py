"""Models whose trainings never ran: the files that trackers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.training.job import TrainedOn, TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig

UPDATED = "2026-11-01T10:00:00+00:00"
RATE = 16.0  # examples per second: half a second for a step of 8


def line(step: int, loss: float | None = None) -> dict[str, Any]:
    return {
        "step": step,
        "loss": 10.0 / step if loss is None else loss,
        "masked_lm_loss": 5.0 / step,
        "masked_lm_accuracy": 0.1,
        "learning_rate": 1e-4,
        "examples_per_second": RATE,
    }


def evaluation(step: int) -> dict[str, Any]:
    names = ("loss", "masked_lm_loss", "perplexity", "unigram_entropy")
    task = {
        "name": "emoji@corpus", "sha256": "0", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6,
        "tfidf": 0.3, "train_texts": 10, "test_texts": 10,
    }  # fmt: skip
    return {
        "step": step,
        **{name: 2.0 for name in names},
        **{name: 0.5 for name in ("masked_lm_accuracy", "unigram_accuracy")},
        "examples": 7,
        "predictions": 14,
        "fill_mask": [],
        "tasks": [task],
    }


def make_model(workspace: Path, **settings: Any) -> tuple[TrainingJob, Path]:
    """Return the settings of a training that has not begun, and its folder."""
    data = workspace / "datasets" / "demo-00000000aa"
    folder = workspace / "models" / "demo-00000000bb"
    (folder / "bert_model").mkdir(parents=True)
    (folder / "bert_evals").mkdir()
    values: dict[str, Any] = {
        "training_data": f"{data}/pretraining_data",
        "heldout_data": f"{data}/heldout/pretraining_data",
        "vocab_file": f"{data}/vocab.txt",
        "output": str(folder),
        "trained_on": (TrainedOn(dataset_id=data.name, examples=100, sources=("news",)),),
        "train": TrainConfig(train_batch_size=8, train_steps=300, num_warmup_steps=3),
    }
    job = TrainingJob(**(values | settings))
    (folder / "config.yaml").write_text(dump_yaml(job), encoding="utf-8")
    return job, folder


def write_history(folder: Path, *steps: int, state: str = "training", updated: str = UPDATED) -> None:
    """Write the history up to the last step, and a progress that says so."""
    lines = [line(step) for step in steps]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (folder / "bert_model" / "history.jsonl").write_text(text, encoding="utf-8")
    progress = lines[-1] | {"state": state, "train_steps": 300, "updated_at": updated}
    (folder / "progress.json").write_text(json.dumps(progress), encoding="utf-8")


def write_evaluation(folder: Path, step: int) -> None:
    path = folder / "bert_evals" / f"evaluation-{step}.json"
    path.write_text(json.dumps(evaluation(step)), encoding="utf-8")
