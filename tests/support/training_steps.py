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

from qarib_tasks.config.training.job import TrainingJob
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

    from qarib_tasks.train.model.positions.masking import masking_of
    from tests.support.training_examples import TOKENS

    found = {}
    for whole in (False, True):
        train = replace(job.train, masking="dynamic", masked_lm_prob=0.3, whole_words=whole)
        masking = masking_of(replace(job, train=train), [*TOKENS[:32], *(f"##{n}" for n in TOKENS[32:])])
        assert masking is not None
        drawn = masking.drawn(next(batches(job)), ops.convert_to_tensor(np.array([1, 2], np.uint32)))
        found |= {f"{name}, {whole}": np.asarray(array).tolist() for name, array in drawn.items()}
    return found


# Every setting of the optimizer and the schedule, other than BERT's.
OTHER_OPTIMIZER = {
    "warmup_share": 0.3,
    "num_warmup_steps": 10,
    "schedule": "wsd",
    "decay_share": 0.4,
    "decay_floor": 0.1,
    "bias_correction": True,
    "beta_1": 0.8,
    "beta_2": 0.98,
    "epsilon": 1e-8,
    "weight_decay": 0.1,
    "clip_norm": 0.0,
}


def with_other_optimizer(folder: Path, parts: int) -> TrainingJob:
    """A job with dropout, whose batches are computed in parts with different numbers of predictions."""
    masks = {"masking": "dynamic", "masked_lm_prob": 0.3, "whole_words": True}
    return job_of(folder, dropout=0.1, steps=10, accumulation_steps=parts, **masks, **OTHER_OPTIMIZER)


def with_dropping(folder: Path, parts: int = 1, **train: object) -> TrainingJob:
    """A job with dropout and masks that are drawn, whose two middle layers compute half of the positions.

    Its weights begin large, so that a position that is left out shows in the loss.
    """
    masks = {"masking": "dynamic", "masked_lm_prob": 0.3}
    settings = {"token_dropping": 0.5, "accumulation_steps": parts, "bias_correction": True}
    job = job_of(folder, dropout=0.1, steps=10, **masks, **(settings | train))
    return replace(job, model=replace(job.model, num_hidden_layers=4, initializer_range=0.3))


def changed(job: TrainingJob) -> TrainingJob:
    return replace(job, random_seed=7, train=replace(job.train, learning_rate=3 * job.train.learning_rate))


def batches(job: TrainingJob) -> Iterator[dict[str, np.ndarray]]:
    from qarib_tasks.train.data.batches import ExampleStream, Parser, Position
    from qarib_tasks.train.data.shards import Shards

    stream = ExampleStream(Shards(job.training_data, Path(job.output)), window=64, seed=1)
    parse = Parser(job, 64)
    for records, _ in stream.batches(Position(), job.train.train_batch_size):
        yield parse(records)


def steps_of(job: TrainingJob, **arguments: Any) -> Any:
    """The job's compiled steps, with the weights of its seed; with arguments, a `JaxSteps` that has them."""
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.positions.dropping import dropping_of
    from qarib_tasks.train.model.positions.masking import masking_of
    from qarib_tasks.train.model.steps import make_steps
    from tests.support.training_examples import TOKENS

    model = build_model(job, 64)
    chosen: Any = {"masking": masking_of(job, TOKENS), "dropping": dropping_of(job, TOKENS)}
    if not arguments:
        return make_steps(model, job.train, job.random_seed, **chosen)
    from qarib_tasks.train.model.steps_jax import JaxSteps

    return JaxSteps(model, job.train, job.random_seed, **chosen, **arguments)


def figures(job: TrainingJob, **arguments: Any) -> list[dict[str, float]]:
    """`figures_of` the job's steps."""
    return figures_of(steps_of(job, **arguments), job)


def figures_of(steps: Any, job: TrainingJob) -> list[dict[str, float]]:
    """The figures of each of the job's steps; the last entry is the norm of the weights after them.

    With token dropping, it also has the sum of the entries' losses.
    """
    from qarib_tasks.train.model.trained import TOKEN_LOSSES, is_weight

    result = []
    for batch, _ in zip(batches(job), range(job.train.train_steps), strict=False):
        result.append({name: float(value) for name, value in steps.train(batch).items()})
    state = steps.state()
    weights = [value for name, value in state.items() if is_weight(name)]
    result.append({"weights": float(np.sqrt(sum(float(np.square(w).sum()) for w in weights)))})
    if TOKEN_LOSSES in state:
        result[-1][TOKEN_LOSSES] = float(state[TOKEN_LOSSES].sum())
    return result


