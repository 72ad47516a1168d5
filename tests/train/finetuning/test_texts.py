"""Batches of a task's texts, and the development texts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qarib_tasks.labelled.task import LabelledPart
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.texts import divided, task_texts
from qarib_tasks.vocabulary.tokenizer_files import make_tokenizer
from tests.support.training_examples import TOKENS
from tests.support.tuning.small_model import words_of_two_kinds

TASK = words_of_two_kinds(train=40, test=10)


@pytest.fixture
def model() -> Any:
    return SimpleNamespace(tokenizer=make_tokenizer(TOKENS, do_lower_case=True), length=32)


def part(*labelled: tuple[str, int]) -> LabelledPart:
    return LabelledPart(tuple(text for text, _ in labelled), tuple(label for _, label in labelled))


def test_a_batch_has_the_texts_and_padding(model: Any) -> None:
    task = replace(TASK, test=part(("w1 w2", 1), ("w3", 0)))
    batch = task_texts(task, model, Recipe()).test.batch([1, 0], 4)
    np.testing.assert_array_equal(
        batch["input_ids"][:, :5], [[2, 8, 3, 0, 0], [2, 6, 7, 3, 0], [0] * 5, [0] * 5]
    )
    assert batch["input_mask"].sum(axis=1).tolist() == [3, 4, 0, 0]
    assert batch["labels"].tolist() == [0, 1, 0, 0]
    assert batch["real"].tolist() == [1, 1, 0, 0]
    assert not batch["segment_ids"].any()
    assert batch["input_ids"].shape[1] % 8 == 0


def test_long_texts_are_cut_and_counted(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    task = replace(TASK, test=part((" ".join(["w1"] * 40), 1), ("w2", 0)))
    found = task_texts(task, model, Recipe())
    assert found.test.length == found.train.length == 32
    assert [len(ids) for ids in found.test.ids] == [32, 3]
    assert found.test.ids[0][-1] == 3
    assert "task kinds: 1 texts (2.4%) are cut to 32 wordpieces" in caplog.text
    assert task_texts(task, model, Recipe(length=16)).test.length == 16


def test_an_epoch_has_each_text_once_in_an_order_of_its_own(model: Any) -> None:
    texts = task_texts(TASK, model, Recipe()).train

    def order(seed: int, epoch: int) -> list[tuple[int, ...]]:
        batches = list(texts.shuffled(16, seed, epoch))
        assert {batch["input_ids"].shape for batch in batches} == {(16, texts.length)}
        rows = [
            row
            for batch in batches
            for row, real in zip(batch["input_ids"], batch["real"], strict=True)
            if real
        ]
        return [tuple(row.tolist()) for row in rows]

    first = order(1, 0)
    assert len(first) == len(texts)
    assert sorted(order(1, 1)) == sorted(first) != first
    assert len({tuple(order(*key)) for key in ((1, 0), (1, 1), (2, 0), (2, 1))}) == 4
    assert order(1, 0) == first


def test_a_tenth_of_each_label_are_development_texts_whatever_stands_beside() -> None:
    many = part(*((f"نص {n}", 0) for n in range(100)), *((f"قول {n}", 1) for n in range(30)))
    train, development = divided(many, 0.1)
    assert [development.labels.count(label) for label in (0, 1)] == [10, 3]
    assert set(train.texts) | set(development.texts) == set(many.texts)
    assert not set(train.texts) & set(development.texts)
    reordered = LabelledPart(many.texts[::-1], many.labels[::-1])
    assert set(divided(reordered, 0.1)[1].texts) == set(development.texts)


def test_repeats_are_on_one_side() -> None:
    some = part(*((f"نص {n}{end}", 0) for n in range(50) for end in ("", "!", " .")))
    train, development = divided(some, 0.1)
    assert len(development) == 15
    words = [{text.strip("!. ") for text in each.texts} for each in (train, development)]
    assert not words[0] & words[1]


def test_every_label_keeps_texts_to_train_on() -> None:
    few = part(("a", 0), ("b", 0), ("c", 1), ("d", 1))
    train, development = divided(few, 0.5)
    assert set(train.labels) == {0, 1}
    assert len(development) == 2
    assert divided(few, 0.1) == (few, few)
    same = part(("a", 0), ("a", 1))
    assert divided(same, 0.9) == (same, same)
