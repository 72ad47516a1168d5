"""Celery's settings: Airflow's own, and each worker imports our plugin before it forks.

Without `AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS=qarib_airflow.deployment.celery_config.CONFIG` each task's
process imports the plugin again, and with QARIB_PRELOAD all modules that it loads: three seconds per task.
"""

from __future__ import annotations

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

CONFIG = DEFAULT_CELERY_CONFIG | {"imports": ("qarib_plugin",)}
