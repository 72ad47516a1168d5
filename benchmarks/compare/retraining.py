"""Compare a re-training from wsd's stable checkpoint with a training from scratch on all text.

    python benchmarks/compare/retraining.py [--data ../shared] [--steps 1500] [--share 0.35] [--seeds 3]

--data has corpus/tweets-real.txt.xz. Its first half is the text of one month, its second half that of the
next. A small model is trained with the modern recipe on the first month; then on both, from its stable
checkpoint with the optimizer's state, for --share of --steps, as the DAG qarib_retrain does. Another one is
trained from scratch on both for --steps. Prints the losses on the held-out part of the first month, and the
steps, for each seed, because those of so short a training differ by a tenth of a nat. The exit status is 1
if the re-trainings end with a higher mean loss than those from scratch. A second call reuses what is
complete.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qarib_tasks.runs.run import Run

REPOSITORY = Path(__file__).resolve().parents[2]


def settings(month: Path, workspace: Path, seed: int, **train: Any) -> dict[str, Any]:
    return {
        "preset": "demo_modern",
        "workspace": str(workspace),
        "collect": {"sources": [{"name": "tweets", "path": str(month), "document": "line"}]},
        "vocab": {"vocab_size": 8_000},
        "split": {"shard_lines": 50_000},
        "convert": {"random_seed": seed},
        "train": {"learning_rate": 2e-3, "save_checkpoints_steps": 100_000, **train},
        "evaluate": {"free_tasks": False},
    }


def write_months(tweets: Path, workspace: Path) -> list[Path]:
    """Write the first and the second half of the tweets."""
    with lzma.open(tweets, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    workspace.mkdir(parents=True, exist_ok=True)
    months = [workspace / "month-1.txt", workspace / "month-2.txt"]
    half = len(lines) // 2
    for path, part in zip(months, (lines[:half], lines[half:]), strict=True):
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
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from qarib_tasks.train import runtime

    runtime.choose_backend("tensorflow")
    workspace = options.workspace.resolve()
    months = write_months(options.data / "corpus" / "tweets-real.txt.xz", workspace)
    seeds = range(12345, 12345 + options.seeds)
    found = [losses(months, workspace, seed, options.steps, options.share) for seed in seeds]
    first, scratch, retrained = (mean(each) for each in zip(*found, strict=True))
    print(
        f"mean of {options.seeds}: first month {first:.4f}, both from scratch {scratch:.4f}, re-trained "
        f"in {options.share:.0%} of the steps {retrained:.4f}: {'ok' if retrained <= scratch else 'FAILED'}"
    )
    return 0 if retrained <= scratch else 1


def losses(
    months: list[Path], workspace: Path, seed: int, steps: int, share: float
) -> tuple[float, float, float]:
    """Return the loss of the first month's model, that from scratch, and that of the re-training."""
    from qarib_tasks.layout import checkpoint_name

    first, before = trained(settings(months[0], workspace, seed, train_steps=steps))
    stable = first.config.train.stable_step
    assert stable is not None
    both = {"extends": first.dataset_id}
    _, scratch = trained(settings(months[1], workspace, seed, train_steps=steps) | both)
    fewer = int(share * steps)
    further = settings(
        months[1],
        workspace,
        seed,
        train_steps=fewer,
        start_from=str(first.model.bert_model / checkpoint_name(stable)),
        start_from_optimizer=True,
        num_warmup_steps=0,
    )
    _, retrained = trained(further | both)
    print(
        f"seed {seed}: first month, {steps:,} steps: {before:.4f}; both from scratch, {steps:,} steps: "
        f"{scratch:.4f}; from the stable checkpoint of step {stable:,}, {fewer:,} steps: {retrained:.4f}",
        flush=True,
    )
    return before, scratch, retrained


if __name__ == "__main__":
    sys.exit(main())
