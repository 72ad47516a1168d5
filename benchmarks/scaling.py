"""What 600 million sentences need on 1, 10 and 100 workers: hours, disk, cost. Arithmetic, not a measurement.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --overhead 2.5 --core-hour 0.05

Every figure that goes in is an option; docs/scaling.md says where the defaults come from. A worker is one
core with one slot. The steps before the shards (collect, vocabulary, split) run on one
worker and are not divided; conversion and upload are. The training is not in it: docs/cloud-tpu.md.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Figures:
    """What goes in, with the unit of each."""

    sentences: float = 600e6  # lines
    text_gb: float = 60.0  # of the corpus
    shard_lines: float = 512_000  # lines of a shard
    shard_gb: float = 0.65  # of a shard's TFRecords, dupe_factor 5
    collect_mb_s: float = 12.0  # MB/s of text, one worker, duplicates removed
    vocab_minutes: float = 10.0  # for 5 million sampled sentences, 64,000 entries
    split_mb_s: float = 190.0  # MB/s of text
    convert_s: float = 7.2  # s, a shard, one core, the file written and flushed
    upload_mb_s: float = 100.0  # MB/s, one worker, checksums and the verification included
    bucket_mb_s: float = 2000.0  # MB/s, all workers together
    overhead: float = 1.1  # s, a shard: Airflow's, and starting the tasks' processes
    scheduler: float = 0.5  # s, a shard: at least, however many workers there are
    core_hour: float = 0.04  # US dollars, a core with 4 GB
    server_hour: float = 0.25  # US dollars: scheduler, API server, database, queue
    storage_gb_month: float = 0.02  # US dollars, the bucket
    disk_gb_hour: float = 0.0003  # US dollars, the shared workspace


def needs(figures: Figures, workers: int) -> dict[str, float]:
    """Hours of the steps, GB and US dollars."""
    f = figures
    shards = math.ceil(f.sentences / f.shard_lines)
    before = (f.text_gb * 1000 * (1 / f.collect_mb_s + 1 / f.split_mb_s) + f.vocab_minutes * 60) / 3600
    upload = f.shard_gb * 1000 / f.upload_mb_s
    each = f.convert_s + upload + f.overhead
    # Whatever is slowest: the workers, the scheduler, the bucket.
    fan_out = shards * max(each / workers, f.scheduler, f.shard_gb * 1000 / f.bucket_mb_s) / 3600
    hours = before + fan_out
    # The text, its cleaned copy, its shards; of the TFRecords only those in work, the bucket has the rest.
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
    print("| workers | collect, vocabulary, split | convert and upload | in all | workspace | machines |")
    print("|---|---|---|---|---|---|")
    for workers, row in rows.items():
        print(
            f"| {workers} | {row['before']:.1f} h | {row['fan_out']:.1f} h | {row['hours']:.1f} h "
            f"| {row['disk']:,.0f} GB | ${row['cost']:.2f} |"
        )
    row = rows[1]
    print(f"\nbucket: {row['bucket']:,.0f} GB, ${row['month']:.2f} a month")
    print(f"workspace with keep_local: {row['disk_kept']:,.0f} GB")


if __name__ == "__main__":
    main()
