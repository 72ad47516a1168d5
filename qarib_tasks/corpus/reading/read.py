"""Reads files of many formats and compressions as streams of lines, in bounded memory.

What a file is, its first bytes say, then its name. Every reader yields batches of lines in which an empty
line ends a document. An unreadable record is an error, unless the source allows it to be skipped; skipped
records are counted. A problem with a file (cut short, wrong format, implausible size when unpacked) is always
an error.
"""

from __future__ import annotations

import io
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.reading import has_layout
from qarib_tasks.corpus.content.decompression import BLOCK, Allowance, damage_errors, limited, unpacked
from qarib_tasks.corpus.content.detection import (
    PEEK,
    binary_name,
    columns_in,
    compression_of,
    names_column,
    refusal,
    table_of,
    text_format,
    text_name,
)
from qarib_tasks.corpus.content.harmless import harmless_content, is_harmless, is_hidden
from qarib_tasks.corpus.content.line_ends import ends_otherwise, line_feeds_for, with_line_feeds
from qarib_tasks.corpus.content.markup import escaped_name, markup_name
from qarib_tasks.corpus.reading.encoding import utf8
from qarib_tasks.corpus.reading.records import Batches, Findings, Reading
from qarib_tasks.corpus.reading.text import read_text
from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.storage.checked_file import CheckedFile
from qarib_tasks.storage.files import NOT_WRITTEN, name_output

log = logging.getLogger(__name__)
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_TABLES = ("parquet", "arrow")
_OF_LINES = ("text", "moses", "csv", "tsv")
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zstd")
_ENDINGS_OF_PACKED = (*_COMPRESSED, ".zip", ".tar", ".tgz")
_NAME_OF_TAR = re.compile(r"\.(?:tar(?:\.\w+)?|t[gbx]z2?|tzst)\Z", re.IGNORECASE)
_ZEROS = 1 << 20  # bytes, more than a tar archive without files has
_UNKNOWN_SIZE = 64 << 20  # bytes of a file whose size is unknown: a preview reads no more
_LONGEST_MESSAGE = 300  # characters of a library's message
_MOST_LAYERS = 5  # archives and compressions in each other
_MOSES = ("*.ar", "*.ar[_-]??")  # Arabic, and that of a country


@dataclass(frozen=True)
class _File:
    """A file, or a part of one: a member of an archive, or what is unpacked.

    Attributes:
        where: the path of the file, with the names of members.
        stream: positioned at its start.
        size: the number of its bytes, if known.
        packed: the archives and compressions that it is in, the outermost first.
        on_disk: whether the stream can be read in any order.
    """

    where: str
    stream: io.BufferedReader
    size: int | None
    packed: tuple[str, ...] = ()
    on_disk: bool = False


def read(
    source: SourceConfig,
    path: Path,
    where: str,
    counts: Counter[str],
    findings: Findings | None = None,
    file: CheckedFile | None = None,
) -> Batches:
    """Yield the lines of one file.

    Args:
        where: the file's path or address, for messages; its extensions are used if its content does not say
            what it is.
        counts: see `Reading`.
        findings: what is found out about the file is added to it.
        file: the file, open; it stays open.

    Raises:
        ConfigError: the settings do not fit the format. InputError: the file cannot be read (with file and
            line), or more than `skip_at_most` records are unreadable.
    """
    findings = findings or Findings()
    with nullcontext(file) if file else CheckedFile(path, where) as raw:
        stream = raw.stream(BLOCK)
        yield from read_stream(source, stream, raw.size, where, counts, findings, on_disk=True)


def read_stream(
    source: SourceConfig,
    stream: io.BufferedReader,
    size: int,
    where: str,
    counts: Counter[str],
    findings: Findings,
    *,
    on_disk: bool,
) -> Batches:
    """Yield the lines of a stream, as `read` does for a file.

    Args:
        size: its bytes; 0 if that is unknown.
        on_disk: whether the stream can be read in any order.
    """
    if is_harmless(where):
        _leave_out(findings, where, "a file of the system")
        return
    file = _File(where, stream, size or None, on_disk=on_disk)
    allowance = Allowance(size or _UNKNOWN_SIZE, where, source)
    yield from _FileReader(source, counts, findings, allowance).read(file)


def _leave_out(findings: Findings, where: str, why: str) -> None:
    log.info("%s: left out: %s", where, why)
    findings.left_out[where] = why


