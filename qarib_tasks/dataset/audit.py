"""Which shards of a dataset are whole: manifests, files and the bucket's objects held together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import DatasetLayout
from qarib_tasks.storage.bucket import same
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import Manifest, manifest_of

State = Literal["complete", "missing", "failed", "corrupt"]
BROKEN: tuple[str, ...] = get_args(State)[1:]
# What the names of the shards of the held-out part begin with.
HELDOUT = "heldout/"
# Errors and logs name so many shards one by one.
MOST_NAMED = 50


@dataclass(frozen=True)
class ShardState:
    """What became of a shard.

    Attributes:
        name: as in `layout.DatasetLayout`.
        state: missing is not converted yet, or has lost a file or an object; failed is what the converter
            said, or that it was killed; corrupt has other bytes than its manifest tells, here or in the
            bucket.
        reason: empty for a complete one.
    """

    name: str
    state: State
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason or self.state}"


def shard_names(dataset: DatasetLayout) -> list[str]:
    """Every shard that the corpus was split into, those of the held-out part last.

    Raises:
        InputError: the corpus has not been split.
    """
    names = []
    for data in (dataset.data, dataset.heldout_data):
        folder = dataset.shards(data)
        outputs = Manifest.read(manifest_of(folder)).outputs
        names += [(folder.parent / record.name).relative_to(dataset.root).as_posix() for record in outputs]
    return names


def audit(dataset: DatasetLayout, objects: Mapping[str, Any] | None = None) -> list[ShardState]:
    """Look at every shard of a dataset.

    A file here is held against its manifest by its size, an object by size and CRC32C, so that nothing large
    is read. The file may be gone where the object is as it should be.

    Args:
        objects: what the bucket holds below the dataset's folder, by the name from there on, with `size` and
            `crc32c`; None for a dataset that is published nowhere.

    Raises:
        InputError: the corpus has not been split.
    """
    return [_audit_shard(dataset, name, objects) for name in shard_names(dataset)]


def _audit_shard(dataset: DatasetLayout, name: str, objects: Mapping[str, Any] | None) -> ShardState:
    file = dataset.tfrecord(name)
    path = manifest_of(file)
    try:
        manifest = Manifest.read(path)
        if manifest.state == "failed":
            return ShardState(name, "failed", manifest.reason or "the conversion failed")
        if manifest.state == "running":
            return ShardState(name, "failed", f"its conversion was killed ({manifest.reason})")
        record = manifest.output(file.name)
    except InputError:
        return ShardState(name, "missing", "is not converted")
    except CorruptError as error:
        return ShardState(name, "corrupt", str(error))
    if file.exists():
        if file.stat().st_size != record.bytes:
            return ShardState(name, "corrupt", f"{file} is not what its manifest says")
    elif objects is None:
        return ShardState(name, "missing", f"{file} is gone")
    if objects is None:
        return ShardState(name, "complete")
    for own, expected in ((file, record.checksums), (path, checksums(path))):
        place = own.relative_to(dataset.root).as_posix()
        if place not in objects:
            return ShardState(name, "missing", f"the bucket has no {place}")
        if not same(objects[place], expected):
            return ShardState(name, "corrupt", f"the bucket's {place} has other bytes")
    return ShardState(name, "complete")


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
    return len(faults) <= share * shards and not any(fault.name.startswith(HELDOUT) for fault in faults)


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
