"""Measure the scheduler's overhead per shard: a run of tiny shards, and a bare DAG of the same shape.

    python benchmarks/fan_out.py                  100 shards, 3 times, and 1,200: half an hour on two cores
    python benchmarks/fan_out.py --shards 100 --times 3
    python benchmarks/fan_out.py --shards 1200 --results fan.jsonl --only ours
    python benchmarks/fan_out.py --shards 1200 --results fan.jsonl --only bare

The last two are parts of about twelve minutes each; the second prints the ratio.

The overhead per shard is the time from the start of the first `convert` to the end of the last `upload`,
minus the CPU seconds of the tasks' own functions (from their logs) and of the bucket's emulator (divided by
the number of cores), divided by the number of shards. The bare DAG's tasks are empty. The imports of a task's
process count as overhead.

Runs of our DAG and of the bare DAG alternate in one Airflow, because a machine's speed varies; with `--only`,
each has an Airflow of its own. A short warm-up run, which does not count, starts the parts of Airflow that
start late.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts")]

import demo
import psutil
from local_stack import TINY_MODEL, LocalStack

from qarib_tasks import pipeline
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.runs.prepare import prepare

BARE = "bare_fan_out"
DAGS = {"ours": demo.DAG, "bare": BARE}
SOURCES = [{"name": name, "path": str(SAMPLE / f"{name}.txt")} for name in ("classical", "office")]
TINY = {
    "preset": "demo",
    "sources": SOURCES,
    "vocab_size": 1000,
    "dupe_factor": 1,
    **TINY_MODEL,
    "train_batch_size": 16,
    "train_steps": 4,
    "num_warmup_steps": 1,
    "save_checkpoints_steps": 4,
    "max_eval_steps": 1,
    "machine": "local",
}
# Wall seconds, CPU seconds.
OWN_SECONDS = re.compile(r"(?:convert|upload) took ([0-9.]+) s, ([0-9.]+) of the processor")
BUNDLES = [
    {
        "name": name,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(folder)},
    }
    for name, folder in (("dags", REPOSITORY / "dags"), ("bare", REPOSITORY / "benchmarks" / "bare"))
]


# A run with fewer shards is too short for a single measurement.
FEW = 300
WARM_UP = 16


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--shards", type=int, nargs="+", default=[100, 1200])
    arguments.add_argument("--times", type=int, help=f"default: 3 below {FEW} shards, else 1")
    arguments.add_argument("--only", choices=tuple(DAGS), help="one of the two DAGs; needs --results")
    arguments.add_argument("--results", type=Path, help="a file of earlier parts, to which this one is added")
    options = arguments.parse_args()
    if options.only and not options.results:
        arguments.error("--only needs --results: the other part makes the ratio")
    names = [DAGS[options.only]] if options.only else list(DAGS.values())
    lines = collected_lines()
    print(f"{'shards':>6}  {'DAG':<15}{'wall s':>8}{'own s':>8}{'s/shard':>11}{'XCom B/shard':>16}")
    for shards in options.shards:
        environment = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES)}
        overheads = earlier(options.results, shards)
        with (
            tempfile.TemporaryDirectory(prefix="qarib-fan-out-") as home,
            LocalStack(Path(home), environment=environment) as stack,
        ):
            measure(stack, BARE, {"shards": WARM_UP})
            for turn in range(options.times or (3 if shards < FEW else 1)):
                number = shards
                for name in names:
                    # A different seed results in a different dataset.
                    ours = TINY | {"shard_lines": lines // shards, "random_seed": turn}
                    figures = measure(stack, name, ours if name == demo.DAG else {"shards": number})
                    number = figures["shards"]
                    overheads[name].append(figures["overhead"])
                    keep(options.results, shards, name, figures["overhead"])
                    print(
                        f"{figures['shards']:>6}  {name:<15}{figures['wall']:>8.1f}{figures['own']:>8.1f}"
                        f"{figures['overhead']:>11.3f}{figures['xcom']:>16.1f}",
                        flush=True,
                    )
        if all(overheads.values()):
            means = [statistics.mean(overheads[name]) for name in (demo.DAG, BARE)]
            print(f"{shards:>6}  overhead of ours / bare: {means[0] / means[1]:.2f}", flush=True)


def earlier(results: Path | None, shards: int) -> dict[str, list[float]]:
    """The overheads that earlier parts measured for this number of shards, by DAG."""
    found: dict[str, list[float]] = {name: [] for name in DAGS.values()}
    if results and results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            if one["shards"] == shards:
                found[one["dag"]].append(one["overhead"])
    return found


def keep(results: Path | None, shards: int, dag: str, overhead: float) -> None:
    """Add a measurement to the file of results, if there is one."""
    if results:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"shards": shards, "dag": dag, "overhead": overhead}) + "\n")


def collected_lines() -> int:
    """Return the number of lines that are collected, to split them into the requested number of shards."""
    with tempfile.TemporaryDirectory() as workspace:
        values = {"preset": "demo", "workspace": workspace, "collect": {"sources": SOURCES}}
        run = prepare(resolve(values))
        pipeline.collect(run)
        return sum(1 for _ in chain(run.dataset.data.open("rb"), run.dataset.heldout_data.open("rb")))


def measure(stack: LocalStack, dag: str, conf: dict[str, Any]) -> dict[str, Any]:
    """Measure a run: shards, wall seconds of the fan-out, own seconds, overhead, and XCom bytes per shard."""
    emulator = psutil.Process(stack.process("emulator"))
    before = processor_seconds(emulator)
    run_id = stack.trigger(dag, conf)
    while (state := stack.run(dag, run_id)["state"]) not in ("success", "failed"):
        time.sleep(2)
    tasks = [t for t in stack.task_instances(dag, run_id) if t["task_id"].startswith("shard.")]
    if state != "success":
        raise SystemExit(demo.failure(stack, stack.task_instances(dag, run_id)))
    start = min(datetime.fromisoformat(t["start_date"]) for t in tasks)
    end = max(datetime.fromisoformat(t["end_date"]) for t in tasks)
    wall, shards = (end - start).total_seconds(), len(tasks) // 2
    logs = (stack.logs / "tasks").glob(f"dag_id={dag}/run_id={run_id}/task_id=shard.*/**/*.log")
    found = (OWN_SECONDS.search(path.read_text(encoding="utf-8")) for path in logs)
    own = sum(float(match[2]) for match in found if match) + processor_seconds(emulator) - before
    return {
        "shards": shards,
        "wall": wall,
        "own": own,
        "overhead": (wall - own / len(os.sched_getaffinity(0))) / shards,
        "xcom": xcom_bytes(stack, dag, run_id) / shards,
    }


def processor_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children())]
    return float(sum(time.user + time.system for time in times))


def xcom_bytes(stack: LocalStack, dag: str, run_id: str) -> int:
    """Return the bytes of the XCom values of the shards' tasks in Airflow's database."""
    with sqlite3.connect(f"file:{stack.home / 'airflow.db'}?mode=ro", uri=True) as database:
        query = (
            "select coalesce(sum(length(value)), 0) from xcom "
            "where dag_id = ? and run_id = ? and task_id like 'shard.%'"
        )
        return int(database.execute(query, (dag, run_id)).fetchone()[0])


if __name__ == "__main__":
    main()
