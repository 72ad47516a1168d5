"""Links from a task to what the Google Cloud console shows of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from qarib_tasks.storage.bucket import split_address

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

CONSOLE = "https://console.cloud.google.com"


class CloudTPULink(BaseOperatorLink):
    """The project's TPUs in the Google Cloud console: a run's change their names with each loss."""

    name = "Cloud TPUs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the console's page; empty for a training without a TPU."""
        return f"{CONSOLE}/compute/tpus{_project(operator)}" if _job(operator) else ""


class TensorBoardLogsLink(BaseOperatorLink):
    """The folder of TensorBoard's event files, in the console's view of the bucket."""

    name = "TensorBoard logs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the folder; empty for a training without a TPU."""
        folder = _job(operator).get("tensorboard")
        if not folder:
            return ""
        bucket, name = split_address(folder)
        return f"{CONSOLE}/storage/browser/{bucket}/{quote(name.rstrip('/'))}{_project(operator)}"


def _job(operator: BaseOperator) -> dict[str, Any]:
    job = getattr(operator, "job", None)
    return job if isinstance(job, dict) else {}


def _project(operator: BaseOperator) -> str:
    project = getattr(operator, "project_id", None)
    return f"?project={quote(project)}" if project else ""
