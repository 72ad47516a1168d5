"""Airflow loads this file when a process of its own starts, before it makes processes for tasks."""

from __future__ import annotations

import sys

if {"scheduler", "celery"} & set(sys.argv):
    # What a task's process finds imported already it need not import itself: that is a second of
    # processor time a task, half an hour for a thousand shards. Only modules that do not change while
    # Airflow runs: our own would be stale after an edit.
    import airflow.providers.google.cloud.transfers.local_to_gcs  # noqa: F401
