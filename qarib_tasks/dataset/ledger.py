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

from qarib_tasks.corpus.sources import Input, SourceFile
from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.files import Checksums, write_text
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.storage.recognition import is_plan, require_ours
from qarib_tasks.storage.shared_record import FORMAT, SharedRecord, Values


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

    source: str
    address: str
    bytes: int
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
        return [ConsumedFile(**entry) for entry in values.get("files", ())]
    except TypeError as error:
        raise CorruptError(f"not a ledger: {error}", where=where) from None


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
        others = [file for file in files_of(values, ledger.name) if file.dataset != dataset]
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
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def read_plan(path: Path) -> list[ConsumedFile]:
    """Read the files that `write_plan` wrote."""
    return files_of(json.loads(path.read_text(encoding="utf-8")), path)


def by_source(files: Sequence[ConsumedFile]) -> Mapping[str, list[SourceFile]]:
    """The files of each source, in their original order."""
    found: dict[str, list[SourceFile]] = {}
    for file in files:
        found.setdefault(file.source, []).append(file.listed)
    return found
