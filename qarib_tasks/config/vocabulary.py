"""Settings of step 1: the vocabulary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import DATASET, Identity
from qarib_tasks.config.loading import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VocabConfig:
    """Step 1: `data.txt` to `vocab.txt`."""

    vocab_size: Annotated[
        int,
        Field(
            ge=32,
            le=1_000_000,
            title="Vocabulary size",
            description="Lines of vocab.txt, special tokens and placeholders included.",
        ),
        DATASET,
    ] = 64_000
    sample_lines: Annotated[
        int,
        Field(
            ge=1,
            title="Sample lines",
            description="Random lines, uniform over the corpus, that the vocabulary is learnt from.",
        ),
        DATASET,
    ] = 5_000_000
    placeholders: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            title="Placeholders",
            description="[UNUSED_i] entries left free for words added later.",
        ),
        DATASET,
    ] = 256
    recipe: Annotated[
        Literal["normalized", "published"],
        Field(
            title="Recipe",
            description="normalized: learnt from the words that the tokenizer sees. "
            "published: what prepare_vocab.py does, for comparison.",
        ),
        DATASET,
    ] = "normalized"
    model_type: Annotated[
        Literal["unigram", "bpe"],
        Field(title="Model", description="What SentencePiece learns; the published recipe is unigram."),
        DATASET,
    ] = "unigram"
    vocab_file: Annotated[
        str,
        Field(
            title="Existing vocabulary",
            description="A vocab.txt (path or gs://) to use as it is, for training further on new data; "
            "nothing is learnt.",
        ),
        Identity("dataset", "its contents count, not where it is"),
    ] = ""
