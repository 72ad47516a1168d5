"""Measure what masks drawn in the step, attention within a document, and token dropping cost or save.

    python benchmarks/compare/step_parts.py [--turns 40] [--backend tensorflow]

The model has 3 layers of 192 and a vocabulary of 8,000; a batch has 32 rows of length 64 with 10 predictions
each. Four training steps run in turns, in one process: with the masks of the examples; with masks drawn in
the step; with these on packed rows, of three documents each; and with token dropping of a half, which the
middle one of the layers does. Prints the median processor time of each and the median of the ratios to the
first, turn by turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig

ENTRIES, LENGTH, ROWS, PREDICTIONS = 8_000, 64, 32, 10
MODEL = ModelConfig(num_hidden_layers=3, hidden_size=192, num_attention_heads=3, intermediate_size=768)


def batch_of(*, packed: bool) -> dict[str, np.ndarray]:
    """Return the arrays of a batch of random words, like those of the trainer."""
    random = np.random.default_rng(0)
    positions = np.sort(random.permuted(np.tile(np.arange(1, LENGTH), (ROWS, 1)), axis=1)[:, :PREDICTIONS])
    documents = np.repeat([[1, 2, 3, 3]], LENGTH // 4, axis=1).repeat(ROWS, axis=0)
    arrays = {
        "input_ids": random.integers(5, ENTRIES, (ROWS, LENGTH)),
        "input_mask": np.ones((ROWS, LENGTH)),
        "masked_lm_positions": positions,
        "masked_lm_ids": random.integers(5, ENTRIES, (ROWS, PREDICTIONS)),
        "masked_lm_weights": np.ones((ROWS, PREDICTIONS)),
        "next_sentence_labels": np.zeros(ROWS),
        "documents" if packed else "segment_ids": documents if packed else np.zeros((ROWS, LENGTH)),
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def steps_of(*, dynamic: bool, dropping: bool = False) -> Any:
    """Return a model's compiled steps."""
    from qarib_tasks.train.model.bert import PretrainingBert, initial_values
    from qarib_tasks.train.model.positions.dropping import Dropping
    from qarib_tasks.train.model.positions.masking import Masking
    from qarib_tasks.train.model.steps import make_steps

    bert = PretrainingBert(MODEL, ENTRIES, next_sentence=False)
    variables = bert.named_variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, value in initial_values(shapes, MODEL, 0).items():
        variables[name].assign(value)
    masking = None
    if dynamic:
        counts = np.minimum(np.arange(LENGTH + 1), PREDICTIONS).astype(np.int32)
        masking = Masking(counts, np.arange(5, ENTRIES, dtype=np.int32), mask=4, special=(2, 3))
    config = TrainConfig(train_batch_size=ROWS, learning_rate=1e-4, next_sentence=False)
    chosen = Dropping(LENGTH // 2, (2, 3), ENTRIES) if dropping else None
    return make_steps(bert, config, 0, masking=masking, dropping=chosen)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
    options = parser.parse_args()
    from qarib_tasks.train import runtime

    runtime.choose_backend(options.backend)
    runtime.make_deterministic()
    kinds = {
        "masks of the examples": (steps_of(dynamic=False), batch_of(packed=False)),
        "masks drawn in the step": (steps_of(dynamic=True), batch_of(packed=False)),
        "the same on packed rows": (steps_of(dynamic=True), batch_of(packed=True)),
        "and with token dropping": (steps_of(dynamic=True, dropping=True), batch_of(packed=True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(options.turns + 2):
        for name in list(kinds) if turn % 2 else list(kinds)[::-1]:
            steps, batch = kinds[name]
            started = time.process_time()
            float(steps.train(batch)["loss"])
            if turn > 1:  # The first ones compile.
                seconds[name].append(time.process_time() - started)
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        print(
            f"{name}: {1000 * statistics.median(values):.1f} ms of the processor, {ratio:.3f} times the first"
        )


if __name__ == "__main__":
    main()
