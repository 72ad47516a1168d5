"""Trains a small model for some steps on fixed batches; as a program, on JAX with eight simulated devices.

The program prints a JSON object: by the name of a case the figures of each step. It is one of its own because
a process holds one backend and one number of devices.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.training import TrainingJob
from qarib_tasks.train.runtime import choose_backend

BATCH = 16


def job_of(folder: Path, *, dropout: float = 0.0, steps: int = 50, **train: object) -> TrainingJob:
    from tests.support.training_examples import make_job

    settings: dict[str, object] = {"train_batch_size": BATCH, "train_steps": steps, "num_warmup_steps": 5}
    job = make_job(folder, **(settings | train))
    model = replace(job.model, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    return replace(job, model=model)


def masks(job: TrainingJob) -> dict[str, list[Any]]:
    """A batch of the job with masks that are drawn, of single wordpieces and of whole words."""
    from keras import ops

    from qarib_tasks.train.model.masking import masking_of
    from tests.support.training_examples import TOKENS

    found = {}
    for whole in (False, True):
        train = replace(job.train, masking="dynamic", masked_lm_prob=0.3, whole_words=whole)
        masking = masking_of(replace(job, train=train), [*TOKENS[:32], *(f"##{n}" for n in TOKENS[32:])])
        assert masking is not None
        drawn = masking.drawn(next(batches(job)), ops.convert_to_tensor(np.array([1, 2], np.uint32)))
        found |= {f"{name}, {whole}": np.asarray(array).tolist() for name, array in drawn.items()}
    return found


def changed(job: TrainingJob) -> TrainingJob:
    return replace(job, random_seed=7, train=replace(job.train, learning_rate=3 * job.train.learning_rate))


def batches(job: TrainingJob) -> Iterator[dict[str, np.ndarray]]:
    from qarib_tasks.train.data.batches import ExampleStream, Parser, Position
    from qarib_tasks.train.data.shards import Shards

    stream = ExampleStream(Shards(job.training_data, Path(job.output)), window=64, seed=1)
    parse = Parser(job, 64)
    for records, _ in stream.batches(Position(), job.train.train_batch_size):
        yield parse(records)


def figures(job: TrainingJob, **arguments: Any) -> list[dict[str, float]]:
    """The figures of each of the job's steps; the last entry is the norm of the weights behind them."""
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.masking import masking_of
    from qarib_tasks.train.model.steps import make_steps
    from tests.support.training_examples import TOKENS

    model, masking = build_model(job, 64), masking_of(job, TOKENS)
    if arguments:
        from qarib_tasks.train.model.steps_jax import JaxSteps

        steps: Any = JaxSteps(model, job.train, job.random_seed, masking=masking, **arguments)
    else:
        steps = make_steps(model, job.train, job.random_seed, masking=masking)
    result = []
    for batch, _ in zip(batches(job), range(job.train.train_steps), strict=False):
        result.append({name: float(value) for name, value in steps.train(batch).items()})
    weights = [v for n, v in steps.state().items() if not n.endswith(("/adam_m", "/adam_v", "global_step"))]
    result.append({"weights": float(np.sqrt(sum(float(np.square(w).sum()) for w in weights)))})
    return result


def restarted(job: TrainingJob, other: TrainingJob) -> list[list[dict[str, float]]]:
    """The figures of each step of two jobs, which differ in seed and rate, on one compiled step."""
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.steps import make_steps

    start = {name: np.asarray(v) for name, v in build_model(other, 64).named_variables().items()}
    steps = make_steps(build_model(job, 64), job.train, job.random_seed, restartable=True)
    given = [batch for batch, _ in zip(batches(job), range(job.train.train_steps), strict=False)]
    first = [dict(steps.train(batch)) for batch in given]
    steps.restart(start, other.random_seed, other.train.learning_rate)
    second = [dict(steps.train(batch)) for batch in given]
    return [[{n: float(v) for n, v in each.items()} for each in some] for some in (first, second)]


