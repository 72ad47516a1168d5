"""The one manifest schema: what a step read, what it made, and whether its outputs are complete.

A step is done when its manifest's state is complete, the inputs and the config match the request, and the
outputs verify. The manifest is written last, so do not rely on a folder without one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import MANIFEST
from qarib_tasks.storage.files import Checksums, checksums, require_file, write_text
from qarib_tasks.storage.records.made_by import made_by
from qarib_tasks.storage.records.read import fault_of, first_fault, record_bytes
from qarib_tasks.storage.regular_files import open_regular, read_regular

FORMAT = 1
MOST_BYTES = 256 << 20  # of a manifest
BEGINNING = b'{\n "config":'  # of every manifest that `Manifest.write` wrote
DO_AGAIN = "Run what made it again with the same settings: the step is done again"
Kind = Literal["corpus", "vocabulary", "shards", "shard", "dataset", "model"]


@dataclass(frozen=True)
class FileRecord:
    """A file's name (relative to the manifest's folder), size in bytes, and checksums."""

    name: Annotated[str, Field(pattern=r"^[^\x00]+$")]
    bytes: Annotated[int, Field(ge=0)]
    sha256: str
    crc32c: str

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> FileRecord:
        """The record of the file at `path`, which is read once. `name` defaults to the path's last part."""
        require_file(path)
        return cls(name or path.name, **asdict(checksums(path)))

    @property
    def checksums(self) -> Checksums:
        return Checksums(self.bytes, self.sha256, self.crc32c)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A step's manifest (see the module's docstring). The meaning of the fields is fixed for format 1.

    Attributes:
        config: every setting that changes the outputs.
        inputs, outputs: files with checksums; outputs' names are relative to the manifest's folder.
        statistics: figures for people and the dashboard; never used to decide whether a step is done.
        sample: a few readable lines of the outputs.
        state: running remains if the process is killed. A running manifest lists what its files may hold: a
            name can occur twice, with the content of before and that of after.
        reason: for a failed step, why it failed; for a running one, on which machine and since when it runs.
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
    made_by: str = field(default_factory=made_by)
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT

    __pydantic_config__ = ConfigDict(extra="forbid")

    def text(self) -> str:
        """The manifest as indented JSON with sorted keys."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    def write(self, path: Path, *, leftovers: bool = True) -> None:
        """Write the manifest atomically. `leftovers`: see `files.temporary_of`."""
        write_text(path, self.text(), leftovers=leftovers)

    @classmethod
    def read(cls, path: Path, most: int = MOST_BYTES, within: Path | None = None) -> Manifest:
        """Read a manifest.

        Raises:
            InputError: the file does not exist. CorruptError: it is not a manifest of
                this format.
        """
        try:
            return cls.parse(read_regular(path, most, within), path)
        except FileNotFoundError:
            raise InputError("no such manifest", where=path, do="Run the step that writes it") from None

    @classmethod
    def complete(cls, path: Path, most: int = MOST_BYTES, within: Path | None = None) -> Manifest:
        """Read the manifest of a step that is complete. For the arguments, see `read`.

        Raises:
            InputError: the file does not exist, or the step did not finish. CorruptError: see `read`.
        """
        manifest = cls.read(path, most, within)
        if manifest.state != "complete":
            what = f"the {manifest.kind} is not complete ({manifest.reason or manifest.state})"
            raise InputError(what, where=path, do="Run the step again")
        if fault := manifest.content_fault(missing=True):
            raise CorruptError(f"not a manifest: {fault}", where=path, do=DO_AGAIN)
        return manifest

    @classmethod
    def parse(cls, data: bytes, where: object) -> Manifest:
        """The manifest in a file's bytes.

        Raises:
            CorruptError: the bytes are not a manifest of this format.
        """
        try:
            manifest = _ADAPTER.validate_json(data)
        except ValidationError as error:
            raise CorruptError(f"not a manifest: {first_fault(error)}", where=where, do=DO_AGAIN) from None
        if manifest.state == "complete" and (fault := manifest.content_fault(missing=False)):
            raise CorruptError(f"not a manifest: {fault}", where=where, do=DO_AGAIN)
        return manifest

    def content_fault(self, *, missing: bool) -> str:
        """What is wrong in the config or the statistics of a complete manifest; empty if nothing is.

        Args:
            missing: whether a name that is missing is wrong.
        """
        contents = {"config": self.config, "statistics": self.statistics}
        fault = fault_of(contents, _contents_of(self.kind), missing=missing)
        if self.kind == "shards" and self.inputs and missing and not fault:
            total, expected = sum(record.bytes for record in self.outputs), self.inputs[0].bytes
            if total != expected:
                return f"its shards have {total:,} bytes, the text has {expected:,}"
        is_measured = self.statistics.keys() & {"next_sentence_shares", "packing_efficiency"}
        if self.kind == "shard" and missing and not fault and not is_measured:
            return "statistics.next_sentence_shares: Field required"
        return fault

    def output(self, name: str) -> FileRecord:
        """The record of the output with this name.

        Raises:
            CorruptError: the manifest has no such output.
        """
        for record in self.outputs:
            if record.name == name:
                return record
        raise CorruptError(f"the manifest of the {self.kind} {self.id} has no output {name!r}")

    def faults(self, folder: Path) -> list[str]:
        """Verify the outputs on disk; returns one line per faulty output, none if all verify."""
        faults = []
        for record in self.outputs:
            path = folder / record.name
            if not path.is_file():
                faults.append(f"{path} is missing")
            elif path.stat().st_size != record.bytes or checksums(path) != record.checksums:
                faults.append(f"{path} does not match its manifest")
        return faults


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def _contents_of(kind: Kind) -> type[BaseModel]:
    if kind == "corpus":  # A command that collects starts without the schemas of the rest.
        from qarib_tasks.storage.records.corpus import Corpus

        return Corpus
    from qarib_tasks.storage.records.contents import CONTENTS

    return CONTENTS[kind]


def finished(
    path: Path,
    *,
    config: Mapping[str, Any],
    inputs: Sequence[FileRecord] | Callable[[], Sequence[FileRecord]],
    kind: Kind = "corpus",
    lists: Callable[[Manifest], bool] | None = None,
    counts: Callable[[Mapping[str, Any]], Any] = dict,
) -> Manifest | None:
    """The manifest at `path` if its step is done for these inputs and this config, else None.

    Inputs are compared by name and content. None means to run the step again: there is no manifest, it cannot
    be read, the step failed, the settings or inputs differ, or the outputs do not verify.

    Args:
        inputs: also a function that returns them, which is called only if nothing else differs.
        lists: whether a manifest lists all outputs of the step, see `lists_all`; by default, whether it lists
            any.
        counts: the part of a config that decides whether two configs are equal; by default, all of it.
    """
    try:
        manifest = Manifest.read(path)
    except (InputError, CorruptError):
        return None
    complete = lists(manifest) if lists else bool(manifest.outputs)
    if manifest.kind != kind or not complete or manifest.content_fault(missing=True):
        return None
    wanted = json.loads(json.dumps(dict(config)))
    if manifest.state != "complete" or counts(manifest.config) != counts(wanted):
        return None
    if list(manifest.inputs) != list(inputs() if callable(inputs) else inputs):
        return None
    return None if manifest.faults(path.parent) else manifest


def lists_all(*names: str) -> Callable[[Manifest], bool]:
    """A check that a manifest lists outputs with these names, each once."""

    def listed(manifest: Manifest) -> bool:
        found = [record.name for record in manifest.outputs]
        return len(found) == len(set(found)) and set(names) <= set(found)

    return listed


def manifest_of(path: Path) -> Path:
    """The path of the manifest of a file or folder: `data.txt` has `data.txt.manifest.json`.

    Earlier versions named it `data.json`. Such a manifest stays in use if it describes this output.
    """
    if path.name in ("", ".."):
        path = path.resolve()
    new, former = (path.parent / name for name in manifest_names(path.name))
    # A file of the user with the former name can be large.
    if os.path.lexists(new) or former == path or not begins_as_manifest(former):
        return new
    try:
        manifest = Manifest.read(former)
    except (InputError, CorruptError, OSError):
        return new
    return former if _describes(manifest, path) else new


def is_like_manifest(data: bytes) -> bool:
    """Whether bytes are a JSON object with most of a manifest's names: a manifest that may be damaged."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return False
    names = {field.name for field in fields(Manifest)}
    return isinstance(values, dict) and 3 * len(names & values.keys()) >= 2 * len(names)


