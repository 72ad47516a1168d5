"""The trigger form of `qarib_clean_up`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from qarib_airflow.forms.fields import typed
from qarib_tasks.config.typed import NUMBER_PATTERN
from qarib_tasks.config.upload import PREFIX
from qarib_tasks.errors import ConfigError

MOST_DAYS = 100_000


def clean_up_params() -> dict[str, Param]:
    """The fields of the form."""
    return {
        "older_than_days": Param(
            "90",
            type=["string", "number"],
            minimum=1,
            pattern=NUMBER_PATTERN,
            examples=["30", "90", "365"],
            title="Minimum age in days",
            description="Everything that changed within this number of days is kept. At least 1.",
        ),
        "dry_run": Param(
            True, type="boolean", title="Dry run", description="List what can be deleted, and delete nothing."
        ),
        "prefix": Param(
            None,
            type=["null", "string"],
            pattern=PREFIX,
            title="Prefix",
            description="The folder in the bucket that the runs publish to, ending with a slash. Empty: the "
            "bucket itself.",
        ),
    }


def minimum_age(params: Mapping[str, Any]) -> float:
    """The minimum age in days.

    Raises:
        ConfigError: it is no number, can be read in two ways, such as `1.000`, or is below 1: all that a
            running run made would be old.
    """
    days = typed({"type": "integer"}, params["older_than_days"], "older_than_days")
    if days is None or not 1 <= days <= MOST_DAYS:
        what = f"must be 1 to {MOST_DAYS:,}"
        raise ConfigError(what, where="older_than_days", do="Enter a number of days")
    return float(days)