def texts() -> dict[str, np.ndarray]:
    """13 texts of different lengths, the last one without a position to average."""
    lengths = np.array([*range(3, 15), 2])[:, None]
    places = np.arange(16)[None]
    mask = (places < lengths).astype(np.int32)
    ids = np.random.default_rng(2).integers(5, 64, (13, 16)).astype(np.int32) * mask
    averaged = mask * (places > 0) * (places < lengths - 1)
    return {"input_ids": ids, "input_mask": mask, "segment_ids": 0 * ids, "averaged": averaged}


def largest_difference_of_predictions(steps: Any, model: Any, batch: dict[str, np.ndarray]) -> float:
    """Between the logits of trained steps and those of a model that was given their weights."""
    state = steps.state()
    for name, variable in model.named_variables().items():
        variable.assign(state[name])
    return float(np.abs(steps.predict(batch) - np.asarray(model(batch, training=False)["masked_lm"])).max())


def main(folder: Path) -> None:
    """Also goes on from TensorFlow's state after three steps, in `folder`, and tries a batch of 12."""
    import jax

    from qarib_tasks.errors import ConfigError
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.steps import make_steps
    from qarib_tasks.train.model.steps_jax import JaxSteps

    devices = jax.devices()
    assert len(devices) == 8
    job, dropped = job_of(folder), job_of(folder, dropout=0.1, steps=10)
    mixed = replace(job, train=replace(job.train, precision="bfloat16"))
    cases: dict[str, Any] = {
        "one": figures(job, devices=devices[:1]),
        "eight": figures(job),
        "one, dropout": figures(dropped, devices=devices[:1]),
        "eight, dropout": figures(dropped),
        "one, bfloat16": figures(mixed, devices=devices[:1]),
    }
    steps = make_steps(build_model(job, 64), job.train, job.random_seed)
    state = dict(np.load(folder / "state.npz"))
    steps.restore(state)
    cases["same state"] = all(np.array_equal(value, state[name]) for name, value in steps.state().items())
    given = [batch for batch, _ in zip(batches(job), range(6), strict=False)][3:]
    cases["from the state"] = [float(steps.train(batch)["loss"]) for batch in given]
    one = JaxSteps(build_model(job, 64), job.train, job.random_seed, devices=devices[:1])
    one.restore(steps.state())
    thirteen = {name: array[:13] for name, array in given[0].items()}
    cases["evaluation"] = [
        {name: float(value) for name, value in each.evaluate(thirteen).items()} for each in (steps, one)
    ]
    cases["embeddings"] = [each.embed(texts()).tolist() for each in (one, steps)]
    several = JaxSteps(build_model(dropped, 64), dropped.train, dropped.random_seed)
    all_batches = [batch for batch, _ in zip(batches(dropped), range(10), strict=False)]
    parts = [several.train_several(part) for part in (all_batches[:1], all_batches[1:5], all_batches[5:])]
    cases["several a call"] = [{n: float(v) for n, v in each.items()} for part in parts for each in part]
    own_masks = job_of(folder, dropout=0.1, steps=10, masking="dynamic", masked_lm_prob=0.3)
    cases["one, own masks"] = figures(own_masks, devices=devices[:1])
    cases["eight, own masks"] = figures(own_masks)
    cases["masks"] = masks(job)
    cases["restarted"] = restarted(dropped, changed(dropped))
    cases["prediction"] = largest_difference_of_predictions(steps, build_model(job, 64), given[0])
    whole = replace(job_of(folder, steps=6, save_checkpoints_steps=3), output=str(folder / "whole"))
    train(whole)
    cases["progress"] = json.loads((folder / "whole" / "progress.json").read_text())
    try:
        figures(replace(job, train=replace(job.train, train_batch_size=12)))
    except ConfigError as error:
        cases["batch of 12"] = str(error)
    print(json.dumps(cases))


if __name__ == "__main__":
    choose_backend("jax")
    main(Path(sys.argv[1]))
