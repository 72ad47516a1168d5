"""Reads files of many formats and compressions as streams of lines, in bounded memory.

Every reader yields batches of lines in which an empty line ends a document. An unreadable record is an
error, unless the source allows it to be skipped; skipped records are counted. A problem with a file (cut
short, wrong format, implausible size when unpacked) is always an error.
"""

from __future__ import annotations

import fnmatch
import json
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.decompression import BLOCK, limited, unpacked
from qarib_tasks.errors import ConfigError, InputError

LONGEST_LINE = 1 << 20  # bytes; a longer one is not a sentence, and every step would hold it in memory
LONGEST_RECORD = 16 << 20  # bytes of a line of JSON, whose text may be a book
ROWS = 1000  # rows of a table that are read at once
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zip": "zip"}
Batches = Iterator[list[str]]


@dataclass
class Reading:
    """The state of reading one file.

    Attributes:
        source: the settings.
        where: the file's name for messages.
        counts: the reader adds to `lines_read`, `replaced_characters` and `skipped`; `line` is the number of
            lines or rows that it has passed.
        form: the file's format, never "auto".
    """

    source: SourceConfig
    where: str
    counts: Counter[str]
    form: str = "text"

    def unreadable(self, what: str, number: int) -> None:
        """Count a record that cannot be read.

        Raises:
            InputError: more records are unreadable than the source allows.
        """
        self.counts["skipped"] += 1
        if self.counts["skipped"] > self.source.skip_at_most:
            at_most = self.source.skip_at_most
            raise InputError(
                what + (f", and {at_most:,} records were skipped already" if at_most else ""),
                where=f"{self.where}:{number}",
                do=f"Correct the record, or raise skip_at_most of source {self.source.name!r}",
            )

    def text(self, data: bytes) -> str:
        """Decode UTF-8; invalid bytes are replaced by U+FFFD and counted."""
        text = data.decode("utf-8", errors="replace")
        if "\ufffd" in text:
            self.counts["replaced_characters"] += text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
        return text


def read(source: SourceConfig, path: Path, name: str, counts: Counter[str]) -> Batches:
    """Yield the lines of one file.

    Args:
        name: the file's name in the source; its extensions decide the format and the compression.
        counts: see `Reading`.

    Raises:
        ConfigError: the settings do not fit the format. InputError: the file cannot be read (with file and
            line), or more than `skip_at_most` records are unreadable.
    """
    endings = [ending.lower() for ending in PurePosixPath(name).suffixes]
    packed = source.compression
    if packed == "auto":
        packed = _COMPRESSIONS.get(endings[-1], "none") if endings else "none"  # type: ignore[assignment]
    if source.format == "moses":
        packed = "zip" if source.compression == "auto" else packed
    if packed == "zip":
        yield from _read_zip(source, path, name, counts)
    else:
        yield from _read_stream(source, name, path.open("rb"), path.stat().st_size, counts, packed)


def _read_stream(
    source: SourceConfig, name: str, raw: IO[bytes], size: int, counts: Counter[str], packed: str
) -> Batches:
    form = source.format
    if form == "auto":
        endings = [ending.lower() for ending in PurePosixPath(name).suffixes]
        if endings and endings[-1] in _COMPRESSIONS:
            endings.pop()
        form = _FORMATS.get(endings[-1], "text") if endings else "text"  # type: ignore[assignment]
    if source.document == "group" and form in ("text", "moses"):
        raise ConfigError(
            "document: group needs records with fields",
            where=source.name,
            do="Set document to another value",
        )
    reading = Reading(source, name, counts, form)
    with _file_errors(reading), raw:
        if form == "parquet":
            if packed != "none":
                raise ConfigError(
                    "compressed Parquet files are not supported", where=name, do="Unpack the file"
                )
            yield from _parquet(reading, raw)
            return
        stream = unpacked(raw, packed)
        # A file that is not compressed cannot expand.
        bounded = stream if stream is raw else limited(stream, size, name)
        readers: dict[str, Callable[[Reading, IO[bytes]], Batches]] = {
            "jsonl": _json_lines,
            "csv": _csv,
            "tsv": _csv,
        }
        yield from readers.get(form, _text)(reading, bounded)


