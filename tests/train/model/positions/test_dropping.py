"""Token dropping: which positions the middle layers compute, and what becomes of the others.

The same on JAX, on one and on eight devices: tests/train/model/test_steps.py; on several hosts:
tests/train/hosts/test_hosts.py.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.train.runtime import choose_backend

choose_backend()

import tensorflow as tf
from safetensors.numpy import load_file

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig, kept_positions
from qarib_tasks.errors import ConfigError
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.data.batches import Parser, heldout_examples
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.bert import MASKED_SCORE, PretrainingBert, build_model
from qarib_tasks.train.model.positions.dropping import BETA, FIRST_LOSS, Dropping, dropping_of
from qarib_tasks.train.model.steps import make_steps
from qarib_tasks.train.model.trained import TOKEN_LOSSES
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.evaluate import evaluate
from qarib_tasks.train.results.export import export
from tests.support.training_examples import TOKENS, make_job
from tests.support.training_steps import packed_and_alone, packed_job, with_dropping

CLS, SEP, ENTRIES = 2, 3, 64


def rows(count: int, length: int, seed: int, predictions: int) -> dict[str, np.ndarray]:
    """A batch of texts in two parts, of which some real words, also repeated ones, are to predict."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, 12, (count, length)).astype(np.int32)
    real = random.integers(6, length + 1, count)
    mask = (np.arange(length) < real[:, None]).astype(np.int32)
    ids[:, 0] = CLS
    ids[np.arange(count), real - 1] = SEP
    ids[np.arange(count), real // 2] = SEP
    ids *= mask
    positions = np.zeros((count, predictions), np.int32)
    weights = np.zeros_like(positions)
    for row in range(count):
        words = np.flatnonzero(ids[row] > 4)
        some = random.permutation(words)[: random.integers(0, predictions + 1)]
        positions[row, : len(some)], weights[row, : len(some)] = some, 1
    return {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": 0 * ids,
        "masked_lm_positions": positions,
        "masked_lm_ids": np.take_along_axis(ids, positions, axis=1) * weights,
        "masked_lm_weights": weights,
        "next_sentence_labels": np.zeros(count, np.int32),
    }


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(16, 70),
    share=st.floats(0.05, 0.6),
    predictions=st.integers(1, 3),
    seed=st.integers(0, 2**31 - 1),
)
def test_what_is_kept(length: int, share: float, predictions: int, seed: int) -> None:
    """Special and predicted positions always; then words by loss; padding last; ties by position."""
    kept = kept_positions(TrainConfig(token_dropping=share), length)
    batch = rows(5, length, seed, predictions)
    losses = np.random.default_rng(seed).choice([0, 0.5, 2, 2.001, 10, 31, 40], ENTRIES).astype(np.float32)
    found = Dropping(kept, (CLS, SEP), ENTRIES).chosen(batch, tf.constant(losses))
    assert {name: array for name, array in found.items() if name != "kept_positions"} == batch
    places = np.asarray(found["kept_positions"])
    assert (places.shape, places.dtype) == ((5, kept), np.int32)
    for row, own in enumerate(places):
        ids, mask = batch["input_ids"][row], batch["input_mask"][row]
        to_predict = set(batch["masked_lm_positions"][row][batch["masked_lm_weights"][row] == 1].tolist())
        assert to_predict | set(np.flatnonzero((ids == CLS) | (ids == SEP)).tolist()) <= set(own.tolist())

        predicted = np.isin(np.arange(length), list(to_predict))
        special = (ids == CLS) | (ids == SEP)
        loss = np.minimum(losses[ids], 32 - 1e-3)
        # From the least important position to the most important one; the last key counts most.
        order = np.lexsort((-np.arange(length), loss, mask, special, predicted))
        assert own.tolist() == sorted(order[-kept:].tolist())


def test_the_number_of_kept_positions_is_rounded_up() -> None:
    shares = {0.0: 64, 0.5: 32, 0.3: 45, 0.29: 46, 0.99: 1}
    for share, kept in shares.items():
        assert kept_positions(TrainConfig(token_dropping=share), 64) == kept
    assert kept_positions(TrainConfig(token_dropping=0.29), 100) == 71
    assert kept_positions(TrainConfig(token_dropping=0.7), 10) == 3


