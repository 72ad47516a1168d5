"""Trains in one process what several hosts would train together: the figures that theirs are compared with.

A program of its own, `python -m tests.support.training_hosts CONFIG HOSTS`, on JAX. It prints the loss of
each step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.runtime import choose_backend


def main(config: Path, hosts: int) -> None:
    from qarib_tasks.train.data.batches import ExampleStream, Parser, Position
    from qarib_tasks.train.data.shards import Shards
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.positions.dropping import dropping_of
    from qarib_tasks.train.model.positions.masking import masking_of
    from qarib_tasks.train.model.steps import make_steps
    from tests.support.training_examples import TOKENS

    job = from_dict(TrainingJob, load_yaml(config), config)
    masking, dropping = masking_of(job, TOKENS), dropping_of(job, TOKENS)
    model = build_model(job, 64)
    steps = make_steps(model, job.train, job.random_seed, masking=masking, dropping=dropping)
    parse, shards = Parser(job, 64), Shards(job.training_data, Path(job.output))
    size, window = job.train.train_batch_size // hosts, job.train.shuffle_window
    streams = [
        ExampleStream(shards, window=window, seed=job.random_seed, host=host, hosts=hosts).batches(
            Position(), size
        )
        for host in range(hosts)
    ]
    losses = []
    for _ in range(job.train.train_steps):
        parts = [parse(next(stream)[0]) for stream in streams]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        losses.append(float(steps.train(whole)["loss"]))
    print(json.dumps(losses))


if __name__ == "__main__":
    choose_backend("jax")
    main(Path(sys.argv[1]), int(sys.argv[2]))
