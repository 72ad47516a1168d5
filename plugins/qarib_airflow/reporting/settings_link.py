"""A link from a task to the settings that a run saved next to its results.

In Airflow 3.3 a task cannot add a note to its run, so the link is on the task. It is not a `BaseGoogleLink`,
which requests XComs from Airflow twice: the task has everything that this link needs.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.providers.google.cloud.links.base import BASE_LINK
from airflow.sdk import BaseOperatorLink

from qarib_tasks.layout import SETTINGS
from qarib_tasks.runs.run import Run

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

CONSOLE = f"{BASE_LINK}/storage/browser/_details"


class SavedSettingsLink(BaseOperatorLink):
    """The dataset's or model's `config.yaml` in the bucket, in the Google Cloud console."""

    name = "Settings"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the console's page; empty if the task does not know where it published."""
        if values := getattr(operator, "run_values", None):
            run = Run.from_dict(values)
            place = f"{run.config.upload.bucket}/{run.config.upload.prefix}{run.model.name}"
        elif files := getattr(operator, "src", None):
            folder = PurePath(files[-1]).parent.relative_to(getattr(operator, "relative_to", "/"))
            place = f"{getattr(operator, 'bucket', '')}/{getattr(operator, 'dst', '')}{folder}/"
        else:
            return ""
        return f"{CONSOLE}/{quote(place)}{SETTINGS}"
