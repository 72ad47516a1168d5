"""Settings of step 0: sources, cleaning and deduplication."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import DATASET, neither
from qarib_tasks.config.loading import STRICT, Settings
from qarib_tasks.config.reading import (
    Compression,
    Delimiter,
    Encoding,
    EncodingErrors,
    Escape,
    Format,
    Header,
    Member,
    MostBytes,
    MostExpansion,
    MostMembers,
    MostRows,
    Quoting,
    SkipAtMost,
    UndecodableShare,
    check_reading,
)

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
LIMIT = neither("a source that exceeds it is an error")
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
class SourceConfig(Settings):
    """One corpus source: a file, a glob of files, or an address in a bucket or on a web server."""

    takes_empty: ClassVar[bool] = False  # Whether a null is an empty text.
    # For messages: the settings of the two fields; what is wrong without fields, and what to do.
    text_setting: ClassVar[str] = "field"
    group_setting: ClassVar[str] = "group"
    without_fields: ClassVar[tuple[str, str]] = (
        "plain text has no fields to group by",
        "Remove `group`, and set `document` to another value",
    )

    name: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$", title="Name"), DATASET]
    path: Annotated[
        str,
        Field(
            min_length=1,
            title="Address",
            description="Path of a file or folder, or glob; gs://bucket/…, the same; http:// or https:// "
            "address.",
        ),
        neither("the contents of its files count, not where they are"),
    ]
    format: Annotated[Format, DATASET] = "auto"
    compression: Annotated[Compression, DATASET] = "auto"
    encoding: Annotated[Encoding, DATASET] = "auto"
    encoding_errors: Annotated[EncodingErrors, DATASET] = "strict"
    undecodable_share: Annotated[UndecodableShare, DATASET] = 0.0001
    delimiter: Annotated[Delimiter, DATASET] = "auto"
    quoting: Annotated[Quoting, DATASET] = "auto"
    escape: Annotated[Escape, DATASET] = ""
    header: Annotated[Header, DATASET] = True
    field: Annotated[
        str | tuple[Annotated[str, Field(min_length=1)], ...],
        Field(
            min_length=1,
            title="Field",
            description="JSON field, column, or number of a column that holds the text. Write a.b for b "
            "inside a. Of a list, the first field that a record has. A tweet's full text is preferred over a "
            "`text` that is cut short.",
        ),
        BeforeValidator(lambda value: str(value) if type(value) is int else value),
        DATASET,
    ] = "text"
    document: Annotated[
        Literal["blank_line", "line", "file", "group"],
        Field(
            title="Document",
            description="What ends a document: a blank line, the end of each line, the end of the file, "
            "or a new value in the grouping field.",
        ),
        DATASET,
    ] = "blank_line"
    group: Annotated[
        str,
        Field(
            title="Grouping field",
            description="Consecutive records with the same value in this field or column form a document.",
        ),
        DATASET,
    ] = ""
    member: Annotated[Member, DATASET] = ""
    limit: Annotated[
        int, Field(ge=0, title="Limit", description="Maximum number of documents. 0: no limit."), DATASET
    ] = 0
    share: Annotated[
        float,
        Field(gt=0, le=1, title="Share", description="Share of the documents to use, selected by hash."),
        DATASET,
    ] = 1.0
    skip_at_most: Annotated[SkipAtMost, DATASET] = 0
    most_expansion: Annotated[MostExpansion, LIMIT] = 200
    most_bytes: Annotated[MostBytes, LIMIT] = 1 << 40
    most_members: Annotated[MostMembers, LIMIT] = 1_000_000
    most_rows: Annotated[MostRows, LIMIT] = 10_000_000_000
    most_listed: Annotated[
        int,
        Field(
            ge=1,
            title="Names to list",
            description="Maximum number of files and folders that are listed to find the source's files.",
        ),
        LIMIT,
    ] = 1_000_000
    listing_seconds: Annotated[
        float, Field(gt=0, title="Time to list", description="Maximum seconds for that."), LIMIT
    ] = 600.0
    sha256: Annotated[
        str,
        Field(
            pattern=r"^$|^[0-9a-f]{64}$",
            title="SHA-256",
            description="Expected checksum of the file, for a source that is a single file.",
        ),
        DATASET,
    ] = ""

    def __post_init__(self) -> None:
        if (self.document == "group") != bool(self.group):
            raise ValueError("set both `document: group` and `group`, or neither")
        check_reading(self)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can hold the text, the preferred one first."""
        return (self.field,) if isinstance(self.field, str) else self.field


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CollectConfig(Settings):
    """Step 0: source files to `data.txt` and a held-out part."""

    sources: Annotated[tuple[SourceConfig, ...], Field(title="Sources"), DATASET] = ()
    heldout_share: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Held-out share",
            description="Share of the documents to keep out of training, selected by a hash of the document.",
        ),
        DATASET,
    ] = 0.001
    cleaning: Annotated[
        tuple[RuleName, ...],
        Field(
            title="Cleaning",
            description="Cleaning rules, in order. Control characters and repeated spaces are always "
            "removed.",
        ),
        DATASET,
    ] = DEFAULT_CLEANING
    minimum_characters: Annotated[
        int,
        Field(ge=1, title="Minimum line length", description="In characters, for the rule minimum_length."),
        DATASET,
    ] = 2
    maximum_characters: Annotated[
        int,
        Field(ge=1, title="Maximum line length", description="In characters, for the rule maximum_length."),
        DATASET,
    ] = 10_000
    arabic_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Arabic share",
            description="Minimum share of Arabic letters in a line, for the rule arabic_share. A line "
            "without letters is kept, unless most of its characters are U+FFFD.",
        ),
        DATASET,
    ] = 0.5
    deduplicate: Annotated[
        bool,
        Field(
            title="Deduplicate",
            description="Of documents that differ only in diacritics, case, punctuation and spaces, keep the "
            "first.",
        ),
        DATASET,
    ] = True
    near_duplicates: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Near-duplicates",
            description="Also drop documents whose Jaccard similarity to an earlier document reaches this "
            "value; 0.8 is common. 0: off. About 100 times slower than exact deduplication.",
        ),
        DATASET,
    ] = 0.0

    def __post_init__(self) -> None:
        stages = [0 if rule in TEXT_RULES else 1 if rule == "sentences" else 2 for rule in self.cleaning]
        if stages != sorted(stages):
            raise ValueError(
                "cleaning: put rules that change text first, then `sentences`, then rules that drop lines "
                f"({', '.join(map(repr, LINE_RULES))})"
            )
        twice = sorted({rule for rule in self.cleaning if self.cleaning.count(rule) > 1})
        if twice:
            raise ValueError(f"cleaning: duplicate rules: {', '.join(map(repr, twice))}")
