"""The one judge of shards: whether a shard is complete and, if it isn't, what is wrong with it.

The audit, the backfill, the dataset's manifest, and the page all call `judge`, so they agree. `judge` reads
nothing itself: callers pass what the workspace and the bucket hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import MANIFEST, TFRECORD, DatasetLayout
from qarib_tasks.storage.bucket import object_fault, same
from qarib_tasks.storage.files import Checksums, checksums_of
from qarib_tasks.storage.manifest import MOST_BYTES, FileRecord, Manifest, manifest_names
from qarib_tasks.storage.regular_files import read_regular

State = Literal["complete", "missing", "failed", "corrupt"]
_ENDS = (f"{TFRECORD}.{MANIFEST}", ".json")
BROKEN: tuple[str, ...] = get_args(State)[1:]


@dataclass(frozen=True)
class ShardState:
    """The judgement of a shard.

    Attributes:
        name: the shard's name, see `layout.DatasetLayout`.
        state: missing: the shard is not converted yet, or a file or an object is missing. failed: the
            conversion reported an error or did not finish. corrupt: a file or an object does not match its
            manifest.
        reason: what is wrong; empty for a complete shard.
    """

    name: str
    state: State
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason or self.state}"


@dataclass(frozen=True)
class ShardFacts:
    """The facts in a shard's manifest.

    Attributes:
        state: the manifest's state; corrupt if the file is not a shard's manifest.
        tfrecord: the record of the TFRecord file; None unless the state is complete.
        manifest: the checksums of the manifest file; None if the facts are from another source.
        file: the name of the manifest file, which depends on the version that wrote it.
        text: the SHA-256 of the raw shard that was converted; empty if it is not known.
    """

    state: Literal["complete", "failed", "running", "corrupt"]
    reason: str = ""
    tfrecord: FileRecord | None = None
    manifest: Checksums | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    text: str = ""

    @classmethod
    def of(cls, data: bytes, path: Path) -> ShardFacts:
        """The facts in the bytes of the manifest at `path`; for other bytes, the state corrupt and why."""
        try:
            manifest = Manifest.parse(data, path)
            if manifest.kind != "shard":
                raise CorruptError(f"is the manifest of a {manifest.kind}, not of a shard", where=path)
            if manifest.state != "complete":
                return cls(manifest.state, manifest.reason or "")
            record = manifest.output(tfrecord_of(path.name))
        except CorruptError as error:
            return cls("corrupt", str(error))
        text = manifest.inputs[0].sha256 if manifest.inputs else ""
        return cls("complete", "", record, checksums_of(data), manifest.statistics, path.name, text)

    @classmethod
    def read(cls, path: Path, most: int = MOST_BYTES, within: Path | None = None) -> ShardFacts | None:
        """The facts in the manifest at `path`, or None if the file does not exist.

        Args:
            most, within: see `regular_files.read_regular`.
        """
        try:
            return cls.of(read_regular(path, most, within), path)
        except FileNotFoundError:
            return None
        except (InputError, CorruptError) as error:
            return cls("corrupt", str(error))

    @classmethod
    def beside(cls, tfrecord: Path) -> ShardFacts | None:
        """The facts in a shard's manifest, whatever version named it, or None if it has none."""
        found = (cls.read(tfrecord.with_name(name)) for name in manifest_names(tfrecord.name))
        return next((facts for facts in found if facts), None)


def judge(
    dataset: DatasetLayout,
    name: str,
    facts: ShardFacts | None,
    size: int | None,
    objects: Mapping[str, Any] | None,
    *,
    unanswered: bool = False,
    text: str = "",
    crc32c: str | None = None,
) -> ShardState:
    """Judge a shard by its manifest, the size of its file, and the size and CRC32C of its objects.

    The workspace can lack the TFRecord file if the bucket has it.

    Args:
        facts: None if the shard has no manifest.
        size: size of the TFRecord file in the workspace in bytes; None if it does not exist.
        objects: the bucket's objects below the dataset's folder, by relative name, with `size` and `crc32c`;
            None if the dataset is not published.
        unanswered: the dataset is published, but the bucket's listing is not available. `objects` is ignored,
            and a file that the workspace lacks is assumed to be in the bucket.
        text: the SHA-256 of the raw shard; empty if it is not known.
        crc32c: of the TFRecord file in the workspace, as in `Checksums`; empty if the file cannot be read,
            None to compare only its size.
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
    if text and facts.text and text != facts.text:
        return ShardState(name, "missing", "its raw shard changed since it was converted")
    if size is not None and size != record.bytes:
        fault = f"the workspace's {place} has {size:,} bytes, its manifest says {record.bytes:,}"
        return ShardState(name, "corrupt", fault)
    if size is not None and crc32c is not None and crc32c != record.crc32c:
        what = "does not match its manifest" if crc32c else "cannot be read"
        return ShardState(name, "corrupt", f"the workspace's {place} {what}")
    if unanswered:
        return ShardState(name, "complete")
    if objects is None:
        if size is None:
            return ShardState(name, "missing", f"the workspace has no {place}")
        return ShardState(name, "complete")
    manifest = f"{place[: place.rfind('/') + 1]}{facts.file}"
    for own, expected in ((place, record), (manifest, facts.manifest)):
        if expected and (fault := object_fault(objects, own, expected)):
            return ShardState(name, "corrupt" if own in objects else "missing", fault)
    return ShardState(name, "complete")


def tfrecord_of(manifest: str) -> str:
    """The name of the TFRecord file whose manifest has this name; empty for the name of another file."""
    if manifest.endswith(_ENDS) and not manifest.startswith("."):
        end = next(end for end in _ENDS if manifest.endswith(end))
        return manifest[: -len(end)] + TFRECORD
    return ""


def is_safe_to_drop(tfrecord: Path, blob: Any | None) -> bool:
    """Check whether a TFRecord file is what its manifest lists, and intact in the bucket."""
    facts = ShardFacts.beside(tfrecord) if tfrecord.is_file() else None
    if facts is None or facts.tfrecord is None:
        return False
    return same(blob, facts.tfrecord.checksums) and tfrecord.stat().st_size == facts.tfrecord.bytes


def is_dropped(tfrecord: Path, blob: Any | None) -> bool:
    """Check whether a TFRecord file is absent from the workspace but intact in the bucket."""
    if tfrecord.exists():
        return False
    facts = ShardFacts.beside(tfrecord)
    return facts is not None and facts.tfrecord is not None and same(blob, facts.tfrecord.checksums)
