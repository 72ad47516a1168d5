"""Measure the training step on this CPU in sequences per second, and compare it with transformers on torch.

    python benchmarks/training.py [--model small base] [--steps 10]

The peer is transformers' BertForPreTraining. Both train on the same random batches of length 64 with ten
predictions per sequence, with dropout, gradients clipped at norm 1.0, and AdamW with decay, in float32, each
in a separate process on all cores. `small` has hidden size 256, 4 layers and 4 heads with batch 64, `base` is
BERT-base with batch 32; the vocabulary has 64,000 entries. Needs torch (requirements/torch.in) and an
otherwise idle machine.

Prints the median of the steps after the first two, the rate of the model's matrix products relative to this
machine's fastest float32 matrix product (to compare machines), CPU seconds per sequence (the better
comparison on a busy machine), the peak memory, and the ratio of ours to the peer. The exit status is 1 if
ours is slower.

    python benchmarks/training.py --input

measures only how many examples a thread reads, shuffles and parses per CPU second, at two batch sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import TrainingShape

VOCAB_SIZE, LENGTH, PREDICTIONS = 64_000, 64, 10
MODELS = {
    "small": (
        ModelConfig(num_hidden_layers=4, hidden_size=256, num_attention_heads=4, intermediate_size=1024),
        64,
    ),
    "base": (ModelConfig(), 32),
}
SETTINGS = {"learning_rate": 1e-4, "train_steps": 10_000, "num_warmup_steps": 10}


def batch_of(size: int) -> dict[str, np.ndarray]:
    """Return the arrays of a batch of random words, like those of the trainer."""
    random = np.random.default_rng(0)
    positions = np.sort(random.permuted(np.tile(np.arange(1, LENGTH), (size, 1)), axis=1)[:, :PREDICTIONS])
    arrays = {
        "input_ids": random.integers(5, VOCAB_SIZE, (size, LENGTH)),
        "input_mask": np.ones((size, LENGTH)),
        "segment_ids": np.tile(np.arange(LENGTH) >= LENGTH // 2, (size, 1)),
        "masked_lm_positions": positions,
        "masked_lm_ids": random.integers(5, VOCAB_SIZE, (size, PREDICTIONS)),
        "masked_lm_weights": np.ones((size, PREDICTIONS)),
        "next_sentence_labels": random.integers(0, 2, size),
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def ours(model: ModelConfig, size: int, backend: str, precision: str) -> Callable[[], float]:
    """Return a function that runs one training step of `qarib train` and returns the loss."""
    from qarib_tasks.train import runtime

    runtime.choose_backend(backend)
    runtime.make_deterministic()
    from qarib_tasks.train.model.bert import PretrainingBert, initial_values
    from qarib_tasks.train.model.steps import make_steps

    bert = PretrainingBert(model, VOCAB_SIZE, precision=precision)
    variables = bert.named_variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, value in initial_values(shapes, model, 0).items():
        variables[name].assign(value)
    steps = make_steps(bert, TrainConfig(train_batch_size=size, **SETTINGS), seed=0)  # type: ignore[arg-type]
    batch = batch_of(size)
    return lambda: float(steps.train(batch)["loss"])


def peer(model: ModelConfig, size: int) -> Callable[[], float]:
    """Return a function that runs the same step with transformers and torch."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    from qarib_tasks.config.loading import to_dict

    torch.manual_seed(0)
    bert = BertForPreTraining(BertConfig(vocab_size=VOCAB_SIZE, **to_dict(model))).train()
    optimizer = torch.optim.AdamW(bert.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    batch = {name: torch.tensor(array, dtype=torch.long) for name, array in batch_of(size).items()}
    labels = torch.full((size, LENGTH), -100).scatter(1, batch["masked_lm_positions"], batch["masked_lm_ids"])

    def step() -> float:
        optimizer.zero_grad()
        loss = bert(
            input_ids=batch["input_ids"],
            attention_mask=batch["input_mask"],
            token_type_ids=batch["segment_ids"],
            labels=labels,
            next_sentence_label=batch["next_sentence_labels"],
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
        optimizer.step()
        return float(loss)

    return step


def measure(step: Callable[[], float], size: int, steps: int) -> dict[str, float]:
    """Measure a training step.

    Returns:
        sequences per second (median), CPU seconds per sequence (which vary little on a busy machine), seconds
        of the first step, the peak memory in GB, and the last loss.
    """
    seconds, processor, loss = [], [], 0.0
    for _ in range(steps + 2):
        started, used = time.perf_counter(), time.process_time()
        loss = step()
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return {
        "sequences_per_second": size / float(np.median(seconds[2:])),
        "processor_seconds": float(np.median(processor[2:])) / size,
        "first_step_seconds": seconds[0],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "loss": loss,
    }


def read_input(batch: int, examples: int = 131_072) -> float:
    """Return the CPU seconds of a batch of the trainer's input."""
    import tensorflow as tf

    from qarib_tasks.config.training.job import TrainingJob
    from qarib_tasks.storage.tfrecord import frame
    from qarib_tasks.train.data.batches import ExampleStream, Parser, Position
    from qarib_tasks.train.data.shards import Shards

    tf.config.threading.set_intra_op_parallelism_threads(1)
    arrays = batch_of(5_000)
    for name in ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"):  # as published: 20, 10 used
        arrays[name] = np.pad(arrays[name], ((0, 0), (0, PREDICTIONS)))
    arrays["segment_ids"][:, 0] = 0
    arrays["next_sentence_labels"] = arrays["next_sentence_labels"][:, None]
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "shard_0000.tfrecord").open("wb") as file:
            for row in range(5_000):
                feature = {name: _feature(tf, name, array[row]) for name, array in arrays.items()}
                features = tf.train.Features(feature=feature)
                file.write(frame(tf.train.Example(features=features).SerializeToString()))
        job = TrainingJob(training_data=folder, heldout_data=folder, vocab_file="-", output="-")
        stream = ExampleStream(Shards(folder, Path(folder)), window=job.train.shuffle_window, seed=0)
        parse, batches = Parser(job, VOCAB_SIZE), stream.batches(Position(), batch)
        parse(next(batches)[0])
        used = time.process_time()
        for _ in range(examples // batch):
            parse(next(batches)[0])
        return (time.process_time() - used) / (examples // batch)


def _feature(tf: Any, name: str, values: np.ndarray) -> Any:
    if name == "masked_lm_weights":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def fastest_product() -> float:
    """Return the operations per second of torch's float32 product of 2,048 by 2,048: the best of twelve."""
    import torch

    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(seconds)


def flops_of(name: str) -> float:
    """Return the operations of the matrix products of one sequence, forward and backward."""
    model, size = MODELS[name]
    shape = TrainingShape(
        model=model, vocab_size=VOCAB_SIZE, batch=size, length=LENGTH, predictions=PREDICTIONS
    )
    return shape.flops / size


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--only", choices=("ours", "peer"), help="measure one, in this process; print JSON")
    parser.add_argument("--input", action="store_true", help="measure only the input")
    arguments = parser.parse_args()
    if arguments.input:
        for size in (64, 1_024):
            seconds = read_input(size)
            print(f"batch {size:,}: {1000 * seconds:.1f} ms, {size / seconds:,.0f} examples per CPU second")
        return 0
    if arguments.only:
        model, size = MODELS[arguments.model[0]]
        if arguments.only == "ours":
            step = ours(model, size, arguments.backend, arguments.precision)
        else:
            step = peer(model, size)
        print(json.dumps(measure(step, size, arguments.steps)))
        return 0
    slower = False
    peak = fastest_product()
    print(f"fastest float32 matrix product here: {peak / 1e9:.0f} GFLOP/s", flush=True)
    for name in arguments.model:
        results = {}
        for which in ("ours", "peer"):
            command = [sys.executable, __file__, *sys.argv[1:], "--model", name, "--only", which]
            root = str(Path(__file__).resolve().parent.parent)
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
            }
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            result = results[which] = json.loads(done.stdout.splitlines()[-1])
            title = f"ours ({arguments.backend})" if which == "ours" else "transformers, torch"
            print(
                f"{name}, batch {MODELS[name][1]}: {title:20} "
                f"{result['sequences_per_second']:6.2f} sequences/s, "
                f"{result['sequences_per_second'] * flops_of(name) / peak:.0%} of the fastest product "
                f"({result['processor_seconds']:.3f} CPU seconds per sequence), "
                f"peak {result['peak_gb']:.1f} GB, first step {result['first_step_seconds']:.0f} s",
                flush=True,
            )
        ratio = results["ours"]["sequences_per_second"] / results["peer"]["sequences_per_second"]
        work = results["peer"]["processor_seconds"] / results["ours"]["processor_seconds"]
        print(f"{name}: ours is {ratio:.2f} times as fast ({work:.2f} by CPU seconds)", flush=True)
        slower = slower or ratio < 1
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
