"""Our own modules and compiled code, loaded once into a process that forks tasks."""

from __future__ import annotations

import logging
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

log = logging.getLogger(__name__)
# What the DAG files and their tasks import; the conversion brings numpy, numba and its compiled code.
# Airflow's own are what it imports late, in each task.
MODULES = (
    "airflow.dag_processing.bundles.local",
    "airflow.providers.google.assets.gcs",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.timeout",
    "airflow.sdk.lineage",
    "jinja2.ext",
    "jsonschema",
    "qarib_airflow.preflight.backfill",
    "qarib_airflow.forms.pretrain",
    "qarib_airflow.tasks.pipeline",
    "qarib_tasks.conversion.compile_ahead",
)


@cache
def preload() -> None:
    """Load them. What cannot be loaded is a warning: the tasks that need it will say more.

    Once: a task's process executes the plugin anew, and finds that its parent has loaded them.
    """
    try:
        for name in MODULES:
            import_module(name)
        # A task that uploads would look through all providers for those that have assets.
        _ = ProvidersManagerTaskRuntime().asset_factories  # type: ignore[no-untyped-call]
        from qarib_tasks.conversion.compile_ahead import convert_tiny

        with tempfile.TemporaryDirectory() as folder:
            list(convert_tiny(Path(folder)))
    except Exception as error:
        log.warning("Not loaded ahead: %s", error)
