"""What a deployment gives to its users at most: its ceilings for sources, and what the page may take."""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.loading import STRICT, Settings, from_dict
from qarib_tasks.config.yaml_text import read_mapping

LIMITS_VARIABLE = "QARIB_LIMITS"


def _limit(title: str, description: str, **bounds: Any) -> Any:
    """A setting of at least 1, unless it has other bounds."""
    return Field(title=title, description=description, **(bounds or {"ge": 1}))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits(Settings):
    """The deployment's limits. A source or a task cannot have a higher one of the same name."""

    most_expansion: Annotated[int, _limit("Expansion", "Times its size that a file may unpack to.")] = 1000
    most_bytes: Annotated[int, _limit("Unpacked bytes", "Bytes that a file may unpack to.")] = 16 << 40
    most_members: Annotated[int, _limit("Members", "Files in an archive.")] = 10_000_000
    most_rows: Annotated[int, _limit("Rows", "Rows of a Parquet or Arrow file.")] = 100_000_000_000
    most_listed: Annotated[
        int, _limit("Names to list", "Files and folders that are listed to find the files of a source.")
    ] = 10_000_000
    listing_seconds: Annotated[float, _limit("Time to list", "Seconds for that.", gt=0)] = 3600.0
    preview_seconds: Annotated[
        float,
        _limit(
            "Time for previews",
            "Seconds for the preview of a source on the page, and for all of a preflight.",
            gt=0,
            le=300,
        ),
    ] = 10.0
    preview_lines: Annotated[int, _limit("Lines of a preview", "Lines that a preview reads, about.")] = 10_000
    preview_bytes: Annotated[
        int, _limit("Bytes of a preview", "Bytes of text that a preview reads, about.")
    ] = 32 << 20
    preview_download: Annotated[
        int, _limit("Download of a preview", "Bytes of a remote file that a preview downloads.")
    ] = 64 << 20
    previews_at_once: Annotated[
        int, _limit("Previews at once", "On the page, for all users.", ge=1, le=100)
    ] = 4
    page_threads: Annotated[
        int,
        _limit("Threads of the page", "Of the API server, for each workspace and bucket.", ge=1, le=100),
    ] = 8
    page_waiting: Annotated[
        int, _limit("Waiting requests", "Requests that may wait for these threads. More are refused.")
    ] = 60
    page_seconds: Annotated[
        float,
        _limit(
            "Time of the page",
            "Seconds for the answer to a request; half of it to read one run.",
            gt=0,
            le=600,
        ),
    ] = 30.0
    page_file_bytes: Annotated[
        int,
        _limit(
            "Bytes of a file",
            "Bytes of the largest file that the page reads, in the workspace or the bucket.",
            ge=1 << 20,
            le=1 << 30,
        ),
    ] = 80 << 20  # A history of 200,000 lines.
    page_objects: Annotated[
        int, _limit("Objects", "Objects of a dataset or a model that the page lists.")
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
