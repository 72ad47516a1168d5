"""Every shard of a dataset, judged, and what to do about those that are not complete."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from qarib_tasks.dataset.shard_state import ShardFacts, ShardState, judge
from qarib_tasks.errors import InputError
from qarib_tasks.layout import DatasetLayout, is_heldout
from qarib_tasks.storage.manifest import Manifest, manifest_of

# Errors and logs name so many shards one by one.
MOST_NAMED = 50


def shard_names(dataset: DatasetLayout) -> list[str]:
    """Every shard that the corpus was split into, those of the held-out part last.

    Raises:
        InputError: the corpus has not been split.
    """
    names = []
    for data in (dataset.data, dataset.heldout_data):
        folder = dataset.shards(data)
        part = folder.relative_to(dataset.root).as_posix().removesuffix(folder.name)
        names += [part + record.name for record in Manifest.read(manifest_of(folder)).outputs]
    return names


def audit(dataset: DatasetLayout, objects: Mapping[str, Any] | None = None) -> list[ShardState]:
    """Judge every shard of a dataset in the workspace; nothing large is read.

    Args:
        objects: see `shard_state.judge`.

    Raises:
        InputError: the corpus has not been split.
    """
    states = []
    for name in shard_names(dataset):
        file = dataset.tfrecord(name)
        size = file.stat().st_size if file.exists() else None
        states.append(judge(dataset, name, ShardFacts.read(manifest_of(file)), size, objects))
    return states


def broken(states: Iterable[ShardState]) -> list[ShardState]:
    """Those that are not complete."""
    return [state for state in states if state.state != "complete"]


def chosen(states: Sequence[ShardState], choice: Collection[str], names: Collection[str] = ()) -> list[str]:
    """The shards to do again: those named, or else those in one of the states.

    Raises:
        InputError: a name is no shard of the dataset.
    """
    known = {state.name for state in states}
    if strangers := sorted(set(names) - known):
        raise InputError(
            f"no such shards: {', '.join(strangers)}",
            do="Name them as in shards/shard_0000, or leave it empty",
        )
    return [state.name for state in states if (state.name in names if names else state.state in choice)]


def tolerated(faults: Sequence[ShardState], shards: int, share: float) -> bool:
    """Whether a training may do without these of so many shards: at most the share, none held out."""
    return len(faults) <= share * shards and not any(is_heldout(fault.name) for fault in faults)


def repair(dataset_id: str, workspace: str, shards: Sequence[str] = ()) -> str:
    """What a person does about shards that are not whole: all of them, or these."""
    values = {"dataset": dataset_id, "workspace": workspace}
    conf = json.dumps(values | ({"shards": list(shards)} if shards else {}))
    return (
        f"Trigger the DAG qarib_backfill_shards for the dataset {dataset_id}: "
        f"airflow dags trigger qarib_backfill_shards --conf '{conf}'"
    )


def listed(states: Sequence[ShardState], between: str = "\n") -> str:
    """The shards one by one, the rest as a number."""
    lines = [str(state) for state in states[:MOST_NAMED]]
    if len(states) > MOST_NAMED:
        lines.append(f"and {len(states) - MOST_NAMED:,} more")
    return between.join(lines)