def begins_as_manifest(path: Path) -> bool:
    """Whether a file begins as `Manifest.write` writes it, also if it is cut off."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            found = file.read(len(BEGINNING))
    except (OSError, InputError):
        return False
    return bool(found) and BEGINNING.startswith(found)


def is_damaged_manifest(path: Path) -> bool:
    """Whether a file that is not a manifest was one: it begins like one, or has most of its names."""
    if begins_as_manifest(path):
        return True
    try:
        data = record_bytes(path)
    except (InputError, CorruptError, OSError):
        return False
    return data is not None and is_like_manifest(data)


def manifest_names(name: str) -> tuple[str, str]:
    """The name of the manifest of the file with this name, and the name that earlier versions gave it."""
    folder, _, file = name.rpartition("/")
    dot = file.rfind(".")  # As in pathlib, which takes too long for thousands of shards.
    former = f"{file[:dot] if 0 < dot < len(file) - 1 else file}.json"
    return f"{name}.{MANIFEST}", f"{folder}/{former}" if folder else former


def _describes(manifest: Manifest, path: Path) -> bool:
    """Whether an earlier version's manifest is that of `path`, and not of a file of similar name."""
    if manifest.kind == "shards":
        return manifest.id == path.name
    if manifest.kind == "shard" and not manifest.outputs:
        return True  # The conversion failed or was killed: then the manifest does not name its output.
    return any(record.name == path.name for record in manifest.outputs)