@contextmanager
def _file_errors(reading: Reading) -> Iterator[None]:
    """Turn the libraries' errors about damaged files into one clear error."""
    try:
        yield
    # pyarrow's errors are ValueErrors and OSErrors too; an unknown or encrypted zip raises the last two.
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise InputError(
            f"cannot be read: {error}",
            where=f"{reading.where}:{reading.counts['line'] + 1}",
            do="Download the file again, or correct the source's format and compression",
        ) from None


def _read_zip(source: SourceConfig, path: Path, name: str, counts: Counter[str]) -> Batches:
    """Read the members that match the source's pattern, in the order of their names; each ends a document."""
    wanted = source.member or ("*.ar" if source.format == "moses" else "*")
    with _file_errors(Reading(source, name, counts)), zipfile.ZipFile(path) as archive:
        members = sorted(
            (m for m in archive.infolist() if not m.is_dir()), key=lambda member: member.filename
        )
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts:
                raise InputError(
                    f"unsafe archive: the path of member {member.filename!r} leads outside the archive",
                    where=name,
                    do="Do not use this archive",
                )
        members = [m for m in members if fnmatch.fnmatchcase(m.filename, wanted)]
        if not members:
            raise InputError(
                f"the archive has no member {wanted!r}",
                where=name,
                do=f"Correct member of source {source.name!r}",
            )
        for member in members:
            if member.flag_bits & 1:
                raise InputError("the archive is encrypted", where=name, do="Decrypt the archive")
            inner = f"{name}/{member.filename}"
            with archive.open(member) as raw:
                bounded = limited(raw, member.compress_size, inner)
                yield from _read_stream(source, inner, bounded, member.compress_size, counts, "none")
                yield [""]


def _raw_lines(reading: Reading, stream: IO[bytes], longest: int) -> Iterator[bytes]:
    """Yield blocks of complete lines; each line ends with a line feed, except possibly the last one.

    `counts["line"]` is the number of lines before the block.
    """
    counts = reading.counts
    counts["line"] = 0
    rest = b""
    while block := stream.read(BLOCK):
        data = rest + block
        end = data.rfind(b"\n") + 1
        first = data.find(b"\n")
        if (first if end else len(data)) > longest:
            reading.unreadable(f"the line is longer than {longest:,} bytes", counts["line"] + 1)
            while not end:
                block = stream.read(BLOCK)
                end = block.rfind(b"\n") + 1 if block else -1
                data, first = block, block.find(b"\n")
            counts["line"] += 1
            if end < 0:
                return
            data, end = data[first + 1 :], end - first - 1
        rest = data[end:]
        if end:
            yield data[:end]
            counts["line"] += data.count(b"\n", 0, end)
    if rest:
        yield rest
        counts["line"] += 1


def _text(reading: Reading, stream: IO[bytes]) -> Batches:
    document = reading.source.document
    for data in _raw_lines(reading, stream, LONGEST_LINE):
        lines = [line.strip() for line in reading.text(data.removesuffix(b"\n")).split("\n")]
        if document == "line":
            lines = [item for line in lines if line for item in (line, "")]
        elif document == "file":
            lines = [line for line in lines if line]
        reading.counts["lines_read"] += data.count(b"\n") + (not data.endswith(b"\n"))
        yield lines