def test_losses_are_running_means_over_the_steps() -> None:
    dropping = Dropping(8, (CLS, SEP), ENTRIES)
    logits = tf.random.stateless_normal((6, ENTRIES), (1, 2))
    ids = np.array([[7, 9, 0], [7, 11, 7]], np.int32)
    weights = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    batch = {"masked_lm_ids": ids, "masked_lm_weights": weights}
    each = np.asarray(tf.nn.sparse_softmax_cross_entropy_with_logits(ids.ravel(), logits)).reshape(2, 3)
    seen = dropping.seen({"masked_lm": logits}, batch)
    parts = [
        dropping.seen({"masked_lm": logits[3 * n : 3 * n + 3]}, {k: v[n : n + 1] for k, v in batch.items()})
        for n in range(2)
    ]
    np.testing.assert_allclose(parts[0] + parts[1], seen, rtol=1e-6)
    first = dropping.first_losses()
    assert first.tolist() == [FIRST_LOSS] * ENTRIES
    once = np.asarray(dropping.updated(first, seen))
    twice = np.asarray(dropping.updated(once, seen))
    for entry, mean in ((7, each[weights * ids == 7].mean()), (9, each[0, 1]), (11, each[1, 1])):
        assert once[entry] == pytest.approx(BETA * FIRST_LOSS + (1 - BETA) * mean, rel=1e-6)
        assert twice[entry] == pytest.approx(BETA * once[entry] + (1 - BETA) * mean, rel=1e-6)
    others = np.setdiff1d(np.arange(ENTRIES), [7, 9, 11])
    assert (twice[others] == FIRST_LOSS).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dropping")


@pytest.fixture(scope="module")
def model(folder: Path) -> PretrainingBert:
    """Of five layers: 2 and 3 are in the middle. Its weights make attention matter."""
    job = packed_job(folder)
    return build_model(replace(job, model=replace(job.model, num_hidden_layers=5)), 64)


def test_what_the_middle_layers_leave_out_stays_as_it_is(model: PretrainingBert) -> None:
    assert list(model.config.middle_layers) == [2, 3]
    random = np.random.default_rng(1)
    hidden = random.standard_normal((3, 12, 16)).astype(np.float32)
    places = np.sort(random.permuted(np.tile(np.arange(12), (3, 1)), axis=1)[:, :7]).astype(np.int32)
    documents = np.sort(random.integers(1, 4, (3, 12)), axis=1).astype(np.int32)
    real = (np.arange(12) < np.array([12, 9, 5])[:, None]).astype(np.int32)
    for batch in ({"documents": documents, "input_mask": 0 * real + 1}, {"input_mask": real}):
        found = np.asarray(model.middle(hidden, batch | {"kept_positions": places}))
        assert found.shape == hidden.shape
        mask = documents[:, :, None] == documents[:, None] if "documents" in batch else real[:, None]
        scores = np.broadcast_to((1 - mask[:, None].astype(np.float32)) * MASKED_SCORE, (3, 1, 12, 12))
        for row, own in enumerate(places):
            left = np.setdiff1d(np.arange(12), own)
            np.testing.assert_array_equal(found[row, left], hidden[row, left])
            # The first layer reads all positions, the second one those that are kept.
            once = np.asarray(model.encoder[2](hidden[row : row + 1], scores[row : row + 1]))[:, own]
            twice = model.encoder[3](once, scores[row : row + 1][:, :, own][..., own])
            np.testing.assert_allclose(found[row, own], twice[0], atol=1e-5)
            assert np.abs(found[row, own] - hidden[row, own]).max() > 0.1


def test_all_positions_kept_is_no_dropping(model: PretrainingBert) -> None:
    packed, alone = packed_and_alone()
    for batch in (packed, alone):
        every = np.tile(np.arange(24, dtype=np.int32), (len(batch["input_ids"]), 1))
        expected = np.asarray(model.encode(batch))
        np.testing.assert_allclose(model.encode(batch | {"kept_positions": every}), expected, atol=1e-5)
        fewer = np.asarray(model.encode(batch | {"kept_positions": every[:, ::2]}))
        assert np.abs(fewer - expected).max() > 0.1


def test_documents_of_a_packed_row_are_kept_apart(model: PretrainingBert) -> None:
    """Another first document, with the same positions kept, changes no bit of the others."""
    packed, _ = packed_and_alone()
    losses = np.random.default_rng(3).random(ENTRIES).astype(np.float32)
    batch = Dropping(14, (CLS, SEP), ENTRIES).chosen(packed, tf.constant(losses))
    first = packed["documents"] == 1
    ids = np.where(first & (packed["input_ids"] > 3), 5 + (packed["input_ids"] + 7) % 59, packed["input_ids"])
    one, other = (np.asarray(model.encode(given)) for given in (batch, batch | {"input_ids": ids}))
    difference = np.abs(one - other).max(axis=-1)
    assert difference[first].min() > 1e-3
    assert not difference[~first].any()


