"""Checks the part of the deployment that QARIB_ROLE names; the exit status is 0 if it is healthy, else 1.

The image's health check. Roles: api-server, scheduler, dag_processor and triggerer (as Airflow's own health
page reports), worker (answers over Celery), metrics, tpu and gcs (their ports are open). It needs at most one
second of processor time.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request

API = os.environ.get("QARIB_API_SERVER", "http://api-server:8080")
PORTS = {"metrics": (9102,), "tpu": (9470,), "gcs": (4443, 4444)}


def is_well(role: str) -> bool:
    if role == "worker":
        return answers_over_celery()
    if role in PORTS:
        for port in PORTS[role]:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    address = "http://127.0.0.1:8080" if role == "api-server" else API
    with urllib.request.urlopen(f"{address}/api/v2/monitor/health", timeout=15) as answer:
        health = json.load(answer)
    part = "metadatabase" if role == "api-server" else role
    return bool(health[part]["status"] == "healthy")


def answers_over_celery() -> bool:
    from celery import Celery

    with open(os.environ["QARIB_BROKER_FILE"], encoding="utf-8") as file:
        app = Celery(broker=file.read().strip())
    name = f"celery@{socket.gethostname()}"
    return bool(app.control.ping(destination=[name], timeout=10, limit=1))


if __name__ == "__main__":
    if role := os.environ.get("QARIB_ROLE"):
        try:
            well = is_well(role)
        except (OSError, ValueError, KeyError) as error:
            print(f"{role}: {error}")
            sys.exit(1)
        sys.exit(not well)
