"""Many made-up runs with models of their own and one dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.presets import resolve
from qarib_tasks.views.way import PARTS, Reason
from tests.support.made_up_run import MadeUpRun

RATES = (5e-4, 1e-4, 2e-4)
LOSS = 4.0  # of the first run on the held-out part; each other has a thousandth less


def all_of(state: str, **others: str) -> dict[str, dict[str, int]]:
    """The states of a run's tasks: of each part this one, or its own."""
    return {task: {others.get(part, state): 1} for part, tasks in PARTS.items() for task in tasks}


def write_progress(folder: Path, **values: Any) -> None:
    """Write progress.json of a finished training of 800 steps with an evaluation."""
    evaluation = {"step": 800, "masked_lm_loss": LOSS, "unigram_entropy": 6.5, "masked_lm_accuracy": 0.3}
    evaluation |= values.pop("evaluation", {})
    progress = {"state": "finished", "step": 800, "train_steps": 800, "loss": 5.0, "masked_lm_loss": 4.5}
    progress |= {"updated_at": "2026-01-01T00:00:00+00:00", "evaluation": evaluation} | values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.json").write_text(json.dumps(progress))


def demo_values(workspace: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a run of the preset demo, as its record has them."""
    given: dict[str, Any] = {"preset": "demo", "workspace": str(workspace), **(overrides or {})}
    return to_dict(resolve(given))


def many_runs(made: MadeUpRun, count: int) -> list[MadeUpRun]:
    """So many runs, the oldest first, of which each tenth has failed, and the files of their models.

    The first one has the lowest loss on the held-out part, and each has another learning rate than the next.
    """
    runs = []
    for number in range(count):
        config = demo_values(made.workspace, {"train": {"learning_rate": RATES[number % 3]}})
        values = {**made.record.values, "config": config, "model_id": f"demo-{number:010x}"}
        record = replace(
            made.record,
            run_id=f"run-{number:04}",
            values=values,
            state="success",
            steps=all_of("success"),
        )
        if number % 10 == 9:
            why = Reason(
                "train", -1, "failed", "failed", "the loss is not a number", f"run {number}", "Lower it"
            )
            states = all_of("success", training="failed", model="upstream_failed")
            record = replace(record, state="failed", steps=states, reasons=[why])
        assert record.model is not None
        loss = LOSS + number / 1000
        write_progress(made.workspace / record.model.name, evaluation={"masked_lm_loss": loss})
        runs.append(MadeUpRun(made.workspace, record, []))
    return runs


def write_history(folder: Path, steps: int, *, rate: float = 100.0, peak: int = 0) -> None:
    """Write a history of so many lines, one a step, with a loss from 9 to 4 and a peak of 50 at a step."""
    lines = []
    for step in range(1, steps + 1):
        loss = 50.0 if step == peak else 9.0 - 5.0 * step / steps
        figures = {"step": step, "loss": loss, "masked_lm_loss": loss, "next_sentence_loss": 0.625}
        figures |= {"masked_lm_accuracy": step / steps / 2, "next_sentence_accuracy": 0.5}
        figures |= {"learning_rate": 1e-4 * (1 - step / steps), "gradient_norm": 1.2345678901234567}
        figures |= {"examples_per_second": rate, "tokens_per_second": 64 * rate, "data_wait_share": 0.0123}
        lines.append(json.dumps(figures) + "\n")
    (folder / "bert_model").mkdir(parents=True, exist_ok=True)
    (folder / "bert_model/history.jsonl").write_text("".join(lines))


def write_evaluations(folder: Path, *steps: int, less: float = 0.0) -> None:
    """Write evaluations on the held-out part, with a loss of 9 less a two-hundredth for each step."""
    (folder / "bert_evals").mkdir(parents=True, exist_ok=True)
    for step in steps:
        path = folder / f"bert_evals/evaluation-{step}.json"
        figures = json.loads(path.read_text()) if path.is_file() else {"step": step}
        figures |= {"masked_lm_loss": 9.0 - step / 200 - less, "masked_lm_accuracy": step / 4000}
        figures |= {"unigram_entropy": 6.5, "perplexity": 90.5, "next_sentence_accuracy": 0.75}
        path.write_text(json.dumps(figures))
