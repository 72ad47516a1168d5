"""The ledger `sources.json`: the source files that were read, and the dataset that includes each.

Contents decide which files are new, never dates. A local file is identified by its SHA-256, an object of a
bucket by its size and CRC32C, a file on a web server by its address, its size, and the version that the
server reports. A file that was moved or renamed is therefore known; new contents under an old name are new.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from qarib_tasks.corpus.sources import Input, SourceFile
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import Checksums, write_text
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.recognition import MOVE_SHARED, is_plan, require_ours
from qarib_tasks.storage.records.read import first_fault, read_record, take_record
from qarib_tasks.storage.records.record import Text
from qarib_tasks.storage.records.schemas import Plan
from qarib_tasks.storage.shared_record import FORMAT, SharedRecord, Values

PLAN_AGAIN = "Start the run again with the same settings: its check of the sources writes this list again"


@dataclass(frozen=True)
class ConsumedFile:
    """A source file.

    Attributes:
        source: the name of the source that lists the file.
        address: path or URL that the file is read from.
        version: for a remote file, see `sources.SourceFile.version`.
        sha256, crc32c: empty if the file was not read yet.
        dataset: the dataset that includes the file; empty if none does yet.
    """

    source: Text
    address: Text
    bytes: Annotated[int, Field(ge=0)]
    version: str = ""
    sha256: str = ""
    crc32c: str = ""
    dataset: str = ""

    @classmethod
    def of(cls, source: str, file: SourceFile) -> ConsumedFile:
        """The entry for a listed file; a local file is read once."""
        if file.path is None:
            return cls(source, file.address, file.bytes, file.version, crc32c=_crc32c(file))
        record = Input(file, file.path, None, file.name).record()
        return cls(source, file.address, record.bytes, "", record.sha256, record.crc32c)

    def read_as(self, record: FileRecord, dataset: str) -> ConsumedFile:
        """The entry with the size and checksums of `record`, and with the dataset that includes the file."""
        return replace(self, bytes=record.bytes, sha256=record.sha256, crc32c=record.crc32c, dataset=dataset)

    @property
    def marks(self) -> set[tuple[str | int, ...]]:
        """The marks that identify the contents: files that share a mark have the same contents."""
        found: set[tuple[str | int, ...]] = set()
        if self.sha256:
            found.add(("sha256", self.sha256))
        if self.crc32c:
            found.add(("crc32c", self.bytes, self.crc32c))
        if self.version:
            found.add(("version", self.address, self.version))
        return found or {("size", self.address, self.bytes)}

    @property
    def mark(self) -> tuple[str | int, ...]:
        """The most reliable of the file's marks."""
        order = ("sha256", "crc32c", "version", "size")
        return min(self.marks, key=lambda mark: order.index(str(mark[0])))

    @property
    def listed(self) -> SourceFile:
        known = Checksums(self.bytes, self.sha256, self.crc32c) if self.sha256 and self.crc32c else None
        return SourceFile(self.address, self.bytes, self.version, checksums=known)


def _crc32c(file: SourceFile) -> str:
    is_crc32c = file.address.startswith("gs://") and len(file.version) == 8 and file.version.endswith("==")
    return file.version if is_crc32c else ""


def files_of(values: Values, where: object = None) -> list[ConsumedFile]:
    """The files in a ledger's values.

    Raises:
        CorruptError: the values are not a ledger.
    """
    try:
        return _FILES.validate_python(values.get("files", ()))
    except ValidationError as error:
        raise CorruptError(f"not a ledger: {first_fault(error)}", where=where, do=MOVE_SHARED) from None


_FILES = TypeAdapter(list[ConsumedFile])


def not_taken_by(
    datasets: Collection[str], ledger: Iterable[ConsumedFile], files: Sequence[ConsumedFile]
) -> list[ConsumedFile]:
    """The files whose contents are in none of the datasets; of files with equal contents, only the first."""
    known = {mark for file in ledger if file.dataset in datasets for mark in file.marks}
    new = []
    for file in files:
        if file.mark not in known:
            new.append(file)
            known |= file.marks
    return new


def record(ledger: SharedRecord, dataset: str, files: Sequence[ConsumedFile]) -> None:
    """Record in the ledger the files that a dataset includes, in place of its earlier entries."""

    def change(values: Values) -> Values:
        others = [file for file in files_of(values, ledger.where) if file.dataset != dataset]
        entries = sorted([*others, *files], key=lambda file: (file.dataset, file.source, file.address))
        return {**values, "files": [asdict(file) for file in entries]}

    ledger.change(change)


def write_plan(path: Path, files: Sequence[ConsumedFile]) -> None:
    """Write the list of files for a run to collect, which stays fixed if its sources change later.

    Raises:
        InputError: a file exists there that is not such a list.
    """
    values = {"format": FORMAT, "files": [asdict(file) for file in files]}
    require_ours(path, is_plan)
    take_record(path, Plan, "it is written again")
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def read_plan(path: Path) -> list[ConsumedFile]:
    """Read the files that `write_plan` wrote.

    Raises:
        InputError: there is no such file. CorruptError: it is damaged.
    """
    values = read_record(path, Plan, PLAN_AGAIN)
    if values is None:
        raise InputError("no such file", where=path, do=PLAN_AGAIN)
    return files_of(values, path)


def consumed(path: Path, records: Sequence[FileRecord], dataset: str) -> list[ConsumedFile]:
    """The files that a dataset includes, in the order of the list at `path`, with what was read of them.

    Args:
        records: the inputs of the collected text.

    Raises:
        InputError: there is no such list. CorruptError: it is damaged, or not that of the collected text.
    """
    plan = read_plan(path)
    if [file.source for file in plan] != [record.name.partition("/")[0] for record in records]:
        what = f"lists {len(plan):,} files, but not those {len(records):,} that the text was made of"
        raise CorruptError(what, where=path, do=PLAN_AGAIN)
    return [file.read_as(record, dataset) for file, record in zip(plan, records, strict=True)]


def by_source(files: Sequence[ConsumedFile]) -> Mapping[str, list[SourceFile]]:
    """The files of each source, in their original order."""
    found: dict[str, list[SourceFile]] = {}
    for file in files:
        found.setdefault(file.source, []).append(file.listed)
    return found
