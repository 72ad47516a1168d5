"""Compare the DAG's upload tasks with google-cloud-storage's transfer manager, on the same files.

    python benchmarks/upload.py                 200 objects: 100 shards and their manifests
    python benchmarks/upload.py --shards 10

`qarib_backfill_shards` uploads all objects of a converted dataset, because none is in the bucket. The
transfer manager then uploads the same files to another prefix, with as many workers as Airflow runs tasks.
The tasks' overhead is the DAG's time except the upload itself: processes, requests to Airflow, a client per
task, and the comparison of size and CRC32C before and after the upload, which the transfer manager does not
do.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts"), str(REPOSITORY / "benchmarks")]

import demo
from fan_out import SOURCES, collected_lines
from google.cloud.storage import transfer_manager  # type: ignore[import-untyped]
from local_stack import LocalStack

from qarib_tasks import pipeline
from qarib_tasks.config.presets import resolve
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run

DAG = "qarib_backfill_shards"
SENDING = re.compile(r"sending took ([0-9.]+) s")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--shards", type=int, default=100, help="two objects each  [%(default)s]")
    options = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="qarib-upload-") as home,
        LocalStack(Path(home)) as stack,
    ):
        run, names = converted(stack, options.shards)
        wall, sending = through_the_dag(stack, run)
        files = [
            path.relative_to(stack.workspace).as_posix()
            for name in names
            for path in pipeline.shard_files(run, name)
        ]
        workers = int(stack.environment["AIRFLOW__CORE__PARALLELISM"])
        bucket = demo.emulator_client(stack).bucket(stack.bucket)
        with timed() as seconds:
            results = transfer_manager.upload_many_from_filenames(
                bucket,
                files,
                source_directory=str(stack.workspace),
                blob_name_prefix="transfer-manager/",
                max_workers=workers,
                worker_type=transfer_manager.THREAD,
                raise_exception=True,
            )
        assert len(results) == len(files)
    print(f"{len(files)} objects, {workers} in parallel")
    print(f"  DAG, first upload to last      {wall:8.2f} s")
    print(f"    overhead of the tasks        {wall - sending / workers:8.2f} s")
    print(f"    sending                      {sending / workers:8.2f} s")
    print(f"  transfer manager               {seconds[0]:8.2f} s")


def converted(stack: LocalStack, shards: int) -> tuple[Run, list[str]]:
    """Convert a dataset of about `shards` shards, without uploading; return its run and the shards' names."""
    values = {
        "preset": "demo",
        "workspace": str(stack.workspace),
        "collect": {"sources": SOURCES},
        "vocab": {"vocab_size": 1000},
        "split": {"shard_lines": collected_lines() // shards},
        "upload": {"bucket": stack.bucket},
    }
    run = prepare(resolve(values))
    pipeline.collect(run)
    pipeline.build_vocab(run)
    names = pipeline.split(run)
    for name in names:
        pipeline.convert(run, name)
    return run, names


def through_the_dag(stack: LocalStack, run: Run) -> tuple[float, float]:
    """Return the seconds from the start of the first upload task to the end of the last, and of sending."""
    run_id = stack.trigger(DAG, {"dataset": run.dataset_id})
    while (state := stack.run(DAG, run_id)["state"]) not in ("success", "failed"):
        time.sleep(1)
    tasks = stack.task_instances(DAG, run_id)
    if state != "success":
        raise SystemExit(demo.failure(stack, tasks))
    times = [
        (datetime.fromisoformat(t["start_date"]), datetime.fromisoformat(t["end_date"]))
        for t in tasks
        if t["task_id"] == "shard.upload"
    ]
    wall = (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()
    logs = (stack.logs / "tasks").glob(f"dag_id={DAG}/run_id={run_id}/task_id=shard.upload/**/*.log")
    found = (SENDING.search(path.read_text(encoding="utf-8")) for path in logs)
    return wall, sum(float(match[1]) for match in found if match)


@contextmanager
def timed() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


if __name__ == "__main__":
    main()
