"""Masks that are drawn while training: which positions, how many, and what replaces them.

The same masks on JAX, on one and on eight devices: tests/train/model/test_steps.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.train.runtime import choose_backend

choose_backend()

import tensorflow as tf

from qarib_tasks.config.conversion import masked_positions
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.train.model.positions.masking import Masking, masking_of
from tests.support.training_examples import make_job

MASK, CLS, SEP, ENTRIES = 4, 2, 3, 300
STARTS = np.arange(ENTRIES) % 3 != 0  # every third entry continues a word


def masking(length: int, share: float = 0.15, **options: Any) -> Masking:
    counts = [masked_positions(real, share, length) for real in range(length + 1)]
    entries = np.arange(ENTRIES, dtype=np.int32)
    return Masking(np.array(counts, np.int32), entries, MASK, (CLS, SEP), **options)


def rows(count: int, length: int, seed: int, most: int = 5) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A batch with masks of its own, and the wordpieces without them: texts in one or two parts."""
    random = np.random.default_rng(seed)
    original = random.integers(5, ENTRIES, (count, length)).astype(np.int32)
    real = random.integers(3, length + 1, count)
    mask = (np.arange(length) < real[:, None]).astype(np.int32)
    original[:, 0] = CLS
    original[np.arange(count), real - 1] = SEP
    original[np.arange(count), random.integers(1, real)] = SEP
    original *= mask
    batch = {name: np.zeros((count, most), np.int32) for name in ("positions", "ids", "weights")}
    ids = original.copy()
    for row in range(count):
        allowed = np.flatnonzero(original[row] >= 5)
        places = np.sort(random.permutation(allowed)[: random.integers(0, most + 1)])
        batch["positions"][row, : len(places)] = places
        batch["ids"][row, : len(places)] = original[row, places]
        batch["weights"][row, : len(places)] = 1
        ids[row, places] = random.choice([MASK, 7], len(places))
    named = {f"masked_lm_{name}": array for name, array in batch.items()}
    given = {"input_ids": ids, "input_mask": mask, "segment_ids": 0 * ids, **named}
    return given | {"next_sentence_labels": np.zeros(count, np.int32)}, original


def drawn(how: Masking, batch: dict[str, np.ndarray], key: tuple[int, int] = (1, 0)) -> dict[str, np.ndarray]:
    found = how.drawn(batch, tf.constant(key, tf.uint32))
    return {name: np.asarray(value) for name, value in found.items()}


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(8, 70),
    share=st.sampled_from([0.01, 0.15, 0.3, 0.6, 0.99]),
    seed=st.integers(0, 2**31 - 1),
    whole=st.booleans(),
    all_mask=st.booleans(),
)
def test_as_many_as_asked_and_never_a_special_position(
    length: int, share: float, seed: int, whole: bool, all_mask: bool
) -> None:
    how = masking(length, share, all_mask=all_mask, starts=STARTS if whole else None)
    batch, original = rows(6, length, seed)
    found = drawn(how, batch, (seed, 256))
    assert found.keys() == batch.keys()
    assert found["masked_lm_positions"].shape == (6, how.predictions)
    for row in range(6):
        used = found["masked_lm_weights"][row] == 1
        places = found["masked_lm_positions"][row]
        allowed = np.flatnonzero(original[row] >= 5)
        wanted = min(masked_positions(int(batch["input_mask"][row].sum()), share, length), len(allowed))
        assert (used.sum() <= wanted) if whole else (used.sum() == wanted)
        assert len(set(places[used])) == used.sum()
        assert set(places[used]) <= set(allowed)
        np.testing.assert_array_equal(found["masked_lm_ids"][row][used], original[row, places[used]])
        for name in ("positions", "ids", "weights"):
            assert not found[f"masked_lm_{name}"][row][~used].any()
        others = np.setdiff1d(np.arange(length), places[used])
        np.testing.assert_array_equal(found["input_ids"][row, others], original[row, others])
        if all_mask:
            assert (found["input_ids"][row, places[used]] == MASK).all()
        if whole:
            word = np.cumsum(STARTS[original[row]] | (original[row] < 5))
            for chosen in set(word[places[used]]):
                assert set(np.flatnonzero((word == chosen) & (original[row] >= 5))) <= set(places[used])