def in_calls(steps: Any, job: TrainingJob) -> list[dict[str, float]]:
    """The figures of ten steps, the first in a call of its own, then three a call."""
    given = [batch for batch, _ in zip(batches(job), range(10), strict=False)]
    parts = [steps.train_several(given[start:end]) for start, end in ((0, 1), (1, 4), (4, 7), (7, 10))]
    return [{name: float(value) for name, value in each.items()} for part in parts for each in part]


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


def packed_and_alone() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Eight packed rows, and the same 29 documents one per row; most documents have two masked words."""
    random = np.random.default_rng(4)
    rows, alone = [], []
    for _ in range(8):
        row: dict[str, list[int]] = {"input_ids": [], "documents": [], "positions": [], "labels": []}
        for number, length in enumerate(random.permutation([2, 3, 4, 5])[: random.integers(3, 5)]):
            ids = [2, *random.integers(5, 64, length), 3]
            places = random.permutation(length)[: 2 * (number < 3)] + 1
            one = {"input_ids": ids, "documents": [1] * len(ids)}
            alone.append(one | {"positions": places, "labels": [ids[place] for place in places]})
            row["positions"] += [len(row["input_ids"]) + place for place in places]
            row["labels"] += [ids[place] for place in places]
            row["input_ids"] += ids
            row["documents"] += [number + 1] * len(ids)
        rows.append(row)
    packed = _batch(rows)
    batch = _batch(alone)
    batch["segment_ids"] = 0 * batch.pop("documents")
    return packed, batch


def _batch(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of 24 places and six predictions; a label's place holds [MASK]."""

    def padded(name: str, size: int) -> np.ndarray:
        return np.array([[*row[name], *[0] * (size - len(row[name]))] for row in rows], np.int32)

    ids, positions = padded("input_ids", 24), padded("positions", 6)
    for row, own in zip(ids, rows, strict=True):
        row[own["positions"]] = 4
    return {
        "input_ids": ids,
        "input_mask": (ids > 0).astype(np.int32),
        "documents": padded("documents", 24),
        "masked_lm_positions": positions,
        "masked_lm_ids": padded("labels", 6),
        "masked_lm_weights": (positions > 0).astype(np.int32),
        "next_sentence_labels": np.zeros(len(rows), np.int32),
    }


def packed_job(folder: Path) -> TrainingJob:
    """Two layers, so that a layer reads what the other mixed, with weights that make attention matter."""
    job = job_of(folder, next_sentence=False)
    return replace(job, model=replace(job.model, num_hidden_layers=2, initializer_range=0.5))


def packed_figures(job: TrainingJob, **arguments: Any) -> dict[str, dict[str, float]]:
    """The figures of a training step on packed rows and on their documents, and of logits.

    `leak` is how far the logits of the other documents change with the first document of each row, `change`
    how far its own do.
    """
    steps = steps_of(job, **arguments)
    packed, alone = packed_and_alone()
    first = packed["documents"] == 1
    words = first & (packed["input_ids"] > 3)
    other = packed | {"input_ids": np.where(words, 5 + (packed["input_ids"] + 7) % 59, packed["input_ids"])}
    difference = np.abs(steps.predict(packed) - steps.predict(other)).max(axis=-1).reshape(8, -1)
    of_first = np.take_along_axis(first, packed["masked_lm_positions"], axis=1)
    real = packed["masked_lm_weights"] > 0
    start, result = steps.state(), {}
    for name, batch in (("packed", packed), ("alone", alone)):
        steps.restore(start)
        result[name] = {figure: float(value) for figure, value in steps.train(batch).items()}
    result["logits"] = {
        "leak": float(difference[real & ~of_first].max()),
        "change": float(difference[real & of_first].min()),
    }
    return result


def check_packed(found: dict[str, dict[str, float]]) -> None:
    """Require what `packed_figures` returns to be those of documents that are kept apart."""
    packed, alone, logits = (found[name] for name in ("packed", "alone", "logits"))
    assert packed["predictions"] == alone["predictions"] > 40
    for name in ("loss", "masked_lm_loss_sum", "gradient_norm"):
        assert abs(packed[name] - alone[name]) <= 1e-5 * alone[name], name
    assert logits["leak"] == 0
    assert logits["change"] > 1e-3


