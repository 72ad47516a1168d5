"""Measure how long the server takes to answer each view of the page, and count its calls to the bucket.

    python benchmarks/page.py [--shards 1200]

The run's tasks are in Airflow's database (SQLite), its manifests in the workspace, and its objects in an
emulator of Cloud Storage. The page's answers are timed within the process: authorization, queries, reads,
JSON. The first answer reads everything. "cached" answers use what was read in the last four seconds, and
manifests that have not changed. For "later" answers, these four seconds have passed: they use the last
listing while a new one is made. "CPU" is the CPU time of the later answers, including the new listing; use it
if other programs keep the machine busy.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("", "plugins", "tests")]
LIMIT = 0.3
VIEWS = ("runs", "shards", "corpus", "training", "tasks", "model")
TIMES = 15


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--shards", type=int, default=1200)
    shards = arguments.parse_args().shards
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        home = Path(folder)
        from qarib_tasks.emulators import gcs
        from qarib_tasks.emulators.access import new_token

        token = new_token()
        os.environ |= {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
            "STORAGE_EMULATOR_HOST": gcs.address(port, token),
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
                {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "emulator"}}
            ),
        }
        from tests.support.made_up_run import insert_run, make_run

        run = make_run(home / "workspace", shards)
        os.environ |= {"QARIB_WORKSPACE": str(run.workspace), "QARIB_BUCKET": "qarib"}
        emulator = gcs.start(home / "buckets", port, token)
        try:
            run.upload_to(os.environ["STORAGE_EMULATOR_HOST"], "qarib")
            from airflow.utils.db import initdb  # noqa: TID251

            initdb()
            insert_run(home / "airflow.db", run)
            return measure(shards)
        finally:
            emulator.kill()
            emulator.wait()


def measure(shards: int) -> int:
    from airflow.api_fastapi.app import init_auth_manager  # noqa: TID251
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: TID251
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from qarib_airflow.page import app as page
    from qarib_airflow.page.bucket import ConnectionBucket

    from qarib_tasks.views.files import FRESH

    asked: list[str] = []
    own_list, own_read = ConnectionBucket.list, ConnectionBucket.read
    ConnectionBucket.list = lambda self, below: asked.append(f"list {below}") or own_list(self, below)  # type: ignore[method-assign,func-returns-value]
    ConnectionBucket.read = lambda self, name: asked.append(f"read {name}") or own_read(self, name)  # type: ignore[method-assign,func-returns-value]
    host = FastAPI()
    manager = init_auth_manager(host)
    token = manager.generate_jwt(SimpleAuthManagerUser(username="viewer", role="viewer"))
    host.mount("/qarib", page.app)
    slow = 0
    with TestClient(host, headers={"Authorization": f"Bearer {token}"}) as client:
        client.get("/qarib/static/icon.svg")  # Warm-up: imports and the first query of the guard.
        print(f"{shards:,} shards; milliseconds at the server; median of {TIMES} later answers")
        head = f"{'first':>8}{'later':>8}{'at most':>9}{'cached':>8}{'CPU':>11}{'KB':>8}"
        print(f"{'view':<10}{head}  bucket")
        for view in VIEWS:

            def ask() -> float:
                start = time.perf_counter()
                query = {"dag_id": "qarib_pretrain", "run_id": "made-up"}
                answer = client.get(f"/qarib/data/{view}", params=query)  # noqa: B023
                seconds = time.perf_counter() - start
                assert answer.status_code == 200, answer.text
                assert not answer.json().get("trouble"), answer.json()["trouble"]
                ask.size = len(answer.content)  # type: ignore[attr-defined]
                return seconds

            asked.clear()
            first = ask()
            reads = len(asked)
            cached = statistics.median(ask() for _ in range(TIMES))
            processor = time.process_time()
            later = []
            for _ in range(TIMES):
                page.CACHE.age(FRESH)
                later.append(ask())
            processor = (time.process_time() - processor) / TIMES
            slow += view == "shards" and statistics.median(later) > LIMIT
            figures = [f"{1000 * s:>8.0f}" for s in (first, statistics.median(later))]
            figures += [
                f"{1000 * max(later):>9.0f}",
                f"{1000 * cached:>8.0f}",
                f"{1000 * processor:>11.0f}",
                f"{ask.size / 1000:>8.0f}",
            ]  # type: ignore[attr-defined]
            print(f"{view:<10}{''.join(figures)}  {reads} calls")
    if slow:
        print(f"the view of the shards takes longer than {1000 * LIMIT:.0f} ms", file=sys.stderr)
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
