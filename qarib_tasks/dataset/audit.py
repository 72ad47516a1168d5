"""Judge every shard of a dataset, and say how to repair those that are not complete."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qarib_tasks.dataset.known_checksums import KnownChecksums
from qarib_tasks.dataset.shard_state import ShardFacts, ShardState, judge
from qarib_tasks.errors import InputError
from qarib_tasks.layout import DatasetLayout, is_heldout
from qarib_tasks.storage.manifest import MOST_BYTES, FileRecord, Manifest, manifest_of

# Errors and logs list at most this many shards.
MAX_LISTED = 50


def shard_names(dataset: DatasetLayout) -> list[str]:
    """The names of all shards that the corpus was split into, the held-out part last.

    Raises:
        InputError: the corpus has not been split.
    """
    return list(raw_shards(dataset))


def raw_shards(
    dataset: DatasetLayout, most: int = MOST_BYTES, within: Path | None = None
) -> dict[str, FileRecord]:
    """The records of the raw shards by the shards' names, the held-out part last.

    Args:
        most, within: see `regular_files.read_regular`.

    Raises:
        InputError: the corpus has not been split.
    """
    records: dict[str, FileRecord] = {}
    for path in split_manifests(dataset):
        folder = path.parent
        part = "" if folder == dataset.root else f"{folder.relative_to(dataset.root).as_posix()}/"
        manifest = Manifest.complete(path, most, within)
        records |= {part + record.name: record for record in manifest.outputs}
    return records


def split_manifests(dataset: DatasetLayout) -> list[Path]:
    """The manifests of a split corpus, the held-out part's last."""
    return [manifest_of(dataset.shards(data)) for data in (dataset.data, dataset.heldout_data)]


def audit(
    dataset: DatasetLayout, objects: Mapping[str, Any] | None = None, known: KnownChecksums | None = None
) -> list[ShardState]:
    """Judge every shard of a dataset in the workspace, from manifests, sizes, and the listing of the bucket.

    Args:
        objects: see `shard_state.judge`.
        known: also compare the bytes of the TFRecord files in the workspace with the manifests.

    Raises:
        InputError: the corpus has not been split.
    """
    states = []
    shards = raw_shards(dataset)
    for name, raw in shards.items():
        file = dataset.tfrecord(name)
        size = file.stat().st_size if file.exists() else None
        facts = ShardFacts.beside(file)
        crc32c = None
        if known and facts and facts.tfrecord and facts.tfrecord.bytes == size:
            crc32c = known.crc32c(name, file)
        states.append(judge(dataset, name, facts, size, objects, text=raw.sha256, crc32c=crc32c))
        if known:
            known.report(len(states), len(shards))
    if known:
        known.save()
    return states


def broken(states: Iterable[ShardState]) -> list[ShardState]:
    """The states of the shards that are not complete."""
    return [state for state in states if state.state != "complete"]


def chosen(states: Sequence[ShardState], choice: Collection[str], names: Collection[str] = ()) -> list[str]:
    """The names of the shards to convert again: those in `names` or, without names, those in a chosen state.

    Raises:
        InputError: the dataset has no shard with one of the names.
    """
    known = {state.name for state in states}
    if unknown := sorted(set(names) - known):
        raise InputError(
            f"no such shards: {', '.join(unknown)}",
            do="Write names such as shards/shard_0000, or name no shards",
        )
    return [state.name for state in states if (state.name in names if names else state.state in choice)]


def tolerated(faults: Sequence[ShardState], shards: int, share: float) -> bool:
    """Check whether a training can run without the faulty shards.

    It can if they are at most `share` of the number of `shards` and none is in the held-out part.
    """
    return len(faults) <= share * shards and not any(is_heldout(fault.name) for fault in faults)


def repair(dataset_id: str, workspace: str, shards: Sequence[str] = ()) -> str:
    """Instructions to repair incomplete or damaged shards: the given ones, or all.

    The command can be pasted into a shell.
    """
    values = {"dataset": dataset_id, "workspace": workspace}
    conf = json.dumps(values | ({"shards": list(shards)} if shards else {}))
    return (
        f"Trigger the DAG qarib_backfill_shards for the dataset {dataset_id}: "
        f"airflow dags trigger qarib_backfill_shards --conf {shlex.quote(conf)}"
    )


def listed(states: Sequence[ShardState], between: str = "\n") -> str:
    """The first shards, and the number of the others."""
    lines = [str(state) for state in states[:MAX_LISTED]]
    if len(states) > MAX_LISTED:
        lines.append(f"and {len(states) - MAX_LISTED:,} more")
    return between.join(lines)
