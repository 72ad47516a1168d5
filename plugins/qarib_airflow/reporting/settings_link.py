"""A link from a task to the settings that a run saved beside what it made.

A task of Airflow 3.3 can give its run no note, so the link is at the task. It is no `BaseGoogleLink`, which
asks Airflow for XComs twice: everything this link needs is in the task.
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
    """`config.yaml` in the bucket, in the Google Cloud console: the dataset's, or the model's."""

    name = "Settings"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the console's page, as far as the task knows where it published; else empty."""
        if values := getattr(operator, "run_values", None):
            run = Run.from_dict(values)
            place = f"{run.config.upload.bucket}/{run.config.upload.prefix}{run.model.name}"
        elif files := getattr(operator, "src", None):
            folder = PurePath(files[-1]).parent.relative_to(getattr(operator, "relative_to", "/"))
            place = f"{getattr(operator, 'bucket', '')}/{getattr(operator, 'dst', '')}{folder}/"
        else:
            return ""
        return f"{CONSOLE}/{quote(place)}{SETTINGS}"
