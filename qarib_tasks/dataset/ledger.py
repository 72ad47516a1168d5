"""The ledger `sources.json`: which source files were read, and the dataset that took each.

What is new is told by contents, never by dates: a local file by its SHA-256, an object of a bucket by its
size and CRC32C, a file of a web server by address, size and the version that the server names. A file that
was only moved or renamed is therefore known, one that was written anew under its old name is not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.shared_record import FORMAT, SharedRecord, Values


@dataclass(frozen=True)
class ConsumedFile:
    """A source file.

    Attributes:
        source: the name of the source that names it.
        address: path or URL that it was read from.
        version: of one far away: as `sources.SourceFile.version`.
        sha256, crc32c: empty where it was not read yet.
        dataset: that took it; empty where none has yet.
    """

    source: str
    address: str
    bytes: int
    version: str = ""
    sha256: str = ""
    crc32c: str = ""
    dataset: str = ""

    @classmethod
    def of(cls, source: str, file: SourceFile) -> ConsumedFile:
        """A file as it is listed; one that lies here is read once."""
        if file.path is None:
            return cls(source, file.address, file.bytes, file.version, crc32c=_crc32c(file))
        record = FileRecord.of(file.path)
        return cls(source, file.address, record.bytes, "", record.sha256, record.crc32c)

    def read_as(self, record: FileRecord, dataset: str) -> ConsumedFile:
        """The file with what was found in it, and who took it."""
        return replace(self, bytes=record.bytes, sha256=record.sha256, crc32c=record.crc32c, dataset=dataset)

    @property
    def marks(self) -> set[tuple[str | int, ...]]:
        """Each stands for its contents: files that share one hold the same."""
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
        """The surest of its marks."""
        order = ("sha256", "crc32c", "version", "size")
        return min(self.marks, key=lambda mark: order.index(str(mark[0])))

    @property
    def listed(self) -> SourceFile:
        return SourceFile(self.address, self.bytes, self.version)


def _crc32c(file: SourceFile) -> str:
    is_crc32c = file.address.startswith("gs://") and len(file.version) == 8 and file.version.endswith("==")
    return file.version if is_crc32c else ""


def files_of(values: Values, where: object = None) -> list[ConsumedFile]:
    """The files that a ledger names."""
    try:
        return [ConsumedFile(**entry) for entry in values.get("files", ())]
    except TypeError as error:
        raise CorruptError(f"not a ledger: {error}", where=where) from None


def not_taken_by(
    datasets: Collection[str], ledger: Iterable[ConsumedFile], files: Sequence[ConsumedFile]
) -> list[ConsumedFile]:
    """Those of `files` whose contents none of the datasets has taken; of equal ones only the first."""
    known = {mark for file in ledger if file.dataset in datasets for mark in file.marks}
    new = []
    for file in files:
        if file.mark not in known:
            new.append(file)
            known |= file.marks
    return new


def record(ledger: SharedRecord, dataset: str, files: Sequence[ConsumedFile]) -> None:
    """Have these files in the ledger as those that a dataset took, in place of what it said of it before."""

    def change(values: Values) -> Values:
        others = [file for file in files_of(values, ledger.name) if file.dataset != dataset]
        entries = sorted([*others, *files], key=lambda file: (file.dataset, file.source, file.address))
        return {"files": [asdict(file) for file in entries]}

    ledger.change(change)


def write_plan(path: Path, files: Sequence[ConsumedFile]) -> None:
    """Write which files a run collects, whatever its sources name later."""
    values = {"format": FORMAT, "files": [asdict(file) for file in files]}
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def read_plan(path: Path) -> list[ConsumedFile]:
    """What `write_plan` wrote."""
    return files_of(json.loads(path.read_text(encoding="utf-8")), path)


def by_source(files: Sequence[ConsumedFile]) -> Mapping[str, list[SourceFile]]:
    """The files of each source, in their order."""
    found: dict[str, list[SourceFile]] = {}
    for file in files:
        found.setdefault(file.source, []).append(file.listed)
    return found
