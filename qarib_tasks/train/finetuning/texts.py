"""A task's texts as batches of a classifier, and the development texts among the training texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qarib_tasks.corpus.deduplication import digest, key_texts
from qarib_tasks.corpus.sampling import spread
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.train.finetuning.model import StartingModel
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.model.batch import Batch, padded

log = logging.getLogger(__name__)
MULTIPLE = 8  # of a batch's length
AT_ONCE = 1000  # texts
_SEED = 0x646576  # "dev": independent of the order of a task's texts, and of its test part


@dataclass(frozen=True)
class Texts:
    """Encoded texts with their labels.

    Attributes:
        ids: of each text, int32, with [CLS] and [SEP].
        labels: int32 [texts].
        length: of the batches.
    """

    ids: Sequence[np.ndarray]
    labels: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Sequence[int], size: int) -> Batch:
        """Return a batch of `classifier.Classifier` with these texts, filled up with padding."""
        ids = np.zeros((len(rows), self.length), np.int32)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            own = self.ids[row]
            ids[number, : len(own)], mask[number, : len(own)] = own, 1
        some = {
            "input_ids": ids,
            "input_mask": mask,
            "segment_ids": np.zeros_like(ids),
            "labels": self.labels[list(rows)],
            "real": np.ones(len(rows), np.int32),
        }
        return padded(some, size)

    def batches(self, size: int) -> Iterator[tuple[Batch, int]]:
        """Yield all texts in their order: batches, and the number of texts in each."""
        for start in range(0, len(self), size):
            rows = range(start, min(start + size, len(self)))
            yield self.batch(rows, size), len(rows)

    def shuffled(self, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield all texts in the order of an epoch."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self)).tolist()
        for start in range(0, len(self), size):
            yield self.batch(order[start : start + size], size)


@dataclass(frozen=True)
class TaskTexts:
    """The texts of a task: those to train on, those to choose the rate on, and those to score on."""

    train: Texts
    development: Texts
    test: Texts


def task_texts(task: LabelledTask, model: StartingModel, recipe: Recipe) -> TaskTexts:
    """Encode a task's texts for a model. All batches have one length, that of the longest text."""
    train, development = divided(task.train, recipe.development_share)
    parts = (train, development, task.test)
    limit = min(recipe.length, model.length)
    encoded = [_encoded(part.texts, model, limit) for part in parts]
    lengths = [length for _, some in encoded for length in some]
    cut = sum(length > limit for length in lengths)
    if cut:
        share = 100 * cut / len(lengths)
        log.warning("task %s: %d texts (%.1f%%) are cut to %d wordpieces", task.name, cut, share, limit)
    length = min(limit, -(-max(lengths) // MULTIPLE) * MULTIPLE)
    return TaskTexts(
        *(
            Texts(ids, np.array(part.labels, np.int32), length)
            for (ids, _), part in zip(encoded, parts, strict=True)
        )
    )


def divided(part: LabelledPart, share: float) -> tuple[LabelledPart, LabelledPart]:
    """Return the texts to train on, and the development texts: about a share of those of each label.

    A hash of its normalized text decides where a text belongs, so no text is in both, and every label keeps
    a text to train on. If this leaves no development text, because there are too few texts, all are both.
    """
    keys = np.array([digest([key_texts(text)[0] or text.encode()]) for text in part.texts], dtype=np.uint64)
    places = spread(keys, _SEED).tolist()
    of_label: dict[int, set[int]] = {}
    for place, label in zip(places, part.labels, strict=True):
        of_label.setdefault(label, set()).add(place)
    held: set[int] = set()
    for own in of_label.values():
        held.update(sorted(own)[: round(share * len(own))])
    for own in of_label.values():
        if own <= held:
            held -= own
    if not held:
        return part, part

    def some(is_held: bool) -> LabelledPart:
        rows = [row for row, place in enumerate(places) if (place in held) == is_held]
        return LabelledPart(tuple(part.texts[row] for row in rows), tuple(part.labels[row] for row in rows))

    return some(False), some(True)


def _encoded(texts: Sequence[str], model: StartingModel, limit: int) -> tuple[list[np.ndarray], list[int]]:
    """Return the ids of each text, cut to the limit, and the length of each before."""
    first, last = (model.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    ids, lengths = [], []
    for start in range(0, len(texts), AT_ONCE):
        some = list(texts[start : start + AT_ONCE])
        for encoded in model.tokenizer.encode_batch(some, add_special_tokens=False):
            ids.append(np.array([first, *encoded.ids[: limit - 2], last], np.int32))
            lengths.append(len(encoded.ids) + 2)
    return ids, lengths
