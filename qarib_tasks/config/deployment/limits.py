"""What a deployment gives to its users at most: its ceilings for sources, and what the page may take."""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.loading import STRICT, Settings, from_dict
from qarib_tasks.config.yaml_text import read_mapping

LIMITS_VARIABLE = "QARIB_LIMITS"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits(Settings):
    """The deployment's limits. A source or a task cannot have a higher one of the same name."""

    most_expansion: Annotated[
        int, Field(ge=1, title="Expansion", description="Times its size that a file may unpack to.")
    ] = 1000
    most_bytes: Annotated[
        int, Field(ge=1, title="Unpacked bytes", description="Bytes that a file may unpack to.")
    ] = 16 << 40
    most_members: Annotated[int, Field(ge=1, title="Members", description="Files in an archive.")] = (
        10_000_000
    )
    most_rows: Annotated[int, Field(ge=1, title="Rows", description="Rows of a Parquet or Arrow file.")] = (
        100_000_000_000
    )
    most_listed: Annotated[
        int,
        Field(
            ge=1,
            title="Names to list",
            description="Files and folders that are listed to find the files of a source.",
        ),
    ] = 10_000_000
    listing_seconds: Annotated[float, Field(gt=0, title="Time to list", description="Seconds for that.")] = (
        3600.0
    )
    preview_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=300,
            title="Time for previews",
            description="Seconds for the preview of a source on the page, and for all of a preflight.",
        ),
    ] = 10.0
    preview_lines: Annotated[
        int, Field(ge=1, title="Lines of a preview", description="Lines that a preview reads, about.")
    ] = 10_000
    preview_bytes: Annotated[
        int,
        Field(
            ge=1,
            title="Bytes of a preview",
            description="Bytes of text that a preview reads, about.",
        ),
    ] = 32 << 20
    preview_download: Annotated[
        int,
        Field(
            ge=1,
            title="Download of a preview",
            description="Bytes of a remote file that a preview downloads.",
        ),
    ] = 64 << 20
    previews_at_once: Annotated[
        int, Field(ge=1, le=100, title="Previews at once", description="On the page, for all users.")
    ] = 4
    page_threads: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Threads of the page",
            description="Of the API server, for each workspace and bucket.",
        ),
    ] = 8
    page_waiting: Annotated[
        int,
        Field(
            ge=1,
            title="Waiting requests",
            description="Requests that may wait for these threads. More are refused.",
        ),
    ] = 60
    page_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=600,
            title="Time of the page",
            description="Seconds for the answer to a request; half of it to read one run.",
        ),
    ] = 30.0
    page_file_bytes: Annotated[
        int,
        Field(
            ge=1 << 20,
            le=1 << 30,
            title="Bytes of a file",
            description="Bytes of the largest file that the page reads, in the workspace or the bucket.",
        ),
    ] = 80 << 20  # A history of 200,000 lines.
    page_objects: Annotated[
        int,
        Field(ge=1, title="Objects", description="Objects of a dataset or a model that the page lists."),
    ] = 200_000


def deployment_limits() -> Limits:
    """Return the limits in the environment variable QARIB_LIMITS, a mapping in YAML or JSON.

    Raises:
        ConfigError: it is not valid.
    """
    return _limits_in(os.environ.get(LIMITS_VARIABLE, ""))


@cache
def _limits_in(text: str) -> Limits:
    return from_dict(Limits, read_mapping(text, LIMITS_VARIABLE), where=LIMITS_VARIABLE)
