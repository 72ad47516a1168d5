"""Token dropping: the middle layers of a training step compute a row's most important positions only.

See Hou et al., "Token Dropping for Efficient BERT Pretraining", 2022 (arXiv 2203.13240). A wordpiece is as
important as it is hard to predict: the measure is a running mean of the masked-LM loss of each vocabulary
entry, which is part of the training's state. All shapes are static.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.recipe import kept_positions
from qarib_tasks.train.model.losses import cross_entropy
from qarib_tasks.train.model.positions.masking import predicted
from qarib_tasks.vocabulary.file import ids_of

# Of the authors' program: the loss of an entry that was never predicted, and how slowly a mean changes.
FIRST_LOSS, BETA = 10.0, 0.995
HIGHEST_LOSS = 32  # nats; a power of two
PADDING, WORD, SPECIAL, PREDICTED = range(4)  # in rising order of importance


@dataclass(frozen=True)
class Dropping:
    """How the positions that the middle layers compute are chosen.

    Attributes:
        kept: the number of positions of each row.
        special: the ids of [CLS] and [SEP].
        entries: the size of the vocabulary.
    """

    kept: int
    special: tuple[int, int]
    entries: int

    def first_losses(self) -> np.ndarray:
        """Return the losses before the first update, float32 [entries]."""
        return np.full(self.entries, FIRST_LOSS, np.float32)

    def chosen(self, batch: Mapping[str, Any], losses: Any) -> dict[str, Any]:
        """Add kept_positions to a batch, int32 [batch, `kept`], in rising order.

        The positions to predict are kept first, then [CLS] and [SEP], then wordpieces by falling loss, then
        padding. Of equal losses, the earlier position is kept.

        Args:
            batch: see `steps.Steps`, with the masks of the step.
            losses: float32 [entries], see `updated`.
        """
        ids = ops.cast(batch["input_ids"], "int32")
        length = ids.shape[1]
        spare = (length - 1).bit_length()
        levels = 1 << min(29 - spare, 20)  # of a loss; two bits of a positive int32 are the kind
        loss = ops.take(losses, ids) * (levels // HIGHEST_LOSS)
        level = ops.cast(ops.clip(loss, 0.0, levels - 1.0), "int32")
        special = (ids == self.special[0]) | (ids == self.special[1])
        kind = ops.where(ops.cast(batch["input_mask"], "int32") == 1, WORD, PADDING)
        kind = ops.where(special, SPECIAL, kind)
        kind = ops.where(ops.any(predicted(batch), axis=1), PREDICTED, kind)
        # All are different, so that the backends sort them alike.
        order = (kind * levels + level) * (1 << spare) - ops.arange(length, dtype="int32") + (length - 1)
        places = ops.top_k(order, self.kept)[1]
        return {**batch, "kept_positions": ops.sort(ops.cast(places, "int32"), axis=1)}

    def seen(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the sum of the losses of each entry, and how often it was to predict, float32 [2, entries].

        Those of the parts of a batch add up to those of the batch.
        """
        ids = ops.cast(ops.reshape(batch["masked_lm_ids"], (-1,)), "int32")
        weights = ops.cast(ops.reshape(batch["masked_lm_weights"], (-1,)), "float32")
        each, _ = cross_entropy(outputs["masked_lm"], ids)
        sums = ops.segment_sum(ops.stack([each * weights, weights], axis=1), ids, num_segments=self.entries)
        return ops.transpose(sums)

    def updated(self, losses: Any, seen: Any) -> Any:
        """Return the running mean of each entry's loss after a step, float32 [entries].

        The step counts as one value, the mean of its predictions of the entry, if there are any.

        Args:
            losses: those before.
            seen: of the whole batch.
        """
        sums, count = seen[0], seen[1]
        mean = sums / ops.maximum(count, 1.0)
        return ops.where(count > 0, BETA * losses + (1.0 - BETA) * mean, losses)


def dropping_of(job: TrainingJob, tokens: Sequence[str]) -> Dropping | None:
    """Return how the job's steps choose positions; None if they compute all.

    Args:
        tokens: the vocabulary.
    """
    if not job.train.token_dropping:
        return None
    ids = ids_of(tokens)
    kept = kept_positions(job.train, job.max_seq_length)
    return Dropping(kept=kept, special=(ids["[CLS]"], ids["[SEP]"]), entries=len(tokens))
