"""Loads our own modules and compiled code once into a process that forks tasks."""

from __future__ import annotations

import logging
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

log = logging.getLogger(__name__)
# The modules that the DAG files and their tasks import; the conversion imports numpy, numba and its compiled
# code. Of Airflow's own modules, those that it imports late, in each task.
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
    """Load the modules, once. A failure is only a warning: the tasks that need the module report the error.

    A task's process executes the plugin again, and finds that its parent has already loaded them.
    """
    try:
        for name in MODULES:
            import_module(name)
        # Otherwise each task that uploads searches all providers for those that have assets.
        _ = ProvidersManagerTaskRuntime().asset_factories  # type: ignore[no-untyped-call]
        from qarib_tasks.conversion.compile_ahead import convert_tiny
        from qarib_tasks.storage.records.made_by import code_version

        code_version()  # Each task's process would look again at all files of a checkout.

        with tempfile.TemporaryDirectory() as folder:
            list(convert_tiny(Path(folder)))
    except Exception as error:
        log.warning("Could not preload the modules: %s", error)
