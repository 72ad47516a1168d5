"""The Airflow plugin. Airflow loads this file when one of its processes starts, before that forks tasks."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.configuration import conf

if {"scheduler", "celery"} & set(sys.argv):
    # A task's process does not import again what its parent has imported: that saves a second of processor
    # time per task, or half an hour for a thousand shards. Only for modules that do not change while Airflow
    # runs. Where our own modules do not change either, as in an image, set QARIB_PRELOAD=1.
    import airflow.providers.google.cloud.transfers.local_to_gcs  # noqa: F401

    if os.environ.get("QARIB_PRELOAD"):
        from qarib_airflow.deployment.preload import preload

        preload()

PREFIX = "/qarib"


class Page:
    """The page's application, imported at the first request, as no other Airflow process needs it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = await asyncio.to_thread(_imported)
        await app(scope, receive, send)


def _imported() -> Any:
    from qarib_airflow.page.app import app

    return app


def _at(path: str) -> str:
    """A page's address below Airflow's base URL."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "/").path.rstrip("/") + PREFIX + path


APPS = [{"app": Page(), "url_prefix": PREFIX, "name": "QARiB"}]
ICON = _at("/static/icon.svg")
VIEWS = [
    {"name": "QARiB", "href": _at("/"), "destination": "nav", "url_route": "qarib", "icon": ICON},
    {
        "name": "QARiB",
        "href": _at("/?dag_id={DAG_ID}&run_id={RUN_ID}"),
        "destination": "dag_run",
        "url_route": "qarib-run",
        "icon": ICON,
    },
]


class QaribPlugin(AirflowPlugin):
    """Adds the page to the navigation and to each run."""

    name = "qarib"
    fastapi_apps = APPS
    external_views = VIEWS
