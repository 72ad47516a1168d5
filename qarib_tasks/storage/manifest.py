"""The one manifest schema: what a step read, what it made, and whether that is whole.

A step is done when its manifest is complete, its inputs and config are those asked for, and its outputs
verify. The manifest is written last, so a folder without one holds nothing to rely on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from qarib_tasks import __version__
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import Checksums, checksums, write_text

FORMAT = 1
Kind = Literal["corpus", "vocabulary", "shards", "shard", "dataset", "model"]


@dataclass(frozen=True)
class FileRecord:
    """A file by its name (relative to the manifest's folder), size in bytes and checksums."""

    name: str
    bytes: int
    sha256: str
    crc32c: str

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> FileRecord:
        """Read the file once. `name` is the path's own name unless given."""
        if not path.is_file():
            raise InputError("no such file", where=path)
        return cls(name or path.name, **asdict(checksums(path)))

    @property
    def checksums(self) -> Checksums:
        return Checksums(self.bytes, self.sha256, self.crc32c)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """See the module's docstring; the fields' meaning is fixed for format 1.

    Attributes:
        config: every setting that changes the outputs.
        inputs, outputs: files with checksums; outputs' names are relative to the manifest's folder.
        statistics: figures a person or the dashboard reads; never used to decide whether a step is done.
        sample: a few readable lines of what was made.
        state: running is what a shard's conversion leaves if its process is killed.
        reason: why, where `state` is failed; where and since when, where it is running.
    """

    kind: Kind
    id: str
    state: Literal["complete", "failed", "running"] = "complete"
    reason: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[FileRecord] = ()
    outputs: Sequence[FileRecord] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    sample: Sequence[Any] = ()
    made_by: str = f"qarib {__version__}"
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT

    __pydantic_config__ = ConfigDict(extra="forbid")

    def write(self, path: Path) -> None:
        """Write the manifest atomically, as indented JSON with sorted keys."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            InputError: there is none. CorruptError: it is not a manifest of this format.
        """
        try:
            return cls.parse(path.read_bytes(), path)
        except FileNotFoundError:
            raise InputError("no such manifest", where=path) from None

    @classmethod
    def parse(cls, data: bytes, where: object) -> Manifest:
        """The manifest in a file's bytes.

        Raises:
            CorruptError: it is not a manifest of this format.
        """
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise CorruptError(f"not a manifest: {first['loc']}: {first['msg']}", where=where) from None

    def output(self, name: str) -> FileRecord:
        """The record of one output by name."""
        for record in self.outputs:
            if record.name == name:
                return record
        raise CorruptError(f"the manifest of {self.kind} {self.id} names no output {name!r}")

    def faults(self, folder: Path) -> list[str]:
        """What is wrong with the outputs on disk: a line each, empty when all verify."""
        faults = []
        for record in self.outputs:
            path = folder / record.name
            if not path.is_file():
                faults.append(f"{path} is missing")
            elif path.stat().st_size != record.bytes or checksums(path) != record.checksums:
                faults.append(f"{path} is not what its manifest says")
        return faults


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def finished(
    path: Path,
    *,
    config: Mapping[str, Any],
    inputs: Sequence[FileRecord],
    counts: Callable[[Mapping[str, Any]], Any] = dict,
) -> Manifest | None:
    """The manifest at `path` if the step it speaks of is done for these inputs and this config.

    Inputs are compared by name and content. None (do the step again) for no manifest, one that cannot be
    read, a failed step, other settings or inputs, or outputs that do not verify.

    Args:
        counts: what of a config decides whether two are the same; all of it without this.
    """
    try:
        manifest = Manifest.read(path)
    except (InputError, CorruptError):
        return None
    wanted = json.loads(json.dumps(dict(config)))
    if (
        manifest.state != "complete"
        or counts(manifest.config) != counts(wanted)
        or list(manifest.inputs) != list(inputs)
    ):
        return None
    return None if manifest.faults(path.parent) else manifest


def manifest_of(path: Path) -> Path:
    """The manifest beside a file: `data.txt` → `data.json`, `shard_0000.tfrecord` → `shard_0000.json`."""
    return path.with_suffix(".json")
