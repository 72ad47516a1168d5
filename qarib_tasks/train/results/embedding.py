"""Texts as vectors of a model: the mean of the last layer over their wordpieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.machines.chips import TrainingShape
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.model.batch import Batch, padded
from qarib_tasks.train.model.speed import Hardware
from qarib_tasks.vocabulary.tokenizer_files import make_tokenizer

if TYPE_CHECKING:
    from qarib_tasks.train.model.steps import Steps

# Operations per second that an estimate assumes where the devices' peak is not known: less than one core of a
# current server does, and a small GPU.
CPU_FLOPS, GPU_FLOPS = 60e9, 5e12
AT_ONCE = 1000  # texts
MULTIPLE = 8  # of a batch's length
SHORT = 0.9  # share of the texts that fit into the shorter batches


class EncodedTexts:
    """Texts as wordpieces, cut to the length of the job's examples, in batches of at most two lengths.

    Each shape of a batch is compiled once. With a single one, a few long texts would make all others as
    expensive as they are.
    """

    def __init__(self, job: TrainingJob, vocabulary: Vocabulary, texts: Iterable[str]) -> None:
        self.job = job
        limit = min(job.max_seq_length, job.model.max_position_embeddings)
        tokenizer = make_tokenizer(vocabulary.tokens, do_lower_case=job.do_lower_case)
        tokenizer.enable_truncation(limit)
        self._special = [vocabulary.id(token) for token in ("[PAD]", "[CLS]", "[SEP]")]
        self._ids: dict[str, np.ndarray] = {}
        some = list(dict.fromkeys(texts))
        for start in range(0, len(some), AT_ONCE):
            part = some[start : start + AT_ONCE]
            for text, encoded in zip(part, tokenizer.encode_batch(part), strict=True):
                self._ids[text] = np.array(encoded.ids, np.int32)
        lengths = [len(ids) for ids in self._ids.values()]
        ends = (int(np.quantile(lengths, SHORT)), max(lengths)) if lengths else ()
        self._lengths = sorted({min(limit, -(-end // MULTIPLE) * MULTIPLE) for end in ends})

    def seconds(self, texts: Sequence[str], hardware: Hardware) -> float:
        """Estimate how long the devices need for texts, from their lengths and the model's shape alone."""
        speed = CPU_FLOPS if hardware.device_kind == "cpu" else GPU_FLOPS
        if peak := hardware.peak_flops:
            speed = TpuConfig.share_of_peak * peak
        seconds = 0.0
        for length in self._lengths:
            count = sum(self._length(text) == length for text in texts)
            shape = TrainingShape(
                model=self.job.model, vocab_size=0, batch=count, length=length, predictions=0
            )
            seconds += shape.flops / 3 / speed  # without the way back
        return seconds

    def vectors(self, steps: Steps, texts: Sequence[str]) -> np.ndarray:
        """Return the mean of the last layer over the wordpieces of each text, without [CLS] and [SEP].

        Returns:
            float32 [texts, hidden].
        """
        size = self.job.evaluate.eval_batch_size
        vectors = np.zeros((len(texts), self.job.model.hidden_size), np.float32)
        lengths = np.array([self._length(text) for text in texts])
        for length in self._lengths:
            rows = np.flatnonzero(lengths == length)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                batch = padded(self._batch([texts[row] for row in some], length), size)
                vectors[some] = steps.embed(batch)[: len(some)]
        return vectors

    def _length(self, text: str) -> int:
        """Return the length of the batches that a text is in."""
        return next(length for length in self._lengths if len(self._ids[text]) <= length)

    def _batch(self, texts: Sequence[str], length: int) -> Batch:
        ids = np.zeros((len(texts), length), np.int32)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            own = self._ids[text]
            ids[row, : len(own)], mask[row, : len(own)] = own, 1
        averaged = mask * ~np.isin(ids, self._special)
        return {
            "input_ids": ids,
            "input_mask": mask,
            "segment_ids": np.zeros_like(ids),
            "averaged": averaged.astype(np.int32),
        }
