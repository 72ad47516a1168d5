"""The losses of pre-training, and the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops


def cross_entropy(logits: Any, ids: Any) -> tuple[Any, Any]:
    """Return the loss of each prediction, and whether it is right: no logit is above the right entry's.

    Written out, because the backends' own functions and an argmax read the logits, by far the largest array
    of a step, several more times.

    Args:
        logits: [predictions, entries] float32. ids: [predictions] int32.

    Returns:
        two float32 tensors [predictions]: nats, and 1.0 where right.
    """
    highest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    here = ops.expand_dims(ids, -1) == ops.arange(logits.shape[-1], dtype="int32")
    right = ops.sum(ops.where(here, logits, 0.0), axis=-1)
    total = ops.log(ops.sum(ops.exp(logits - highest), axis=-1)) + highest[:, 0]
    return total - right, ops.cast(right >= highest[:, 0], "float32")


def losses(
    outputs: Mapping[str, Any], batch: Mapping[str, Any], whole: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the losses of a batch as the reference defines them.

    Args:
        outputs: the model's outputs.
        batch: the model's inputs and masked_lm_ids and masked_lm_weights [batch, predictions], and
            next_sentence_labels [batch].
        whole: the batch that `batch` is a part of, if it is one. The losses of all parts add up to its own.

    Returns:
        float32 scalars: loss (the sum of the others), masked_lm_loss (a mean over the predictions, in nats)
        and, unless turned off, next_sentence_loss.
    """
    weights = ops.cast(ops.reshape(batch["masked_lm_weights"], (-1,)), "float32")
    each, _ = cross_entropy(outputs["masked_lm"], ops.reshape(batch["masked_lm_ids"], (-1,)))
    every = weights if whole is None else ops.cast(whole["masked_lm_weights"], "float32")
    # The reference's own guard against a batch without predictions.
    result = {"masked_lm_loss": ops.sum(each * weights) / (ops.sum(every) + 1e-5)}
    if "next_sentence" in outputs:
        labels = batch["next_sentence_labels"]
        each, _ = cross_entropy(outputs["next_sentence"], labels)
        result["next_sentence_loss"] = ops.mean(each)
        if whole is not None:
            result["next_sentence_loss"] *= labels.shape[0] / whole["next_sentence_labels"].shape[0]
    return {"loss": sum(result.values()), **result}


def counts(outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return sums over a batch, to compute means over many batches. A label of -1 marks a padding example.

    Returns:
        float32 scalars: predictions, right_predictions, masked_lm_loss_sum; and, unless turned off,
        sentences, right_sentences, next_sentence_loss_sum.
    """
    weights = ops.cast(ops.reshape(batch["masked_lm_weights"], (-1,)), "float32")
    each, right = cross_entropy(outputs["masked_lm"], ops.reshape(batch["masked_lm_ids"], (-1,)))
    result = {
        "predictions": ops.sum(weights),
        "right_predictions": ops.sum(right * weights),
        "masked_lm_loss_sum": ops.sum(each * weights),
    }
    if "next_sentence" in outputs:
        labels = batch["next_sentence_labels"]
        real = ops.cast(labels >= 0, "float32")
        each, right = cross_entropy(outputs["next_sentence"], ops.maximum(labels, 0))
        result |= {
            "sentences": ops.sum(real),
            "right_sentences": ops.sum(right * real),
            "next_sentence_loss_sum": ops.sum(each * real),
        }
    return result
