"""Convert the same corpus with one and two workers: shards per hour, and Airflow's overhead per shard.

    python benchmarks/workers.py                          12 shards of 64,000 lines, a quarter of an hour
    python benchmarks/workers.py --shards 8 --lines 512000

The benchmark starts four new stacks, one after the other, with PostgreSQL and emulators of Cloud Storage and
Cloud TPU: LocalExecutor with one slot and with two, and Celery with one worker and with two, each with one
slot. The scheduler, API server, database and queue run on the same machine as the workers, and on two cores
they slow down two workers. Shards are synthetic tweets (benchmarks/inputs/make_tweets.py), converted with the
published settings.

The time is from the start of the first `convert` to the end of the last `upload`. The overhead per shard is
this time, minus the seconds of the tasks' own functions (from their logs, divided by the slots), divided by
the number of shards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts"), str(REPOSITORY / "benchmarks")]

import demo
from fan_out import OWN_SECONDS, TINY
from inputs.make_tweets import Tweets
from server_stack import ServerStack

# Name, Celery workers, slots.
STACKS = (
    ("LocalExecutor, 1 slot", 0, 1),
    ("LocalExecutor, 2 slots", 0, 2),
    ("Celery, 1 worker", 1, 1),
    ("Celery, 2 workers", 2, 1),
)
SETTINGS = {"dupe_factor": 5, "vocab_size": 16_000, "heldout_share": 0.0001}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--shards", type=int, default=12)
    arguments.add_argument("--lines", type=int, default=64_000, help="lines per shard")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="qarib-workers-") as name:
        folder = Path(name)
        corpus = folder / "tweets.txt"
        with corpus.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in Tweets(1).lines(options.shards * options.lines))
        conf = TINY | SETTINGS | {"shard_lines": options.lines}
        conf["sources"] = [{"name": "tweets", "path": str(corpus)}]
        print(f"{'':<24}{'shards':>7}{'wall s':>8}{'own s':>8}{'shards/hour':>13}{'overhead s/shard':>20}")
        for title, workers, slots in STACKS:
            environment = {"QARIB_ALLOWED_SOURCES": str(folder), "QARIB_PRELOAD": "1"}
            stack = ServerStack(folder / "stack", workers=workers, slots=slots, environment=environment)
            with stack:
                figures = measure(stack, conf, max(1, workers) * slots)
            shutil.rmtree(folder / "stack")
            print(
                f"{title:<24}{figures['shards']:>7}{figures['wall']:>8.0f}{figures['own']:>8.0f}"
                f"{figures['rate']:>13,.0f}{figures['overhead']:>20.2f}",
                flush=True,
            )


def measure(stack: ServerStack, conf: dict[str, Any], at_once: int) -> dict[str, float]:
    """Measure a run until its dataset is complete, without the training."""
    run_id = stack.trigger(demo.DAG, conf)
    while True:
        tasks = stack.task_instances(demo.DAG, run_id)
        if any(task["task_id"] == "dataset" and task["state"] == "success" for task in tasks):
            break
        if stack.run(demo.DAG, run_id)["state"] in ("success", "failed"):
            raise SystemExit(demo.failure(stack, tasks))
        time.sleep(5)
    tasks = [task for task in tasks if task["task_id"].startswith("shard.")]
    start = min(datetime.fromisoformat(task["start_date"]) for task in tasks)
    end = max(datetime.fromisoformat(task["end_date"]) for task in tasks)
    wall, shards = (end - start).total_seconds(), len(tasks) // 2
    found = (OWN_SECONDS.search(stack.task_log(task)) for task in tasks)
    own = sum(float(match[1]) for match in found if match)
    overhead = (wall - own / at_once) / shards
    return {"shards": shards, "wall": wall, "own": own, "rate": 3600 * shards / wall, "overhead": overhead}


if __name__ == "__main__":
    main()
