"""Estimate what 600 million sentences need on 1, 10 and 100 workers: hours, disk space, cost.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --overhead 2.5 --core-hour 0.05

The figures are calculated, not measured. Every input is an option; docs/scaling.md has the sources of the
defaults. A worker is one core with one slot. The steps before the shards (collect, vocabulary, split) run on
one worker; conversion and upload run on all. The training is not included: see docs/cloud-tpu.md.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Figures:
    """The inputs, with the unit of each."""

    sentences: float = 600e6  # lines
    text_gb: float = 60.0  # of the corpus
    shard_lines: float = 512_000  # lines per shard
    shard_gb: float = 0.65  # TFRecords per shard, dupe_factor 5
    collect_mb_s: float = 12.0  # MB/s of text, one worker, duplicates removed
    vocab_minutes: float = 10.0  # for 5 million sampled sentences, 64,000 entries
    split_mb_s: float = 190.0  # MB/s of text
    convert_s: float = 7.2  # s per shard, one core, including writing and flushing the file
    upload_mb_s: float = 100.0  # MB/s, one worker, including checksums and verification
    bucket_mb_s: float = 2000.0  # MB/s, all workers together
    overhead: float = 1.1  # s per shard: Airflow, and starting the tasks' processes
    scheduler: float = 0.5  # s per shard: minimum for any number of workers
    core_hour: float = 0.04  # US dollars, a core with 4 GB
    server_hour: float = 0.25  # US dollars: scheduler, API server, database, queue
    storage_gb_month: float = 0.02  # US dollars, the bucket
    disk_gb_hour: float = 0.0003  # US dollars, the shared workspace


def needs(figures: Figures, workers: int) -> dict[str, float]:
    """Return the hours of the steps, GB and US dollars."""
    f = figures
    shards = math.ceil(f.sentences / f.shard_lines)
    before = (f.text_gb * 1000 * (1 / f.collect_mb_s + 1 / f.split_mb_s) + f.vocab_minutes * 60) / 3600
    upload = f.shard_gb * 1000 / f.upload_mb_s
    each = f.convert_s + upload + f.overhead
    # The slowest of the workers, the scheduler and the bucket decides.
    fan_out = shards * max(each / workers, f.scheduler, f.shard_gb * 1000 / f.bucket_mb_s) / 3600
    hours = before + fan_out
    # The text, its cleaned copy, its shards, and the TFRecords in progress; the bucket has the others.
    disk = 3 * f.text_gb + min(shards, 2 * workers) * f.shard_gb
    bucket = shards * f.shard_gb + f.text_gb
    machines = (before + fan_out * workers) * f.core_hour
    cost = machines + hours * (f.server_hour + disk * f.disk_gb_hour)
    return {
        "shards": shards,
        "before": before,
        "fan_out": fan_out,
        "hours": hours,
        "disk": disk,
        "disk_kept": disk + shards * f.shard_gb,
        "bucket": bucket,
        "cost": cost,
        "month": bucket * f.storage_gb_month,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for field in fields(Figures):
        arguments.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    figures = Figures(**vars(arguments.parse_args()))
    rows = {workers: needs(figures, workers) for workers in (1, 10, 100)}
    shards = rows[1]["shards"]
    print(f"{figures.sentences:,.0f} sentences, {figures.text_gb:g} GB of text, {shards:,} shards\n")
    print("| workers | collect, vocabulary, split | convert and upload | total | workspace | machines |")
    print("|---|---|---|---|---|---|")
    for workers, row in rows.items():
        print(
            f"| {workers} | {row['before']:.1f} h | {row['fan_out']:.1f} h | {row['hours']:.1f} h "
            f"| {row['disk']:,.0f} GB | ${row['cost']:.2f} |"
        )
    row = rows[1]
    print(f"\nbucket: {row['bucket']:,.0f} GB, ${row['month']:.2f} per month")
    print(f"workspace with keep_local: {row['disk_kept']:,.0f} GB")


if __name__ == "__main__":
    main()
