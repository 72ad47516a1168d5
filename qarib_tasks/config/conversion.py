"""Settings of steps 2 and 3: split and convert."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from qarib_tasks.config.identity import DATASET, Identity
from qarib_tasks.config.loading import STRICT, Settings

Format = Literal["pairs", "packed"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitConfig(Settings):
    """Step 2: `data.txt` to `shards/shard_0000` …, as GNU `split -a 4 -l N -d`."""

    shard_lines: Annotated[int, Field(ge=1, title="Lines per shard"), DATASET] = 512_000


def masked_positions(length: int, share: float, most: int) -> int:
    """How many of `length` wordpieces are masked: the share, at least one and at most `most`.

    Rounded half to even, as Python rounds.
    """
    return min(most, max(1, round(length * share)))


class ExampleShape(Protocol):
    """What decides how large an example is: a `ConvertConfig` has these settings, and a `TrainingJob`."""

    @property
    def max_seq_length(self) -> int: ...

    @property
    def masked_lm_prob(self) -> float: ...

    @property
    def max_predictions_per_seq(self) -> int: ...


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConvertConfig(Settings):
    """Step 3: a shard to TFRecords, the flags of google-research/bert's create_pretraining_data.py."""

    max_seq_length: Annotated[
        int,
        Field(
            ge=8,
            le=4096,
            title="Sequence length",
            description="Wordpieces per example, including [CLS] and [SEP].",
        ),
        DATASET,
    ] = 64
    max_predictions_per_seq: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            title="Predictions per sequence",
            description="Maximum number of masked wordpieces per example.",
        ),
        DATASET,
    ] = 20
    masked_lm_prob: Annotated[
        float,
        Field(gt=0, lt=1, title="Masked share", description="Share of the wordpieces to mask."),
        DATASET,
    ] = 0.15
    random_seed: Annotated[
        int,
        Field(
            ge=0,
            title="Random seed",
            description="The seed of the run, for masking, shuffling, the held-out part and the initial "
            "weights.",
        ),
        DATASET,
    ] = 34
    dupe_factor: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Duplicates",
            description="How many times to use the text, each time with other masks. Packed data have each "
            "text once.",
        ),
        DATASET,
    ] = 5
    short_seq_prob: Annotated[
        float,
        Field(ge=0, le=1, title="Short sequences", description="Share of the examples to shorten at random."),
        DATASET,
    ] = 0.1
    do_lower_case: Annotated[
        bool,
        Field(
            title="Lower case",
            description="Convert Latin letters to lower case and remove diacritics and hamzas (NFD).",
        ),
        DATASET,
    ] = True
    do_whole_word_mask: Annotated[
        bool, Field(title="Mask whole words", description="Mask all wordpieces of a word together."), DATASET
    ] = False
    random_seed_per_shard: Annotated[
        bool,
        Field(
            title="Separate seed per shard",
            description="Derive the seed of each shard from the random seed and the shard's name. "
            "Otherwise all shards draw the same random numbers, as published.",
        ),
        DATASET,
    ] = False
    compression: Annotated[
        Literal["none", "gzip"],
        Field(
            title="Compression",
            description="Compression of the TFRecord files. gzip makes them 3.5 times smaller.",
        ),
        Identity("dataset", "changes the bytes of the files"),
    ] = "none"
    format: Annotated[
        Format,
        Field(
            title="Format",
            description="pairs: two parts of text with masks, as published. packed: as many documents as fit "
            "into an example, without masks, for a training that draws them. The held-out part is always in "
            "pairs.",
        ),
        DATASET,
    ] = "pairs"

    @model_validator(mode="before")
    @classmethod
    def _once_when_packed(cls, values: Any) -> Any:
        """Packed data have each text once, unless it is set to another number, which is an error."""
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, dict) or given.get("format") != "packed":
            return values
        return {"dupe_factor": 1, **given}

    def __post_init__(self) -> None:
        if self.format == "packed" and self.dupe_factor != 1:
            raise ValueError(
                f"dupe_factor {self.dupe_factor} must be 1 if format is packed: without masks, the copies of "
                "a text are equal"
            )
        for name in ("masked_lm_prob", "do_whole_word_mask", "short_seq_prob"):
            if self.format == "packed" and getattr(self, name) != getattr(ConvertConfig, name):
                raise ValueError(
                    f"{name} has no effect on packed data: their masks are drawn while training, with the "
                    "settings of train"
                )


def heldout_settings(config: ConvertConfig) -> ConvertConfig:
    """Return the settings that the held-out part is converted with: in pairs with masks, to be evaluated."""
    if config.format == "pairs":
        return config
    return replace(config, format="pairs", dupe_factor=ConvertConfig.dupe_factor)