@dataclass(frozen=True)
class _FileReader:
    source: SourceConfig
    counts: Counter[str]
    findings: Findings
    allowance: Allowance

    def read(self, file: _File) -> Batches:
        """Yield the lines of a file, of what it unpacks to, or of its members."""
        source = self.source
        self.counts["line"] = 0
        with _file_errors(file.where, self.counts):
            head = file.stream.peek(PEEK)[:PEEK]
            if not head:
                _leave_out(self.findings, file.where, "empty")
                return
            packed = compression_of(head)
            if not file.packed and source.compression != "auto":
                if packed and source.compression == "none":
                    raise InputError(
                        f"not text, but {packed}",
                        where=file.where,
                        do="Set `compression: auto`, or unpack the file",
                    )
                # A tar archive can be compressed.
                if source.compression != "tar" or packed not in ("gz", "bz2", "xz", "zst"):
                    packed = source.compression if source.compression != "none" else ""
            if not packed and _NAME_OF_TAR.search(file.where) and not head.strip(b"\0"):
                if file.stream.read(_ZEROS).strip(b"\0") or file.stream.read(1):
                    raise refusal("zeros in front of a tar archive", file.where)
                _leave_out(self.findings, file.where, "an archive without files")
                return
            if packed and len(file.packed) == _MOST_LAYERS:
                raise InputError(
                    f"more than {_MOST_LAYERS} archives and compressions in each other",
                    where=file.where,
                    do="Unpack the file yourself",
                )
            if packed in ("zip", "tar"):
                yield from self._members(file, packed)
            elif packed:
                stream = limited(unpacked(file.stream, packed, is_inner=bool(file.packed)), self.allowance)
                yield from self.read(_File(file.where, stream, None, (*file.packed, packed)))
            else:
                if kind := harmless_content(head):
                    _leave_out(self.findings, file.where, kind)
                    return
                if name := binary_name(head):
                    raise refusal(name, file.where)
                yield from self._content(file, head)

    def _members(self, file: _File, packed: str) -> Batches:
        """Read the members that match the source's pattern; each ends a document."""
        from qarib_tasks.corpus.content.archives import seekable, shown_name, tar_members, zip_members

        patterns: tuple[str, ...] = _MOSES if self.source.format == "moses" else ("*",)
        if self.source.member:
            patterns = (self.source.member,)
        hidden_too = is_hidden(self.source.member)
        seen = 0

        def ignored(name: str) -> bool:
            nonlocal seen
            what = "a file of the system" if is_harmless(name) else "a hidden file" if is_hidden(name) else ""
            if not what or (hidden_too and not is_harmless(name)):
                seen += 1
                return False
            _leave_out(self.findings, f"{file.where}/{shown_name(name)}", what)
            return True

        def wanted(name: str) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in patterns)

        members = zip_members if packed == "zip" else tar_members
        stream = file.stream if file.on_disk or packed == "tar" else seekable(file.stream)
        found = 0
        for member in members(stream, file.where, ignored, wanted, self.allowance):
            found += 1
            inner = limited(member.stream, self.allowance)
            layers = (*file.packed, packed)
            yield from self.read(_File(f"{file.where}/{member.name}", inner, member.size, layers))
            self.counts["line"] = 0
            yield [""]
        if not found and not seen:
            _leave_out(self.findings, file.where, "an archive without files")
        elif not found:
            raise InputError(
                f"the archive has no member {' or '.join(map(repr, patterns))}",
                where=file.where,
                do="Correct `member`",
            )

    def _content(self, file: _File, head: bytes) -> Batches:
        """Read a file that is not packed."""
        source, detected = self.source, table_of(head)
        form: str = source.format
        if form == "auto":
            form = detected or _format_by_name(file)
        elif detected and form != detected and (detected, form) != ("warc", "text"):
            raise InputError(
                f"the content is {detected}, and the format is {form}",
                where=file.where,
                do="Set `format: auto`",
            )
        if form in (*_TABLES, "warc") and not detected and (name := text_name(head, form in _TABLES)):
            raise InputError(
                f"not {form}, but {name}",
                where=file.where,
                do="Download the file again, or correct `format`",
            )
        reading = Reading(source, file.where, self.counts, form, size=file.size, packed=file.packed)
        reading.allowance = self.allowance
        if self.findings.readings is not None:
            reading.detailed = True
            self.findings.readings.append(reading)
        try:
            if form in _TABLES:
                from qarib_tasks.corpus.reading.tables.read import read_table

                yield from read_table(reading, file.stream, is_seekable=file.on_disk)
            elif form == "warc":
                from qarib_tasks.corpus.reading.warc import read_warc

                yield from read_warc(reading, file.stream)
            else:
                yield from self._text(reading, utf8(reading, file.stream))
        except QaribError:
            reading.replaced = 0  # The error says it.
            raise
        finally:
            if reading.warnings:
                self.findings.warnings[file.where] = reading.warnings
            if reading.replaced:
                log.warning("%s: %s replaced", file.where, counted(reading.replaced, "undecodable byte"))
                self.findings.undecodable[file.where] = reading.replaced

    def _text(self, reading: Reading, stream: io.BufferedReader) -> Batches:
        source, head = self.source, stream.peek(PEEK)
        otherwise = ends_otherwise(head)
        if otherwise:
            head = line_feeds_for(head)
        head = head.lstrip(b"\r\n ")[: 4 * PEEK]
        if source.format == "auto":
            name = markup_name(head)
            if reading.form == "text" and not name:
                self._recognize(reading, head)
                name = escaped_name(head) if reading.form == "text" else ""
            elif reading.form in ("csv", "tsv") and not name and (letters := escaped_name(head)):
                reading.warn(f"the text has {letters}")
            if name:
                raise InputError(
                    f"not plain text, but {name}",
                    where=reading.where,
                    do="Convert it to text, set `format: text` to read it as it is, or "
                    + ("select other members with `member`" if reading.in_archive else "leave it out"),
                )
        if source.document == "group" and reading.form in ("text", "moses", "wikiextractor"):
            what, do = source.without_fields
            raise ConfigError(what, where=reading.where, do=do)
        if source.format == "auto" and reading.form == "text":
            _warn_of_table(reading, head)
        if otherwise and reading.form in _OF_LINES:
            log.info("%s: the lines end with other characters than line feeds", reading.where)
            stream = with_line_feeds(stream)
        yield from _reader(reading.form)(reading, stream)

    def _recognize(self, reading: Reading, head: bytes) -> None:
        """Set the format of a text whose name does not say it."""
        source, reading.form = self.source, text_format(head)
        if reading.form == "text" and has_layout(source):
            reading.form = "tsv" if b"\t" in head.partition(b"\n")[0] else "csv"
        elif reading.form == "text":
            reading.form = names_column(head, source.fields) or "text"
        if reading.form != "text":
            reading.guessed = True
            log.info("%s: read as %s, by its content", reading.where, reading.form)