def test_what_becomes_of_the_chosen_and_which_are_chosen() -> None:
    """80% are masked, 10% are random, 10% stay; each wordpiece is chosen equally often."""
    how, (batch, original) = masking(32, 0.3), rows(2_000, 32, 3)
    fates: Counter[str] = Counter()
    chosen, possible = np.zeros(32), np.zeros(32)
    random_entries = []
    for step in range(10):
        found = drawn(how, batch, (1, 256 * step))
        used = found["masked_lm_weights"] == 1
        row, place = np.nonzero(used)[0], found["masked_lm_positions"][used]
        before, after = original[row, place], found["input_ids"][row, place]
        fates.update({"masked": (after == MASK).sum(), "stays": (after == before).sum(), "all": len(row)})
        random_entries.append(after[(after != MASK) & (after != before)])
        full = batch["input_mask"].sum(axis=1) == 32
        chosen += np.bincount(place[full[row]], minlength=32)
        possible += (original[full] >= 5).sum(axis=0)
    assert fates["masked"] / fates["all"] == pytest.approx(0.8, abs=0.01)
    # A random entry is the same one, or [MASK], once in 300.
    assert fates["stays"] / fates["all"] == pytest.approx(0.1, abs=0.01)
    entries = np.concatenate(random_entries)
    assert len(entries) / fates["all"] == pytest.approx(0.1, abs=0.01)
    counts = np.bincount(entries, minlength=ENTRIES)
    assert counts.argmin() == MASK
    assert np.delete(counts, MASK).min() > 0.5 * counts.mean()
    shares = (chosen / np.maximum(possible, 1))[1:-1]
    assert shares.max() - shares.min() < 0.25 * shares.mean()


def test_other_steps_seeds_and_rows_have_other_masks_and_the_same_ones_the_same() -> None:
    how, (batch, _) = masking(64, 0.3), rows(4, 64, 1)
    twice = {name: np.concatenate([array, array]) for name, array in batch.items()}
    found = [drawn(how, twice, key) for key in ((1, 0), (1, 0), (1, 256), (2, 0))]
    one, same, *others = (each["masked_lm_positions"] for each in found)
    np.testing.assert_array_equal(one, same)
    for other in others:
        assert (one != other).any(axis=1).all()
    assert (one[:4] != one[4:]).any(axis=1).all()
    # A row's masks do not depend on the rows behind it.
    np.testing.assert_array_equal(drawn(how, batch)["input_ids"], found[0]["input_ids"][:4])


def test_masks_of_the_examples_change_nothing() -> None:
    how, (batch, original) = masking(64), rows(20, 64, 5)
    bare = {name: 0 * array[:, :1] if "masked" in name else array for name, array in batch.items()}
    bare["input_ids"] = original
    found, expected = drawn(how, batch), drawn(how, bare)
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def test_settings_that_need_it_say_so() -> None:
    assert TrainConfig(masking="dynamic", masked_lm_prob=0.3, mask_strategy="all_mask", whole_words=True)
    for name, value in (("masked_lm_prob", 0.3), ("mask_strategy", "all_mask"), ("whole_words", True)):
        with pytest.raises(ValueError, match=f"{name} needs masking: dynamic"):
            replace(TrainConfig(), **{name: value})


def test_a_random_wordpiece_is_one_that_a_text_can_have(tmp_path: Path) -> None:
    """Of repeated entries the last one is; an empty line is none."""
    job = make_job(tmp_path, examples=(1,), masking="dynamic")
    how = masking_of(job, ["[PAD]", "[UNK]", "[CLS]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "a"])
    assert how is not None
    assert (how.special, how.mask) == ((3, 4), 5)
    assert how.entries.tolist() == [0, 1, 3, 4, 5, 7, 8]
    assert how.predictions == masked_positions(job.max_seq_length, 0.15, job.max_seq_length)
