"""Links from a task to the Google Cloud console's pages about its training.

The task's own process makes the addresses: its operator's `extra_links_params` fill the `format_str` of each
link.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.providers.google.cloud.links.base import BaseGoogleLink

from qarib_airflow.tpu.emulated import is_emulated
from qarib_tasks.storage.bucket import split_address


class CloudTPULink(BaseGoogleLink):
    """The project's TPUs, as a run's TPU has a new name after each loss."""

    name = "Cloud TPUs"
    key = "cloud_tpus"
    format_str = "/compute/tpus{project}"


class TensorBoardLogsLink(BaseGoogleLink):
    """The folder of TensorBoard's event files in the bucket."""

    name = "TensorBoard logs"
    key = "tensorboard_logs"
    format_str = "/storage/browser/{tensorboard}{project}"


def link_params(
    project_id: str | None, gcp_conn_id: str, job: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The values of the links' `format_str`. A link with missing values is empty, and not shown.

    The console knows nothing of an emulated TPU.
    """
    if is_emulated(gcp_conn_id):
        return {}
    # Without a project the console uses the one that its user chose last.
    params = {"project": f"?project={quote(project_id)}" if project_id else ""}
    if job and (folder := job.get("tensorboard")):
        bucket, name = split_address(folder)
        params["tensorboard"] = f"{bucket}/{quote(name.rstrip('/'))}"
    return params
