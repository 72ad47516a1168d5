"""Celery's settings: Airflow's own, and our plugin imported by each worker before it forks.

Without `AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS=qarib_airflow.deployment.celery_config.CONFIG` each task's
process imports it anew, and with QARIB_PRELOAD all that it loads: three seconds a task.
"""

from __future__ import annotations

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

CONFIG = DEFAULT_CELERY_CONFIG | {"imports": ("qarib_plugin",)}
