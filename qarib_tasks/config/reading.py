"""How files of texts are read: the settings that corpus sources and labelled tasks share.

Each config class adds the mark that says what another value makes, see `identity.py`.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal, Protocol

from pydantic import Field

Format = Annotated[
    Literal["auto", "text", "jsonl", "csv", "tsv", "parquet", "moses", "arrow", "warc", "wikiextractor"],
    Field(title="Format", description="auto: from the file's content, then its name."),
]
Compression = Annotated[
    Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip", "tar"],
    Field(title="Compression", description="auto: from the file's content."),
]
Encoding = Annotated[
    str,
    Field(
        min_length=1,
        title="Encoding",
        description="Such as windows-1256. auto: UTF-8, and UTF-16 or UTF-32 with a byte-order mark.",
    ),
]
EncodingErrors = Annotated[
    Literal["strict", "replace"],
    Field(
        title="Undecodable bytes",
        description="strict: a file with more of them than allowed is an error. replace: all are "
        "replaced by U+FFFD and counted.",
    ),
]
UndecodableShare = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        title="Undecodable bytes allowed",
        description="Share of a file's bytes, with `encoding_errors: strict`.",
    ),
]
Delimiter = Annotated[
    str,
    Field(
        min_length=1,
        title="Delimiter",
        description="The character between the columns of a CSV or TSV file, or `tab`. auto: guessed "
        "from the first rows.",
    ),
]
Quoting = Annotated[
    Literal["auto", "double", "single", "none"],
    Field(
        title="Quoting",
        description="The quotes that enclose a column of a CSV or TSV file. none: quotes are text. auto: "
        "guessed from the first rows, as is a backslash in front of a quote.",
    ),
]
Escape = Annotated[
    str,
    Field(
        max_length=1,
        title="Escape character",
        description="The character before a quote or delimiter that is text, in a CSV or TSV file. "
        "Empty: none, and a quote in quotes is doubled.",
    ),
]
Header = Annotated[
    bool,
    Field(
        title="Header",
        description="The first row of a CSV or TSV file has the names of the columns. Without a header, "
        "set the field to the number of a column, from 1.",
    ),
]
Member = Annotated[
    str,
    Field(
        title="Member",
        description="Glob of the files to read from a zip or tar archive. Empty: all files; in a Moses "
        "archive, *.ar.",
    ),
]
SkipAtMost = Annotated[
    int,
    Field(
        ge=0,
        title="Skipped records allowed",
        description="Maximum number of unreadable records to skip. Skipped records are counted.",
    ),
]


# Text compresses 3 to 30 times.
MostExpansion = Annotated[
    int,
    Field(
        ge=1,
        title="Expansion allowed",
        description="Maximum number of times its size that a file may unpack to, with all that is packed in "
        "it. 16 MiB are always allowed.",
    ),
]
MostBytes = Annotated[
    int,
    Field(
        ge=1, title="Unpacked bytes allowed", description="Maximum number of bytes that a file unpacks to."
    ),
]
MostMembers = Annotated[
    int,
    Field(ge=1, title="Members allowed", description="Maximum number of files in an archive."),
]
MostRows = Annotated[
    int,
    Field(ge=1, title="Rows allowed", description="Maximum number of rows of a Parquet or Arrow file."),
]


class ReadingLimits(Protocol):
    """What a file may unpack to."""

    @property
    def most_expansion(self) -> int: ...

    @property
    def most_bytes(self) -> int: ...

    @property
    def most_members(self) -> int: ...

    @property
    def most_rows(self) -> int: ...


class ReadingSettings(Protocol):
    """What the functions below need of a config."""

    @property
    def encoding(self) -> str: ...

    @property
    def delimiter(self) -> str: ...

    @property
    def quoting(self) -> str: ...

    @property
    def escape(self) -> str: ...

    @property
    def header(self) -> bool: ...


def has_layout(config: ReadingSettings) -> bool:
    """Return whether a setting says how columns are separated: the files are delimited text."""
    return not config.header or bool(config.escape) or (config.delimiter, config.quoting) != ("auto", "auto")


def check_reading(config: ReadingSettings) -> None:
    """Check the settings that no type checks.

    Raises:
        ValueError: an encoding is unknown, or a delimiter is no character.
    """
    if config.encoding != "auto":
        try:
            codecs.lookup(config.encoding)
            # Not every codec is an encoding of text, or can replace what it cannot decode.
            "".encode(config.encoding)
            codecs.getincrementaldecoder(config.encoding)("backslashreplace").decode(b"", True)
        except (LookupError, UnicodeError):
            raise ValueError(
                f"`encoding`: unknown encoding {config.encoding!r}; use a name such as windows-1256"
            ) from None
    if config.delimiter not in ("auto", "tab") and len(config.delimiter) != 1:
        raise ValueError("`delimiter` must be one character, `tab`, or `auto`")
