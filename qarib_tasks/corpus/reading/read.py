"""Reads files of many formats and compressions as streams of lines, in bounded memory.

Every reader yields batches of lines in which an empty line ends a document. An unreadable record is an
error, unless the source allows it to be skipped; skipped records are counted. A problem with a file (cut
short, wrong format, implausible size when unpacked) is always an error.
"""

from __future__ import annotations

import fnmatch
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.content.decompression import limited, unpacked
from qarib_tasks.corpus.reading.delimited import read_csv
from qarib_tasks.corpus.reading.encoding import utf8
from qarib_tasks.corpus.reading.json_lines import read_json_lines
from qarib_tasks.corpus.reading.records import Batches, Reading
from qarib_tasks.corpus.reading.tables import read_arrow, read_parquet
from qarib_tasks.corpus.reading.text import read_text
from qarib_tasks.errors import ConfigError, InputError

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zip": "zip"}


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
            where=name,
            do="Set `document` to another value",
        )
    reading = Reading(source, name, counts, form)
    with _file_errors(reading), raw:
        if form == "arrow" and packed == "none":
            yield from read_arrow(reading, raw)
            return
        if form == "parquet":
            if packed != "none":
                raise ConfigError(
                    "compressed Parquet files are not supported", where=name, do="Unpack the file"
                )
            yield from read_parquet(reading, raw)
            return
        stream = unpacked(raw, packed)
        # A file that is not compressed cannot expand.
        bounded = stream if stream is raw else limited(stream, size, name)
        reading.size = size if stream is raw else None
        readers: dict[str, Callable[[Reading, IO[bytes]], Batches]] = {
            "jsonl": read_json_lines,
            "csv": read_csv,
            "tsv": read_csv,
        }
        yield from readers.get(form, read_text)(reading, utf8(reading, bounded))


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
                do="Correct `member`",
            )
        for member in members:
            if member.flag_bits & 1:
                raise InputError("the archive is encrypted", where=name, do="Decrypt the archive")
            inner = f"{name}/{member.filename}"
            with archive.open(member) as raw:
                bounded = limited(raw, member.compress_size, inner)
                yield from _read_stream(source, inner, bounded, member.file_size, counts, "none")
                yield [""]
