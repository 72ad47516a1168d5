"""Celery's settings in a worker."""

from __future__ import annotations

from importlib import import_module

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from qarib_airflow.deployment.celery_config import CONFIG


def test_only_the_imports_differ_from_airflow_s_own() -> None:
    assert {key for key in CONFIG if CONFIG[key] != DEFAULT_CELERY_CONFIG.get(key)} == {"imports"}
    for name in CONFIG["imports"]:
        import_module(name)
