"""Runs that train on a TPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.run import Run

CONNECTION = "google_cloud_default"


def run_of(tmp_path: Path, bucket: str, **tpu: Any) -> Run:
    upload = {"bucket": bucket, "prefix": "team/"}
    values = {"preset": "demo", "workspace": str(tmp_path / "w"), "upload": upload}
    return Run(resolve(values | {"tpu": {"machine": "cloud_tpu"} | tpu}), "demo-0", "demo-1")
