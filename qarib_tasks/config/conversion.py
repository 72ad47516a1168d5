"""Settings of steps 2 and 3: split and convert."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import DATASET, Identity
from qarib_tasks.config.loading import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitConfig:
    """Step 2: `data.txt` to `shards/shard_0000` …, as GNU `split -a 4 -l N -d`."""

    shard_lines: Annotated[int, Field(ge=1, title="Lines a shard"), DATASET] = 512_000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConvertConfig:
    """Step 3: a shard to TFRecords, the flags of google-research/bert's create_pretraining_data.py."""

    max_seq_length: Annotated[
        int,
        Field(
            ge=8,
            le=4096,
            title="Sequence length",
            description="Wordpieces an example, [CLS] and [SEP] included.",
        ),
        DATASET,
    ] = 64
    max_predictions_per_seq: Annotated[
        int,
        Field(
            ge=1,
            title="Predictions a sequence",
            description="Most wordpieces of an example that may be masked.",
        ),
        DATASET,
    ] = 20
    masked_lm_prob: Annotated[
        float,
        Field(gt=0, lt=1, title="Masked share", description="Share of the wordpieces that are masked."),
        DATASET,
    ] = 0.15
    random_seed: Annotated[
        int,
        Field(
            ge=0,
            title="Random seed",
            description="The one seed of the run: masking, shuffles, held-out choice, initial weights.",
        ),
        DATASET,
    ] = 34
    dupe_factor: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Duplicates",
            description="Times the text is used, each time masked differently.",
        ),
        DATASET,
    ] = 5
    short_seq_prob: Annotated[
        float,
        Field(
            ge=0, le=1, title="Short sequences", description="Share of the examples made shorter on purpose."
        ),
        DATASET,
    ] = 0.1
    do_lower_case: Annotated[
        bool,
        Field(
            title="Lower case", description="Lower-case Latin letters and strip diacritics and hamzas (NFD)."
        ),
        DATASET,
    ] = True
    do_whole_word_mask: Annotated[
        bool, Field(title="Mask whole words", description="Mask all wordpieces of a word together."), DATASET
    ] = False
    random_seed_per_shard: Annotated[
        bool,
        Field(
            title="A seed a shard",
            description="Derive each shard's seed from the random seed and the shard's name. "
            "Without it all shards draw the same random numbers, as published.",
        ),
        DATASET,
    ] = False
    compression: Annotated[
        Literal["none", "gzip"],
        Field(title="Compression", description="Of the TFRecord files; gzip makes them 3.5 times smaller."),
        Identity("dataset", "changes the bytes of the files"),
    ] = "none"
