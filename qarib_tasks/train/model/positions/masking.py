"""Masks that are drawn while training, on examples that have masks of their own, or none.

The step puts the original wordpieces back and draws other masks, as a function of seed, step, and row alone:
a training that resumes draws the same ones, on either backend and on any number of devices. All shapes are
static.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from qarib_tasks.config.conversion import masked_positions
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.model.dropout import DRAWS_PER_STEP, random_bits
from qarib_tasks.vocabulary.file import ids_of

# The last counters of a step. A model's dropout uses the first ones.
CHOICE, FATE = DRAWS_PER_STEP - 2, DRAWS_PER_STEP - 1
CONTINUES = "##"  # begins a wordpiece that is not the first one of its word


@dataclass(frozen=True)
class Masking:
    """How masks are drawn.

    Attributes:
        counts: int32 [length + 1]: the number of predictions of a row with so many real wordpieces, [CLS] and
            [SEP] included, as the conversion has it.
        entries: int32: the ids that a random wordpiece can have. A vocabulary's repeated entries have one.
        all_mask: [MASK] replaces each chosen wordpiece. Otherwise BERT's shares: 80% are replaced by [MASK],
            10% by a random entry, 10% stay.
        starts: bool [entries]: those that begin a word, if whole words are chosen. A word for which the row
            has too few predictions left is not chosen, and those predictions are not used.
    """

    counts: np.ndarray
    entries: np.ndarray
    mask: int
    special: tuple[int, int]
    all_mask: bool = False
    starts: np.ndarray | None = None

    @property
    def predictions(self) -> int:
        """The number of predictions of a full row."""
        return int(self.counts[-1])

    def drawn(self, batch: Mapping[str, Any], key: Any) -> dict[str, Any]:
        """Return the batch with other masks.

        Args:
            batch: see `steps.Steps`. Masks of its own can have another number of predictions.
            key: two integers, the seed and the first counter of the step.

        Returns:
            the batch; input_ids [batch, length], and masked_lm_positions, masked_lm_ids, masked_lm_weights
            [batch, `predictions`] are others. As in the conversion's examples, a prediction that is not used
            has the position, the id, and the weight 0.
        """
        ids = _original(batch)
        length = ids.shape[1]
        real = ops.cast(batch["input_mask"], "int32")
        allowed = (real == 1) & (ids != self.special[0]) & (ids != self.special[1])
        wanted = ops.take(ops.convert_to_tensor(self.counts), ops.sum(real, axis=1))
        order = self._order(ids, allowed, random_bits(ids.shape, _counter(key, CHOICE)))
        top, places = ops.top_k(order, self.predictions)
        used = (top >= 0) & (ops.arange(self.predictions, dtype="int32") < wanted[:, None])
        if self.starts is not None:
            used = used & self._complete(ids, allowed, places, used)
        here = (places[:, :, None] == ops.arange(length, dtype="int32")) & used[:, :, None]
        chosen = ops.any(here, axis=1)
        weights = ops.cast(used, "int32")
        return {
            **batch,
            "input_ids": ops.where(chosen, self._replaced(ids, key), ids),
            "masked_lm_positions": ops.cast(places, "int32") * weights,
            "masked_lm_ids": ops.sum(ops.where(here, ids[:, None, :], 0), axis=-1),
            "masked_lm_weights": weights,
        }

    def _order(self, ids: Any, allowed: Any, bits: Any) -> Any:
        """Return random numbers, int32 [batch, length]: -1 for positions that are not allowed.

        The wordpieces of a word have the same number if whole words are chosen. Otherwise all are different.
        """
        length = ids.shape[1]
        spare = (length - 1).bit_length()
        drawn = ops.cast(ops.right_shift(bits, np.uint32(1 + spare)), "int32")
        first = ops.arange(length, dtype="int32")
        if self.starts is not None:
            word = self._words(ids, allowed)
            first = ops.cast(ops.argmax(word[:, None, :] == word[:, :, None], axis=-1), "int32")
            drawn = ops.take_along_axis(drawn, first, axis=1)
        return ops.where(allowed, drawn * (1 << spare) + first, -1)

    def _words(self, ids: Any, allowed: Any) -> Any:
        """Return the number of each position's word within its row, int32 [batch, length]."""
        begins = ops.take(ops.convert_to_tensor(self.starts), ids) | ops.logical_not(allowed)
        return ops.cumsum(ops.cast(begins, "int32"), axis=1)

    def _complete(self, ids: Any, allowed: Any, places: Any, used: Any) -> Any:
        """Return whether all wordpieces of the word are chosen, bool [batch, predictions]."""
        word = self._words(ids, allowed)
        same = ops.take_along_axis(word, ops.cast(places, "int32"), axis=1)
        size = ops.sum(
            ops.cast((same[:, :, None] == word[:, None, :]) & allowed[:, None, :], "int32"), axis=-1
        )
        both = (same[:, :, None] == same[:, None, :]) & used[:, None, :]
        return ops.sum(ops.cast(both, "int32"), axis=-1) == size

    def _replaced(self, ids: Any, key: Any) -> Any:
        """Return what each wordpiece becomes if it is chosen, int32 [batch, length]."""
        if self.all_mask:
            return ops.full_like(ids, self.mask)
        bits = random_bits((*ids.shape, 2), _counter(key, FATE))
        share, number = bits[..., 0], ops.cast(bits[..., 1] % np.uint32(len(self.entries)), "int32")
        entry = ops.take(ops.convert_to_tensor(self.entries), number)
        kept = ops.where(share < np.uint32(0.9 * 2**32), ids, entry)
        return ops.where(share < np.uint32(0.8 * 2**32), self.mask, kept)


def predicted(batch: Mapping[str, Any]) -> Any:
    """Return whether a prediction is of a position, bool [batch, predictions, length]."""
    positions, weights = (
        ops.cast(batch[f"masked_lm_{name}"], "int32")[:, :, None] for name in ("positions", "weights")
    )
    length = batch["input_ids"].shape[1]
    return (positions == ops.arange(length, dtype="int32")) & (weights == 1)


def _original(batch: Mapping[str, Any]) -> Any:
    """Return the wordpieces that the examples' own masks replaced, int32 [batch, length]."""
    ids, here = ops.cast(batch["input_ids"], "int32"), predicted(batch)
    before = ops.cast(batch["masked_lm_ids"], "int32")[:, :, None]
    return ops.where(ops.any(here, axis=1), ops.sum(ops.where(here, before, 0), axis=1), ids)


def _counter(key: Any, number: int) -> Any:
    return ops.stack([key[0], key[1] + ops.cast(number, key.dtype)])


def masking_of(job: TrainingJob, tokens: Sequence[str]) -> Masking | None:
    """Return how the job draws masks; None if it uses those of the examples.

    Args:
        tokens: the vocabulary.
    """
    if job.train.masking == "static":
        return None
    ids, length = ids_of(tokens), job.max_seq_length
    counts = [masked_positions(real, job.train.masked_lm_prob, length) for real in range(length + 1)]
    starts = (
        np.array([not token.startswith(CONTINUES) for token in tokens]) if job.train.whole_words else None
    )
    return Masking(
        counts=np.array(counts, np.int32),
        entries=np.array(sorted(ids.values()), np.int32),
        mask=ids["[MASK]"],
        special=(ids["[CLS]"], ids["[SEP]"]),
        all_mask=job.train.mask_strategy == "all_mask",
        starts=starts,
    )