class _Documents:
    """Turns records into lines, with an empty line where a document ends."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._group: object = None

    def lines(self, text: object, group: object, number: int) -> list[str]:
        """Return the lines of one record, with an empty line where a document ends."""
        reading, document = self._reading, self._reading.source.document
        if isinstance(text, bytes):
            text = reading.text(text)
        if not isinstance(text, str):
            what = "no text" if text is None else f"{type(text).__name__} instead of text"
            reading.unreadable(f"{what} in field {reading.source.field!r}", number)
            return []
        if len(text) > LONGEST_RECORD:
            reading.unreadable(f"the text is longer than {LONGEST_RECORD:,} characters", number)
            return []
        lines = [line.strip() for line in text.split("\n")]
        for line in lines:
            if len(line) > LONGEST_LINE:
                reading.unreadable(f"a line of the text is longer than {LONGEST_LINE:,} characters", number)
                return []
        reading.counts["lines_read"] += len(lines)
        if document == "blank_line":
            return [*lines, ""]
        lines = [line for line in lines if line]
        if document == "line":
            return [*lines, ""]
        if document == "group":
            changed, self._group = group != self._group, group
            return ["", *lines] if changed else lines
        return lines


def _json_lines(reading: Reading, stream: IO[bytes]) -> Batches:
    source, documents = reading.source, _Documents(reading)
    for data in _raw_lines(reading, stream, LONGEST_RECORD):
        batch: list[str] = []
        for number, line in enumerate(data.split(b"\n"), start=reading.counts["line"] + 1):
            if not line.strip():
                continue
            try:
                record = json.loads(reading.text(line))
            except (ValueError, RecursionError) as error:
                reading.unreadable(f"invalid JSON: {error}", number)
                continue
            group = _field(record, source.group) if source.group else None
            batch += documents.lines(_field(record, source.field), group, number)
        yield batch


def _field(record: object, name: str) -> object:
    """Return the value of a field; `a.b` is b inside a. None if the field does not exist."""
    if isinstance(record, dict) and name in record:
        value: object = record[name]
        return value
    for part in name.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


def _wanted(reading: Reading, columns: list[str]) -> list[str]:
    wanted = [name for name in (reading.source.field, reading.source.group) if name]
    for name in wanted:
        if name not in columns:
            raise InputError(
                f"no column {name!r}",
                where=reading.where,
                do=f"Use one of these columns: {', '.join(columns)}",
            )
    return wanted


def _rows(reading: Reading, batches: Iterator[Any], wanted: list[str]) -> Batches:
    """Yield the lines of pyarrow's record batches."""
    documents, number = _Documents(reading), 0
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in wanted]
        lines: list[str] = []
        for text, *group in zip(*columns, strict=True):
            number += 1
            lines += documents.lines(text, group[0] if group else None, number)
        reading.counts["line"] = number
        yield lines


def _parquet(reading: Reading, raw: IO[bytes]) -> Batches:
    import pyarrow.parquet

    # Without pre-buffering and with a small buffer, pyarrow holds no row group in memory.
    with pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as table:
        wanted = _wanted(reading, table.schema_arrow.names)
        yield from _rows(reading, table.iter_batches(ROWS, columns=wanted, use_threads=False), wanted)


def _csv(reading: Reading, stream: IO[bytes]) -> Batches:
    import pyarrow
    from pyarrow import csv

    def on_row(row: Any) -> str:
        what = f"the row has {row.actual_columns} columns, expected {row.expected_columns}"
        try:
            reading.unreadable(what, row.number or reading.counts["line"] + 1)
        except InputError as error:
            failed.append(error)
            return "error"
        return "skip"

    failed: list[InputError] = []
    names = [name for name in (reading.source.field, reading.source.group) if name]
    try:
        with csv.open_csv(
            stream,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(
                delimiter="\t" if reading.form == "tsv" else ",",
                newlines_in_values=True,
                invalid_row_handler=on_row,
            ),
            # As bytes, because this module replaces and counts invalid UTF-8.
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.binary())),
        ) as table:
            yield from _rows(reading, iter(table), _wanted(reading, table.schema.names))
    except pyarrow.ArrowInvalid:
        if failed:
            raise failed[0] from None
        raise
