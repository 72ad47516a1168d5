"""Settings of step 1: the vocabulary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import DATASET, Identity
from qarib_tasks.config.loading import STRICT, Settings


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VocabConfig(Settings):
    """Step 1: `data.txt` to `vocab.txt`."""

    vocab_size: Annotated[
        int,
        Field(
            ge=32,
            le=1_000_000,
            title="Vocabulary size",
            description="Number of lines in vocab.txt, including special tokens and placeholders.",
        ),
        DATASET,
    ] = 64_000
    sample_lines: Annotated[
        int,
        Field(
            ge=1,
            title="Sample lines",
            description="Number of random lines, uniform over the corpus, to learn the vocabulary from.",
        ),
        DATASET,
    ] = 5_000_000
    placeholders: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            title="Placeholders",
            description="Number of [UNUSED_i] entries, free for words that you add later.",
        ),
        DATASET,
    ] = 256
    recipe: Annotated[
        Literal["normalized", "published"],
        Field(
            title="Recipe",
            description="normalized: learn from the words that the tokenizer sees. "
            "published: do what prepare_vocab.py does, for comparison.",
        ),
        DATASET,
    ] = "normalized"
    model_type: Annotated[
        Literal["unigram", "bpe"],
        Field(
            title="SentencePiece model",
            description="SentencePiece model type. The published recipe uses unigram.",
        ),
        DATASET,
    ] = "unigram"
    vocab_file: Annotated[
        str,
        Field(
            title="Existing vocabulary",
            description="Path or gs:// address of a vocab.txt to use unchanged, for continued training on "
            "new "
            "data. No vocabulary is learned.",
        ),
        Identity("dataset", "its contents count, not where it is"),
    ] = ""
