"""The settings of collecting and of the vocabulary; `config.py` joins them with those of the other steps."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import DATASET, neither
from qarib_tasks.config.loading import STRICT

RuleName = Literal[
    "html_entities",
    "presentation_forms",
    "tatweel",
    "remove_diacritics",
    "lookalikes",
    "western_digits",
    "elongation",
    "urls",
    "mentions",
    "emoji",
    "published",
    "sentences",
    "minimum_length",
    "maximum_length",
    "arabic_share",
]
LINE_RULES = ("minimum_length", "maximum_length", "arabic_share")
TEXT_RULES = tuple(rule for rule in get_args(RuleName) if rule not in (*LINE_RULES, "sentences"))
DEFAULT_CLEANING: tuple[RuleName, ...] = (
    "html_entities",
    "presentation_forms",
    "tatweel",
    "lookalikes",
    "elongation",
    "urls",
    "mentions",
    "emoji",
    "minimum_length",
    "maximum_length",
    "arabic_share",
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SourceConfig:
    """One corpus source: a file, a glob of files, or an address in a bucket or on a web server."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", title="Name"), DATASET]
    path: Annotated[
        str,
        Field(
            min_length=1, title="Address", description="Path or glob, gs://bucket/glob, http:// or https://."
        ),
        neither("the contents of its files count, not where they are"),
    ]
    format: Annotated[
        Literal["auto", "text", "jsonl", "csv", "tsv", "parquet", "moses"],
        Field(title="Format", description="auto: by the end of the file's name."),
        DATASET,
    ] = "auto"
    compression: Annotated[
        Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip"],
        Field(title="Compression", description="auto: by the end of the file's name."),
        DATASET,
    ] = "auto"
    field: Annotated[
        str,
        Field(
            min_length=1, title="Field", description="JSON field or column with the text; a.b is b inside a."
        ),
        DATASET,
    ] = "text"
    document: Annotated[
        Literal["blank_line", "line", "file", "group"],
        Field(
            title="Document",
            description="What ends a document: a blank line, every line, the end of the file, "
            "or another value in the grouping field.",
        ),
        DATASET,
    ] = "blank_line"
    group: Annotated[
        str,
        Field(
            title="Grouping field",
            description="Field or column whose equal values, one after the other, make a document.",
        ),
        DATASET,
    ] = ""
    member: Annotated[
        str,
        Field(
            title="Member",
            description="Glob of the files to read in a zip. Empty: all; of a Moses zip, *.ar.",
        ),
        DATASET,
    ] = ""
    limit: Annotated[
        int, Field(ge=0, title="Limit", description="Most documents; 0 is no limit."), DATASET
    ] = 0
    share: Annotated[
        float,
        Field(gt=0, le=1, title="Share", description="Share of the documents, chosen by hash."),
        DATASET,
    ] = 1.0
    skip_at_most: Annotated[
        int,
        Field(ge=0, title="Skip at most", description="Unreadable records that are skipped and counted."),
        DATASET,
    ] = 0
    sha256: Annotated[
        str,
        Field(
            pattern=r"^$|^[0-9a-f]{64}$",
            title="SHA-256",
            description="Of the one file named, as it is fetched.",
        ),
        DATASET,
    ] = ""

    def __post_init__(self) -> None:
        if (self.document == "group") != bool(self.group):
            raise ValueError("document: group and a grouping field need each other")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CollectConfig:
    """Step 0: source files to `data.txt` and a held-out part."""

    sources: Annotated[tuple[SourceConfig, ...], Field(title="Sources"), DATASET] = ()
    heldout_share: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Held-out share",
            description="Share of the documents kept out of training, chosen by a hash of the document.",
        ),
        DATASET,
    ] = 0.001
    cleaning: Annotated[
        tuple[RuleName, ...],
        Field(
            title="Cleaning",
            description="Rules in their order. Control characters and double spaces always go.",
        ),
        DATASET,
    ] = DEFAULT_CLEANING
    minimum_characters: Annotated[
        int,
        Field(ge=1, title="Shortest line", description="Of the rule minimum_length, in characters."),
        DATASET,
    ] = 2
    maximum_characters: Annotated[
        int,
        Field(ge=1, title="Longest line", description="Of the rule maximum_length, in characters."),
        DATASET,
    ] = 10_000
    arabic_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Arabic share",
            description="Least share of a line's letters that must be Arabic, of the rule arabic_share.",
        ),
        DATASET,
    ] = 0.5
    deduplicate: Annotated[
        bool,
        Field(
            title="Deduplicate",
            description="Keep the first of documents that differ only in diacritics, case, punctuation "
            "and spaces.",
        ),
        DATASET,
    ] = True
    near_duplicates: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Near-duplicates",
            description="Also drop documents at least so similar (Jaccard, 0.8 is usual) to an earlier one. "
            "0 is off; about 100 times slower than exact deduplication.",
        ),
        DATASET,
    ] = 0.0

    def __post_init__(self) -> None:
        stages = [0 if rule in TEXT_RULES else 1 if rule == "sentences" else 2 for rule in self.cleaning]
        if stages != sorted(stages):
            raise ValueError(
                "cleaning: rules that change text come first, then sentences, then rules that drop lines "
                f"({', '.join(LINE_RULES)})"
            )
        twice = sorted({rule for rule in self.cleaning if self.cleaning.count(rule) > 1})
        if twice:
            raise ValueError(f"cleaning: {', '.join(twice)} twice")
