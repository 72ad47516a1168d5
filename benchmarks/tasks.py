"""Pre-train a small model on tweets, and score it on labelled tasks at a quarter, half, and all of the steps.

    python benchmarks/tasks.py [--data ../shared] [--steps 1800] [--seeds 5] [--limit 2000] [--workspace X]

--data has corpus/tweets-real.txt.xz, a tweet per line, and tasks/arsarcasm-v2/train.csv, the training part of
ArSarcasm-v2, of which a fifth is held out as test texts. The pre-training leaves these out.

For untrained weights and each checkpoint, the benchmark prints the macro-F1 of the probe with its 95%
interval, and that of the fine-tuning as mean ± standard deviation over the seeds; and the macro-F1 of TF-IDF
and of the most frequent label. The exit status is 1 if, on sentiment or dialect, the fine-tuning of the
trained model is not better than that of untrained weights, beyond the 95% intervals of both means.

The learning rates are higher than those of `qarib finetune`, which are for models of BERT's size. A second
call reuses what is complete.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from qarib_tasks.runs.run import Run

REPOSITORY = Path(__file__).resolve().parent.parent
LENGTH = 64  # wordpieces
TUNED_LENGTH = 48  # of the fine-tunings, to save a quarter of their time
RATES = (1e-4, 3e-4)
TASKS = ("sentiment", "sarcasm", "dialect")
REQUIRED = ("sentiment", "dialect")
# Quantiles of Student's t distribution for a two-sided interval of 95%, by degrees of freedom.
QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Row(NamedTuple):
    """What an evaluation says of a task, and what the table of the fine-tunings says."""

    probe: dict[str, Any]
    tuned: dict[str, Any]


def settings(data: Path, workspace: Path, steps: int, limit: int) -> dict[str, Any]:
    tweets = data / "corpus" / "tweets-real.txt.xz"
    labelled = str(data / "tasks" / "arsarcasm-v2" / "train.csv")
    tasks = [
        {"name": name, "train": labelled, "text": "tweet", "label": name, "limit": limit} for name in TASKS
    ]
    return {
        "preset": "demo",
        "workspace": str(workspace),
        "collect": {
            "heldout_share": 0.02,
            "sources": [{"name": "tweets", "path": str(tweets), "document": "line"}],
        },
        "vocab": {"vocab_size": 8_000},
        "split": {"shard_lines": 50_000},
        "convert": {"format": "packed", "dupe_factor": 1, "max_seq_length": LENGTH},
        "model": {
            "num_hidden_layers": 3,
            "hidden_size": 192,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "train": {
            "train_batch_size": 32,
            "learning_rate": 1e-3,
            "train_steps": steps,
            "warmup_share": 0.06,
            "save_checkpoints_steps": steps // 4,
            "next_sentence": False,
            "masking": "dynamic",
            "masked_lm_prob": 0.3,
            "beta_2": 0.98,
            "bias_correction": True,
            "xla": True,
        },
        "evaluate": {"max_eval_steps": 20, "tasks": tasks, "free_tasks": False, "probe_seconds": 600},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "build" / "tasks")
    parser.add_argument("--steps", type=int, default=1_800, help="of the pre-training")
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="2 to 10")
    parser.add_argument("--limit", type=int, default=2_000, help="texts of each part of a task; 0: all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("google").setLevel(logging.WARNING)
    from qarib_tasks.train import runtime

    runtime.choose_backend("tensorflow")
    config = settings(options.data, options.workspace, options.steps, options.limit)
    run = pretrained(config)
    rows = {}
    for name, step in {"untrained": 0, **{f"{s}%": options.steps * s // 100 for s in (25, 50, 100)}}.items():
        rows[name] = scored(run, step, options.workspace / "finetuned" / name, options.seeds)
    print_table(rows)
    return 0 if all([better(rows, task) for task in REQUIRED]) else 1


def pretrained(config: Mapping[str, Any]) -> Run:
    """Run all steps to a trained model. A checkpoint that exists is not trained again."""
    from qarib_tasks import pipeline
    from qarib_tasks.config import presets
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.runs.training_job import training_job
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.results.export import export

    run = prepare(presets.resolve(config))
    pipeline.make_dataset(run)
    wall, cpu = time.monotonic(), time.process_time()
    job = training_job(run)
    train(job)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    export(job)  # with the vocabulary that the fine-tuning needs
    print(f"pre-training with its evaluations: {wall / 60:.1f} minutes, {cpu / 60:.1f} of CPU", flush=True)
    return run


def scored(run: Run, step: int, output: Path, seeds: int) -> dict[str, Row]:
    """Return the probe and the fine-tunings of the weights after a step, by task."""
    from qarib_tasks.train.finetuning.recipe import Recipe
    from qarib_tasks.train.finetuning.run import fine_tuning

    evaluation = json.loads(run.model.evaluation(step).read_text(encoding="utf-8"))
    tuning = fine_tuning(
        str(run.model.bert_model / f"checkpoint-{step or run.config.train.train_steps}"),
        run.config.evaluate.tasks,
        output=output,
        recipe=Recipe(rates=RATES, length=TUNED_LENGTH),
    )
    if step == 0:  # The classifier gives weights that are missing the initial values of the seed.
        read, subjects = tuning.read, tuning.subjects
        tuning.read = lambda: replace(read(), weights={}, digest="untrained")
        tuning.subjects = [replace(subject, model="untrained") for subject in subjects]
    wall = time.monotonic()
    tuning.run(range(1, seeds + 1))
    print(f"{output.name}: fine-tuned in {(time.monotonic() - wall) / 60:.1f} minutes", flush=True)
    entries = {entry["name"]: entry for entry in tuning.table(range(1, seeds + 1))}
    return {probe["name"]: Row(probe, entries[probe["name"]]) for probe in evaluation["tasks"]}


def print_table(rows: Mapping[str, Mapping[str, Row]]) -> None:
    """Print Markdown."""
    print(f"| | {' | '.join(f'{task}: probe | {task}: fine-tuned' for task in TASKS)} |")
    print("|---" * (1 + 2 * len(TASKS)) + "|")
    for name, row in rows.items():
        cells = []
        for probe, tuned in (row[task] for task in TASKS):
            cells.append(f"{probe['value']:.3f} ({probe['low']:.3f} to {probe['high']:.3f})")
            cells.append(f"{tuned['mean']:.3f} ± {tuned['sd']:.3f}")
        print(f"| {name} | {' | '.join(cells)} |")
    for name, key in (("TF-IDF", "tfidf"), ("most frequent label", "most_frequent")):
        cells = [f"{tuned[key]:.3f} | " for _, tuned in (rows["100%"][task] for task in TASKS)]
        print(f"| {name} | {' | '.join(cells)} |")


def better(rows: Mapping[str, Mapping[str, Row]], task: str) -> bool:
    """Print whether the trained model's fine-tuning is above that of untrained weights, intervals apart."""
    (low, _), (_, high) = (interval(rows[name][task]) for name in ("100%", "untrained"))
    print(
        f"{task}, fine-tuned: trained at least {low:.4f}, untrained at most {high:.4f}: "
        f"{'ok' if low > high else 'FAILED'}"
    )
    return low > high


def interval(row: Row) -> tuple[float, float]:
    """Return the ends of the 95% interval of the fine-tunings' mean."""
    mean, count = row.tuned["mean"], len(row.tuned["seeds"])
    half = QUANTILES[count - 1] * row.tuned["sd"] / math.sqrt(count)
    return mean - half, mean + half


if __name__ == "__main__":
    sys.exit(main())
