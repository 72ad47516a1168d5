"""What is relied on in the config and the statistics of a complete manifest, by its kind."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from qarib_tasks.storage.records.corpus import Corpus, Sources
from qarib_tasks.storage.records.record import Count, Loss, Record
from qarib_tasks.storage.records.schemas import Evaluation


class _Shares(Record):
    actual: float
    random: float


class _SpecialTokens(Record):
    padding: Count = Field(alias="[PAD]")
    unknown: Count = Field(alias="[UNK]")
    first: Count = Field(alias="[CLS]")
    separator: Count = Field(alias="[SEP]")
    mask: Count = Field(alias="[MASK]")


class _ShardStatistics(Record):
    examples: Count
    documents: Count
    vocab_size: Count
    special_tokens: _SpecialTokens
    next_sentence_shares: _Shares | None = None
    packing_efficiency: float | None = None
    replaced_bytes: Count = 0


class _Shard(Record):
    statistics: _ShardStatistics


class _ShardsStatistics(Record):
    lines: Count = 0
    shards: Count = 0


class _Shards(Record):
    statistics: _ShardsStatistics


class _VocabularyStatistics(Record):
    vocab_size: Count = 0


class _Vocabulary(Record):
    statistics: _VocabularyStatistics


class _VocabularyConfig(Record):
    vocab_size: Count


class _DatasetConfig(Record):
    collect: Sources
    vocab: _VocabularyConfig
    extends: str = ""
    partition: str = ""


class _DatasetStatistics(Record):
    examples: Count
    bytes: Count = 0
    shards: Count = 0
    missing_shards: list[str] = []
    random_next_share: float | None = None
    corpus_warnings: list[str] = []


class _Dataset(Record):
    config: _DatasetConfig
    statistics: _DatasetStatistics


class _ModelStatistics(Record):
    train_steps: Count
    total_steps: Count
    first_masked_lm_loss: Loss
    last_masked_lm_loss: Loss
    evaluation: Evaluation
    evaluations: list[dict[str, Any]] = []


class _Model(Record):
    statistics: _ModelStatistics


CONTENTS: dict[str, type[Record]] = {
    "corpus": Corpus,
    "vocabulary": _Vocabulary,
    "shards": _Shards,
    "shard": _Shard,
    "dataset": _Dataset,
    "model": _Model,
}
