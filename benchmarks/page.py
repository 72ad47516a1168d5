"""Measure how long the server takes to answer each view of the page, and count its calls to the bucket.

    python benchmarks/page.py [--shards 1200] [--runs 2000] [--history 200000]

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
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("", "plugins", "tests")]
LIMIT = 0.3
VIEWS = ("runs", "shards", "corpus", "training", "tasks", "model", "compare")
COMPARED = 8  # runs, the first two with the long history
TIMES = 15


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--shards", type=int, default=1200)
    arguments.add_argument("--runs", type=int, default=2000)
    arguments.add_argument("--history", type=int, default=200_000, help="lines")
    options = arguments.parse_args()
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
        from tests.support.browser.many_runs import many_runs, write_history
        from tests.support.made_up_run import insert_run, make_run

        run = make_run(home / "workspace", options.shards)
        os.environ |= {"QARIB_WORKSPACE": str(run.workspace), "QARIB_BUCKET": "qarib"}
        emulator = gcs.start(home / "buckets", port, token)
        try:
            run.upload_to(os.environ["STORAGE_EMULATOR_HOST"], "qarib")
            from airflow.utils.db import initdb  # noqa: TID251

            initdb()
            others = many_runs(run, options.runs)
            compared = [run, *others[: COMPARED - 1]]
            for number, one in enumerate(compared):
                assert one.record.model is not None
                write_history(run.workspace / one.record.model.name, 1_000 if number > 1 else options.history)
            insert_run(home / "airflow.db", *others, run)
            print(f"{options.shards:,} shards, {options.runs:,} runs, {options.history:,} lines of history")
            return measure([f"{one.record.dag_id}/{one.record.run_id}" for one in compared])
        finally:
            emulator.kill()
            emulator.wait()


def measure(compared: list[str]) -> int:
    from airflow.api_fastapi.app import init_auth_manager  # noqa: TID251
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: TID251
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from qarib_airflow.page import answers
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
        print(f"milliseconds at the server; median of {TIMES} later answers")
        head = f"{'first':>8}{'later':>8}{'at most':>9}{'cached':>8}{'CPU':>11}{'KB':>8}"
        print(f"{'view':<10}{head}  bucket")
        for view in VIEWS:

            def ask(view: str = view, client: Any = client) -> float:
                start = time.perf_counter()
                own = {"dag_id": "qarib_pretrain", "run_id": "made-up"}
                query = {"run": compared} if view == "compare" else own
                answer = client.get(f"/qarib/data/{view}", params=query)
                seconds = time.perf_counter() - start
                assert answer.status_code == 200, answer.text
                assert not answer.json().get("trouble"), answer.json()["trouble"]
                ask.size = len(answer.content)  # type: ignore[attr-defined]
                return seconds

            asked.clear()
            first = ask()
            reads = len(asked)
            if view == "runs":
                reads = read_all(client, asked)
            cached = statistics.median(ask() for _ in range(TIMES))
            processor = time.process_time()
            later = []
            for _ in range(TIMES):
                answers.CACHE.age(FRESH)
                later.append(ask())
            processor = (time.process_time() - processor) / TIMES
            slow += statistics.median(later) > LIMIT
            figures = [f"{1000 * s:>8.0f}" for s in (first, statistics.median(later))]
            figures += [
                f"{1000 * max(later):>9.0f}",
                f"{1000 * cached:>8.0f}",
                f"{1000 * processor:>11.0f}",
                f"{ask.size / 1000:>8.0f}",
            ]  # type: ignore[attr-defined]
            print(f"{view:<10}{''.join(figures)}  {reads} calls")
    if slow:
        print(f"a view takes longer than {1000 * LIMIT:.0f} ms", file=sys.stderr)
    return int(slow > 0)


def read_all(client: Any, asked: list[str]) -> int:
    """Ask for the table of runs until all are read, and print how that went.

    Returns:
        the largest number of calls to the bucket for an answer.
    """
    seconds, calls, start = [], [0], time.perf_counter()
    while True:
        asked.clear()
        began = time.perf_counter()
        unread = client.get("/qarib/data/runs").json()["unread"]
        seconds.append(time.perf_counter() - began)
        calls.append(len(asked))
        if not unread:
            break
        time.sleep(0.05)
    print(
        f"all runs are read after {len(seconds)} answers and {time.perf_counter() - start:.1f} s; "
        f"these answers took {1000 * statistics.median(seconds):.0f} ms, at most {1000 * max(seconds):.0f} ms"
    )
    return max(calls)


if __name__ == "__main__":
    sys.exit(main())
