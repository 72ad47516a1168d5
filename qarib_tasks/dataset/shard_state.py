"""The one judge of shards: is a shard complete, and if not, what is wrong with it.

The audit, the backfill, the dataset's manifest and the page all ask `judge`, so they cannot disagree. It
reads nothing itself: callers pass it what the workspace and the bucket hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from qarib_tasks.errors import CorruptError
from qarib_tasks.layout import TFRECORD, DatasetLayout
from qarib_tasks.storage.bucket import object_fault, same
from qarib_tasks.storage.files import Checksums, checksums_of
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of

State = Literal["complete", "missing", "failed", "corrupt"]
BROKEN: tuple[str, ...] = get_args(State)[1:]


@dataclass(frozen=True)
class ShardState:
    """The judgement of a shard.

    Attributes:
        name: as in `layout.DatasetLayout`.
        state: missing is not converted yet, or lost a file or an object; failed is a conversion that reported
            an error or did not finish; corrupt has other bytes than its manifest says, in the workspace or in
            the bucket.
        reason: empty for a complete shard.
    """

    name: str
    state: State
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason or self.state}"


@dataclass(frozen=True)
class ShardFacts:
    """What a shard's manifest says.

    Attributes:
        state: the manifest's own; corrupt if the file is not a shard's manifest.
        tfrecord: the TFRecords; None unless the state is complete.
        manifest: of the manifest file itself; None if another manifest stands in for it.
    """

    state: Literal["complete", "failed", "running", "corrupt"]
    reason: str = ""
    tfrecord: FileRecord | None = None
    manifest: Checksums | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes, path: Path) -> ShardFacts:
        """The facts in the bytes of the manifest at `path`; of bytes that are no manifest, what is wrong."""
        try:
            manifest = Manifest.parse(data, path)
            if manifest.kind != "shard":
                raise CorruptError(f"the manifest of a {manifest.kind}, not of a shard", where=path)
            if manifest.state != "complete":
                return cls(manifest.state, manifest.reason or "")
            record = manifest.output(path.with_suffix(TFRECORD).name)
        except CorruptError as error:
            return cls("corrupt", str(error))
        return cls("complete", "", record, checksums_of(data), manifest.statistics)

    @classmethod
    def read(cls, path: Path) -> ShardFacts | None:
        """The facts in the manifest at `path`, None if there is no such file."""
        try:
            return cls.of(path.read_bytes(), path)
        except FileNotFoundError:
            return None


def judge(
    dataset: DatasetLayout,
    name: str,
    facts: ShardFacts | None,
    size: int | None,
    objects: Mapping[str, Any] | None,
    *,
    unanswered: bool = False,
) -> ShardState:
    """Judge a shard by its manifest, the size of its file, and the size and CRC32C of its objects.

    The TFRecords can be absent from the workspace if the bucket has them.

    Args:
        facts: None if the shard has no manifest.
        size: of the TFRecords in the workspace, bytes; None if they are not there.
        objects: what the bucket holds below the dataset's folder, by the name from there on, with `size` and
            `crc32c`; None if the dataset is not published anywhere.
        unanswered: the dataset is published, but the bucket's listing is not to be had. `objects` is not
            looked at, and a file that is absent is taken to be in the bucket.
    """
    place = dataset.tfrecord_name(name)
    if facts is None:
        return ShardState(name, "missing", "is not converted")
    if facts.state == "running":
        return ShardState(name, "failed", f"its conversion did not finish ({facts.reason})")
    if facts.state == "failed":
        return ShardState(name, "failed", facts.reason or "its conversion failed")
    record = facts.tfrecord
    if record is None:
        return ShardState(name, "corrupt", facts.reason)
    if size is not None and size != record.bytes:
        fault = f"the workspace's {place} has {size:,} bytes, its manifest says {record.bytes:,}"
        return ShardState(name, "corrupt", fault)
    if unanswered:
        return ShardState(name, "complete")
    if objects is None:
        if size is None:
            return ShardState(name, "missing", f"the workspace has no {place}")
        return ShardState(name, "complete")
    for own, expected in ((place, record.checksums), (manifest_name(dataset, name), facts.manifest)):
        if expected and (fault := object_fault(objects, own, expected)):
            return ShardState(name, "corrupt" if own in objects else "missing", fault)
    return ShardState(name, "complete")


def manifest_name(dataset: DatasetLayout, name: str) -> str:
    """The name of a shard's manifest below the dataset's folder."""
    return f"{dataset.tfrecord_name(name).removesuffix(TFRECORD)}.json"


def is_dropped(tfrecord: Path, blob: Any | None) -> bool:
    """Whether TFRecords are absent from the workspace, and the bucket has them as their manifest says."""
    if tfrecord.exists():
        return False
    facts = ShardFacts.read(manifest_of(tfrecord))
    return facts is not None and facts.tfrecord is not None and same(blob, facts.tfrecord.checksums)
