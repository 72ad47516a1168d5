"""What is relied on in the config and the statistics of a complete manifest, by its kind."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from qarib_tasks.storage.records.schemas import Count, Evaluation, Loss, Record


class _TaskTexts(Record):
    digest: str
    documents: Count
    short: Count
    texts: Count


class CorpusStatistics(Record):
    """Of a collected text, and of each of its sources. Earlier versions wrote fewer."""

    documents_read: Count
    documents: Count = 0
    heldout_documents: Count = 0
    text_lines: Count = 0
    text_bytes: Count = 0
    text_documents: Count = 0
    lines: Count = 0
    lines_read: Count = 0
    words: Count = 0
    bytes: Count = 0
    bytes_read: Count = 0
    duplicates: Count = 0
    near_duplicates: Count = 0
    outside_share: Count = 0
    test_texts: Count = 0
    skipped: Count = 0
    empty_records: Count = 0
    undecodable_bytes: Count = 0
    replaced_characters: Count = 0
    left_out_files: Count = 0
    left_out: dict[str, Any] = {}
    undecodable: dict[str, Any] = {}
    file_warnings: dict[str, list[str] | str] = {}
    changed: dict[str, Count] = {}
    dropped: dict[str, Count] = {}
    dropped_bytes: dict[str, Count] = {}
    line_words: dict[str, Count] = {}
    document_lines: dict[str, Count] = {}
    samples: list[list[str]] = []
    changed_texts: dict[str, list[list[str]]] = {}
    dropped_texts: dict[str, list[list[str]] | list[str]] = {}
    sources: dict[str, CorpusStatistics] = {}
    tasks: dict[str, _TaskTexts] = {}
    contamination: dict[str, _TaskTexts] = {}
    warnings: list[str] = []


class _Name(Record):
    name: str


class _Sources(Record):
    sources: list[_Name]


class _Corpus(Record):
    config: _Sources
    statistics: CorpusStatistics


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
    collect: _Sources
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
    "corpus": _Corpus,
    "vocabulary": _Vocabulary,
    "shards": _Shards,
    "shard": _Shard,
    "dataset": _Dataset,
    "model": _Model,
}
