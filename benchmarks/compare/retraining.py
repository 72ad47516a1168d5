"""Compare a re-training from wsd's stable checkpoint with a training from scratch on all text.

    python benchmarks/compare/retraining.py [--data ../shared] [--steps 1500] [--share 0.35] [--workspace X]

--data has corpus/tweets-real.txt.xz, whose tweets are sorted by sentiment. Every second one is of the first
month, the others are of the next. A small model is trained with the modern recipe on the first month; then on both, from its stable
checkpoint with the optimizer's state, for --share of --steps, as the DAG qarib_retrain does. Another one is
trained from scratch on both for --steps. Prints the losses on the held-out part of the first month, and the
steps. The exit status is 1 if the re-training ends with a higher loss than the training from scratch. A
second call reuses what is complete.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qarib_tasks.runs.run import Run

REPOSITORY = Path(__file__).resolve().parents[2]


def settings(month: Path, workspace: Path, **train: Any) -> dict[str, Any]:
    return {
        "preset": "demo_modern",
        "workspace": str(workspace),
        "collect": {"sources": [{"name": "tweets", "path": str(month), "document": "line"}]},
        "vocab": {"vocab_size": 8_000},
        "split": {"shard_lines": 50_000},
        "train": {"learning_rate": 2e-3, "save_checkpoints_steps": 100_000, **train},
        "evaluate": {"free_tasks": False},
    }


def write_months(tweets: Path, workspace: Path) -> list[Path]:
    """Write two months of tweets."""
    with lzma.open(tweets, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    workspace.mkdir(parents=True, exist_ok=True)
    months = [workspace / "month-1.txt", workspace / "month-2.txt"]
    for path, part in zip(months, (lines[::2], lines[1::2]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return months


def trained(values: Mapping[str, Any]) -> tuple[Run, float]:
    """Run all steps to a trained model; return the run and the loss on the held-out part."""
    from qarib_tasks import pipeline
    from qarib_tasks.config.presets import resolve
    from qarib_tasks.runs.completion import finish_dataset
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.runs.training_job import training_job
    from qarib_tasks.train.loop import train

    run = prepare(resolve(values))
    pipeline.make_dataset(run)
    finish_dataset(run)
    job = training_job(run)
    train(job)
    evaluation = json.loads(run.model.evaluation(job.train.train_steps).read_text(encoding="utf-8"))
    return run, float(evaluation["masked_lm_loss"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "build" / "retraining")
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--share", type=float, default=0.35)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from qarib_tasks.layout import checkpoint_name
    from qarib_tasks.train import runtime

    runtime.choose_backend("tensorflow")
    workspace, steps = options.workspace.resolve(), options.steps
    months = write_months(options.data / "corpus" / "tweets-real.txt.xz", workspace)
    first, before = trained(settings(months[0], workspace, train_steps=steps))
    stable = first.config.train.stable_step
    assert stable is not None
    both = {"extends": first.dataset_id}
    _, scratch = trained(settings(months[1], workspace, train_steps=steps) | both)
    fewer = int(options.share * steps)
    further = settings(
        months[1],
        workspace,
        train_steps=fewer,
        start_from=str(first.model.bert_model / checkpoint_name(stable)),
        start_from_optimizer=True,
        num_warmup_steps=0,
    )
    _, retrained = trained(further | both)
    print(f"first month, {steps:,} steps: loss {before:.4f}")
    print(f"both months from scratch, {steps:,} steps: loss {scratch:.4f}")
    print(
        f"both months from the stable checkpoint of step {stable:,}, {fewer:,} steps "
        f"({fewer / steps:.0%}): loss {retrained:.4f}: {'ok' if retrained <= scratch else 'FAILED'}"
    )
    return 0 if retrained <= scratch else 1


if __name__ == "__main__":
    sys.exit(main())
