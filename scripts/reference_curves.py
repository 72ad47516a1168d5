"""Make the curves in the background of a run's own, on the page: train on the sample corpus, in four ways.

    python scripts/reference_curves.py [--workspace FOLDER]

`demo` and `demo_modern` are the presets, `small` the training of benchmarks/learning.py, and `parity` the
shape and settings with which the training is compared with google-research/bert's
(benchmarks/reference_training.py). Writes qarib_tasks/views/reference_curves.json and prints the table of
docs/training.md. A second call reuses what is complete.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

from learning import settings as small

from qarib_tasks.config import presets
from qarib_tasks.storage.files import write_text
from qarib_tasks.views.reference_curves import CURVES

POINTS = 20  # evaluations of a training
PARITY: dict[str, Any] = {
    "preset": "demo",
    "vocab": {"vocab_size": 8_000},
    "convert": {"max_seq_length": 64},
    "model": {
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 2,
        "intermediate_size": 256,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "train": {"train_batch_size": 16, "learning_rate": 5e-4, "train_steps": 200, "num_warmup_steps": 20},
}
SHOWN = (
    *(("model", name) for name in ("num_hidden_layers", "hidden_size")),
    *(("vocab", name) for name in ("vocab_size",)),
    *(("convert", name) for name in ("max_seq_length",)),
    *(("train", name) for name in ("train_batch_size", "learning_rate", "num_warmup_steps", "train_steps")),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "build" / "reference-curves")
    workspace = parser.parse_args().workspace
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    trainings = {
        "demo": {"preset": "demo"},
        "demo_modern": {"preset": "demo_modern"},
        "small": small(presets.SAMPLE, workspace, 2_500),
        "parity": PARITY,
    }
    curves = [curve(name, {**values, "workspace": str(workspace)}) for name, values in trainings.items()]
    write_text(CURVES, json.dumps(curves, indent=1) + "\n")
    print_table(curves)


def curve(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Train, and return the curve."""
    from qarib_tasks import pipeline
    from qarib_tasks.config.loading import to_dict
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.runs.training_job import training_job
    from qarib_tasks.train import runtime
    from qarib_tasks.train.loop import train

    runtime.choose_backend("tensorflow")
    steps = presets.resolve(values).train.train_steps
    often = {"train": {"save_checkpoints_steps": steps // POINTS, "keep_checkpoint_max": 1}}
    more = {"evaluate": {"free_tasks": False}, "tpu": {"machine": "local"}}
    run = prepare(presets.resolve(presets.merged(values, often | more)))
    pipeline.make_dataset(run)
    train(training_job(run))
    config = to_dict(run.config)
    paths = [run.model.evaluation(step) for step in range(0, steps + 1, steps // POINTS)]
    made = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return {
        "name": name,
        "settings": {setting: config[section][setting] for section, setting in SHOWN},
        "unigram_entropy": round(made[-1]["unigram_entropy"], 4),
        "examples": [one["step"] * run.config.train.train_batch_size for one in made],
        "masked_lm_loss": [round(one["masked_lm_loss"], 4) for one in made],
    }


def print_table(curves: list[dict[str, Any]]) -> None:
    """Print Markdown: the loss relative to what word frequencies alone give, at quarters of each training."""
    print("| | layers × hidden | vocabulary | batch | peak rate | examples | 0 | 25% | 50% | 75% | 100% |")
    print("|---" * 11 + "|")
    for one in curves:
        s, losses = one["settings"], one["masked_lm_loss"]
        shares = " | ".join(f"{losses[len(losses) // 4 * i] / one['unigram_entropy']:.3f}" for i in range(5))
        print(
            f"| `{one['name']}` | {s['num_hidden_layers']} × {s['hidden_size']} | {s['vocab_size']:,} | "
            f"{s['train_batch_size']} | {s['learning_rate']:g} | {one['examples'][-1]:,} | {shares} |"
        )


if __name__ == "__main__":
    main()