# The modules of a format are imported when the first file of it is read.
def _reader(form: str) -> Callable[[Reading, IO[bytes]], Batches]:
    """Return the reader of a text in UTF-8."""
    if form == "jsonl":
        from qarib_tasks.corpus.reading.json_lines import read_json_lines

        return read_json_lines
    if form in ("csv", "tsv"):
        from qarib_tasks.corpus.reading.delimited import read_csv

        return read_csv
    if form == "wikiextractor":
        from qarib_tasks.corpus.reading.wikiextractor import read_articles

        return read_articles
    return read_text


def _warn_of_table(reading: Reading, head: bytes) -> None:
    """Warn of a table that is read as plain text, with all its columns.

    Raises:
        InputError: the text's column has a number.
    """
    fields = reading.source.fields
    how = "set `format: csv` or `format: tsv`, and `header: false` if its first row is text"
    if all(name.isdecimal() for name in fields):
        raise InputError(
            f"plain text, which has no column {' or '.join(fields)}",
            where=reading.where,
            do=f"If it is a table, {how}",
        )
    delimiter, count = columns_in(head)
    if delimiter:
        reading.warn(
            f"each line has {counted(count, 'column')}, separated by {delimiter}, and all are read as text. "
            f"If it is a table, {how}, and `field` to the number of the text's column"
        )
    elif fields != ("text",):
        reading.warn(f"read as plain text, without `field`. If it is a table, {how}")


def _format_by_name(file: _File) -> str:
    name = file.where.rpartition("/")[2].lower()
    endings = [f".{ending}" for ending in name.lstrip(".").split(".")[1:]]
    if endings and endings[-1] in _ENDINGS_OF_PACKED:
        ending = endings.pop()
        if not file.packed:
            log.info("%s: not compressed, although its name ends with %s", file.where, ending)
    return _FORMATS.get(endings[-1], "text") if endings else "text"


@contextmanager
def _file_errors(where: str, counts: Counter[str]) -> Iterator[None]:
    """Turn the libraries' errors about damaged files into one clear error."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, damage_errors()) or isinstance(error, QaribError):
            raise
        if isinstance(error, OSError) and error.errno in NOT_WRITTEN:  # The copy of a member in an archive.
            name_output(error, {Path(tempfile.gettempdir()): Path(tempfile.gettempdir())})
            raise
        line = f":{counts['line'] + 1}" if counts["line"] else ""
        what = " ".join(str(error).split())[:_LONGEST_MESSAGE].rstrip(".")
        do = "Download the file again, or correct `format` and `compression`"
        if isinstance(error, NotImplementedError):  # A method of compression in a zip file.
            do = "Unpack the file yourself"
        raise InputError(f"cannot be read: {what}", where=f"{where}{line}", do=do) from None
