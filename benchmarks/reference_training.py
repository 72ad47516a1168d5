"""Compare the trainer with the reference, step by step.

    python benchmarks/reference_training.py PREFIX EXAMPLES.npz [--backend tensorflow|jax]

Without --backend, the comparison runs on each installed backend, one after the other.

`PREFIX.json` has a configuration and, for each step, the learning rate, the losses and the gradient's norm
before clipping of google-research/bert's run_pretraining.py. `PREFIX-init.npz` and `PREFIX-final.npz` have
its variables before the first step and after the last ("/" written as "|"). `EXAMPLES.npz` has the examples;
step t reads those from t·batch to t·batch + batch - 1, modulo their number.

Prints the largest relative differences over all steps. The exit status is 1 above 1e-4 for the losses, 1e-3
for the gradient's norm, and 1e-4 for the final variables (norm of the difference divided by norm, over all).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

BACKENDS = ("tensorflow", "jax")
LIMITS = {
    "loss": 1e-4,
    "masked_lm_loss": 1e-4,
    "next_sentence_loss": 1e-4,
    "gradient_norm": 1e-3,
    "variables": 1e-4,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prefix", metavar="PREFIX")
    parser.add_argument("examples", metavar="EXAMPLES.npz", type=Path)
    parser.add_argument("--backend", choices=BACKENDS, default=os.environ.get("KERAS_BACKEND"))
    arguments = parser.parse_args()
    if arguments.backend is None:
        # A process can use only one backend.
        installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
        command = [sys.executable, __file__, arguments.prefix, str(arguments.examples)]
        return max(subprocess.run([*command, "--backend", name]).returncode for name in installed)
    from qarib_tasks.train import runtime

    print(f"backend {runtime.choose_backend(arguments.backend)}", flush=True)
    worst = differences(Path(arguments.prefix), arguments.examples)
    for name, value in worst.items():
        verdict = "ok" if value <= LIMITS[name] else "ABOVE"
        print(f"{name:20} largest relative difference {value:.2e}, limit {LIMITS[name]:.0e}: {verdict}")
    return int(any(not value <= LIMITS[name] for name, value in worst.items()))


def differences(prefix: Path, examples: Path) -> dict[str, float]:
    """Train the reference's steps; return the largest relative differences of figures and variables."""
    from qarib_tasks.config.loading import from_dict
    from qarib_tasks.config.training.model import ModelConfig
    from qarib_tasks.config.training.recipe import TrainConfig
    from qarib_tasks.train.model.bert import PretrainingBert
    from qarib_tasks.train.model.steps import make_steps

    reference = json.loads(prefix.with_name(prefix.name + ".json").read_text(encoding="utf-8"))
    shape = dict(reference["config"])
    vocab_size = shape.pop("vocab_size")
    config = from_dict(
        TrainConfig,
        {
            "train_batch_size": reference["batch_size"],
            "learning_rate": reference["learning_rate"],
            "train_steps": reference["num_train_steps"],
            "num_warmup_steps": reference["num_warmup_steps"],
        },
    )
    model = PretrainingBert(from_dict(ModelConfig, shape), vocab_size)
    steps = make_steps(model, config, seed=0)
    state = steps.state()
    initial = variables(prefix.with_name(prefix.name + "-init.npz"))
    assert set(initial) == set(model.named_variables()), "the variables' names differ from the reference's"
    steps.restore(state | initial)
    with np.load(examples) as file:
        data = dict(file)
    worst = dict.fromkeys(LIMITS, 0.0)
    for wanted in reference["steps"]:
        figures = steps.train(batch(data, wanted["step"], reference))
        for name in ("loss", "masked_lm_loss", "next_sentence_loss"):
            worst[name] = max(worst[name], relative(float(figures[name]), wanted[name]))
        norm = relative(float(figures["gradient_norm"]), wanted["grad_norm"])
        worst["gradient_norm"] = max(worst["gradient_norm"], norm)
        if abs(float(figures["learning_rate"]) - wanted["learning_rate"]) > 1e-6 * reference["learning_rate"]:
            raise SystemExit(f"step {wanted['step']}: learning rate {float(figures['learning_rate'])}")
    final = variables(prefix.with_name(prefix.name + "-final.npz"))
    state = steps.state()
    difference = np.concatenate([(state[name].astype(np.float64) - final[name]).ravel() for name in final])
    everything = np.concatenate([value.astype(np.float64).ravel() for value in final.values()])
    worst["variables"] = float(np.linalg.norm(difference) / np.linalg.norm(everything))
    return worst


def relative(value: float, wanted: float) -> float:
    return abs(value - wanted) / abs(wanted)


def variables(path: Path) -> dict[str, np.ndarray]:
    """Return the variables by name; our names are the same as the reference's."""
    with np.load(path) as file:
        return {name.replace("|", "/").removesuffix(":0"): file[name] for name in file.files}


def batch(data: dict[str, np.ndarray], step: int, reference: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the arrays of a step, without positions that never have a prediction, as in training."""
    length, size = reference["max_seq_length"], reference["batch_size"]
    rows = np.arange(step * size, (step + 1) * size) % len(data["length"])
    predictions = int(data["masked_lm_count"].max())
    arrays = {name: data[name][rows].astype(np.int32) for name in ("input_ids", "segment_ids")}
    for name in ("masked_lm_positions", "masked_lm_ids"):
        arrays[name] = data[name][rows, :predictions].astype(np.int32)
    return arrays | {
        "input_mask": (np.arange(length) < data["length"][rows, None]).astype(np.int32),
        "masked_lm_weights": (np.arange(predictions) < data["masked_lm_count"][rows, None]).astype(np.int32),
        "next_sentence_labels": data["next_sentence_labels"][rows].astype(np.int32),
    }


if __name__ == "__main__":
    sys.exit(main())