def largest_difference_of_predictions(steps: Any, model: Any, batch: dict[str, np.ndarray]) -> float:
    """Between the logits of trained steps and those of a model that was given their weights."""
    state = steps.state()
    for name, variable in model.named_variables().items():
        variable.assign(state[name])
    return float(np.abs(steps.predict(batch) - np.asarray(model(batch, training=False)["masked_lm"])).max())


def sharded_state(job: TrainingJob, state: dict[str, np.ndarray]) -> dict[str, Any]:
    """Whether a state passes through steps that divide it, and which share of the averages a device has."""
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.steps_jax import JaxSteps

    steps = JaxSteps(build_model(job, 64), job.train, job.random_seed)
    steps.restore(state)
    same = all(np.array_equal(value, state[name]) for name, value in steps.state().items())
    shares = [
        sum(array.addressable_shards[0].data.nbytes for array in averages.values())
        / sum(array.nbytes for array in averages.values())
        for averages in (steps._state["first"], steps._state["second"], steps._state["weights"])
    ]
    return {"same": same, "shares": shares}


def main(folder: Path) -> None:
    """Also goes on from TensorFlow's state after three steps, in `folder`, and tries a batch of 12."""
    import jax

    from qarib_tasks.errors import ConfigError
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.model.bert import build_model

    devices = jax.devices()
    assert len(devices) == 8
    job, dropped = job_of(folder), job_of(folder, dropout=0.1, steps=10)
    mixed = replace(job, train=replace(job.train, precision="bfloat16"))
    one, eight, eight_dropped = steps_of(job, devices=devices[:1]), steps_of(job), steps_of(dropped)
    start = eight_dropped.state()
    cases: dict[str, Any] = {
        "one": figures_of(one, job),
        "eight": figures_of(eight, job),
        "one, dropout": figures(dropped, devices=devices[:1]),
        "eight, dropout": figures_of(eight_dropped, dropped),
        "one, bfloat16": figures(mixed, devices=devices[:1]),
        "one, four parts": figures(with_other_optimizer(folder, 4), devices=devices[:1]),
        "eight, two parts": figures(with_other_optimizer(folder, 2)),
    }
    state = dict(np.load(folder / "state.npz"))
    eight.restore(state)
    cases["same state"] = all(np.array_equal(value, state[name]) for name, value in eight.state().items())
    given = [batch for batch, _ in zip(batches(job), range(6), strict=False)][3:]
    cases["from the state"] = [float(eight.train(batch)["loss"]) for batch in given]
    one.restore(eight.state())
    thirteen = {name: array[:13] for name, array in given[0].items()}
    cases["evaluation"] = [
        {name: float(value) for name, value in each.evaluate(thirteen).items()} for each in (eight, one)
    ]
    cases["embeddings"] = [each.embed(texts()).tolist() for each in (one, eight)]
    eight_dropped.restore(start)
    cases["several a call"] = in_calls(eight_dropped, dropped)
    own_masks = job_of(folder, dropout=0.1, steps=10, masking="dynamic", masked_lm_prob=0.3)
    cases["one, own masks"] = figures(own_masks, devices=devices[:1])
    cases["eight, own masks"] = figures(own_masks)
    cases["masks"] = masks(job)
    cases["one, dropping"] = figures(with_dropping(folder), devices=devices[:1])
    cases["eight, dropping"] = figures(with_dropping(folder, 2, shard_optimizer=True))
    sharded = replace(job, train=replace(job.train, shard_optimizer=True))
    cases["eight, sharded"] = figures(sharded)
    cases["sharded state"] = sharded_state(sharded, state)
    cases["restarted"] = restarted(dropped, changed(dropped))
    cases["prediction"] = largest_difference_of_predictions(eight, build_model(job, 64), given[0])
    whole = replace(job_of(folder, steps=6, save_checkpoints_steps=3), output=str(folder / "whole"))
    train(whole)
    cases["progress"] = json.loads((folder / "whole" / "progress.json").read_text())
    cases["packed"] = packed_figures(packed_job(folder), devices=devices[:1])
    for name, settings in {
        "batch of 12": replace(job.train, train_batch_size=12),
        "four parts on eight": replace(job.train, accumulation_steps=4),
    }.items():
        try:
            figures(replace(job, train=settings))
        except ConfigError as error:
            cases[name] = str(error)
    print(json.dumps(cases))


if __name__ == "__main__":
    choose_backend("jax")
    main(Path(sys.argv[1]))