def test_without_the_setting_nothing_is_dropped(folder: Path) -> None:
    job = with_dropping(folder, token_dropping=0.0)
    assert dropping_of(job, TOKENS) is None
    state = make_steps(build_model(job, 64), job.train, 1).state()
    assert not [name for name in state if "losses" in name]


def small_job(folder: Path, **settings: object) -> TrainingJob:
    job = make_job(folder, **({"token_dropping": 0.5} | settings))
    return replace(job, model=replace(job.model, num_hidden_layers=3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = small_job(tmp_path_factory.mktemp("trained"))
    train(job)
    return job


@pytest.fixture
def copy(trained: TrainingJob, tmp_path: Path) -> TrainingJob:
    return replace(trained, output=str(shutil.copytree(trained.output, tmp_path / "copy")))


def state(job: TrainingJob, step: int = 12) -> dict[str, np.ndarray]:
    return load_file(Output(job).checkpoints / f"checkpoint-{step}.safetensors")


def resume_at_eight(job: TrainingJob, **settings: object) -> dict[str, np.ndarray]:
    """Train the last four steps a second time, with other settings; the state after them."""
    for path in Output(job).checkpoints.glob("checkpoint-12*"):
        path.unlink()
    train(replace(job, train=replace(job.train, **settings)))  # type: ignore[arg-type]
    return state(job)


def test_a_resumed_training_ends_with_the_same_bits(trained: TrainingJob, copy: TrainingJob) -> None:
    expected, eight = state(trained), state(trained, 8)
    assert (eight[TOKEN_LOSSES] != FIRST_LOSS).sum() > 20
    assert (eight[TOKEN_LOSSES] != expected[TOKEN_LOSSES]).any()
    found = resume_at_eight(copy)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_it_can_be_turned_on_and_off_in_a_folder(trained: TrainingJob, copy: TrainingJob) -> None:
    """A checkpoint without losses begins with the first ones; one with them is read without them."""
    off = resume_at_eight(copy, token_dropping=0.0)
    assert TOKEN_LOSSES not in off
    weight = "bert/encoder/layer_1/output/dense/kernel"
    assert (off[weight] != state(trained)[weight]).any()
    assert (off["bert/pooler/dense/bias"] != state(trained, 8)["bert/pooler/dense/bias"]).any()
    without = Output(copy).checkpoints / "checkpoint-12.json"
    assert without.exists()
    on = replace(copy, train=replace(copy.train, train_steps=13))
    train(on)
    assert TOKEN_LOSSES in state(on, 13)


def test_evaluations_and_the_export_are_of_a_plain_bert(trained: TrainingJob, tmp_path: Path) -> None:
    output = Output(trained)
    index = Checkpoints(output, keep=3).newest()
    assert index is not None
    weights = Checkpoints(output, keep=3).weights(index)
    plain = build_model(replace(trained, train=replace(trained.train, token_dropping=0.0)), 64)
    assert weights.keys() == plain.named_variables().keys()
    for name, value in weights.items():
        plain.named_variables()[name].assign(value)
    batch = Parser(trained, 64)(heldout_examples(Shards(trained.heldout_data, tmp_path), 48))
    counts = plain.counts_of(plain(batch), batch)
    loss = float(counts["masked_lm_loss_sum"] / counts["predictions"])
    assert evaluate(trained)["masked_lm_loss"] == pytest.approx(loss, rel=1e-4)
    export(trained)
    exported = load_file(output.export / "model.safetensors")
    assert not [name for name in exported if not name.startswith(("bert.", "cls."))]
    assert (
        "| Token dropping | 50% of the positions, in the middle layers |"
        in (output.export / "README.md").read_text()
    )
    # Another training starts from its weights alone.
    further = replace(
        small_job(tmp_path, start_from=trained.output, token_dropping=0.0), vocab_file=trained.vocab_file
    )
    train(further)
    assert TOKEN_LOSSES not in state(further)


def test_settings_that_cannot_drop_are_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    for changed, message in (
        (replace(job, model=replace(job.model, num_hidden_layers=2)), "needs 3 layers or more.* is 2"),
        (replace(job, train=replace(job.train, token_dropping=0.8)), "keeps 4 of 16 positions.* at least 5"),
        (replace(job, train=replace(job.train, token_dropping=0.05)), "keeps 16 of 16 positions; keep fewer"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(changed)
