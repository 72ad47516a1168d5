"""Reads a sample of a source, and says what it is and what cleaning would keep of it."""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.deployment.limits import Limits
from qarib_tasks.config.loading import to_dict
from qarib_tasks.corpus import losses
from qarib_tasks.corpus.allowed import AllowedSources, limited, limits_of
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.corpus.content.doubts import MOST_VALUES, doubts, most_arabic, sample_of
from qarib_tasks.corpus.preview.pace import Pace, share_of_sample, share_read
from qarib_tasks.corpus.preview.stream import Beginning, EnoughError, beginning
from qarib_tasks.corpus.reading.read import read_stream
from qarib_tasks.corpus.reading.records import Findings, Reading
from qarib_tasks.corpus.sources import SourceFile, list_files

SECONDS = 8.0  # per source
DOCUMENTS = 3
CUT = 300  # characters of a document that are shown
_SPREAD = 5  # files that share the sample, if there are as many
_MOST_COLUMNS = 30
_MOST_NAMED = 10  # files that are left out
_MOST_READINGS = 100  # files and members whose formats are shown
_TABLES = ("parquet", "arrow")
_EXAMPLE = 60


@dataclass(frozen=True)
class Column:
    """A column or field of a record, with its value in the first one."""

    name: str
    example: str


@dataclass(frozen=True)
class Document:
    """The beginning of a document, before and after cleaning.

    Attributes:
        dropped: the rules that dropped lines of it.
    """

    before: str
    after: str
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What the beginning of a source shows.

    Attributes:
        path: as it is set.
        files: the number of files.
        bytes: their size; None if that of one is unknown.
        files_read: the number of files that the sample is from.
        formats: of these files, such as "csv" or "text in gz in tar".
        encodings: theirs.
        dialect: how the columns of the first one are separated, if it is delimited text.
        columns: those of the first file's first record, if it has any.
        column: the one that is read.
        documents: the first documents.
        sample_lines: the number of lines in the sample, without empty ones.
        complete: whether the sample is all.
        kept_lines, kept_bytes: the share of the sample that cleaning keeps.
        losses: what was dropped and by which rule.
        lines, words: about how many the source gives after cleaning; None if its size is unknown.
        seconds: that reading and cleaning it takes, about; None if its size is unknown.
        warnings: what is probably wrong.
    """

    source: str
    path: str
    files: int
    bytes: int | None
    files_read: int
    formats: tuple[str, ...]
    encodings: tuple[str, ...]
    dialect: str
    columns: tuple[Column, ...]
    column: str
    documents: tuple[Document, ...]
    sample_lines: int
    complete: bool
    kept_lines: float
    kept_bytes: float
    losses: str
    lines: int | None
    words: int | None
    seconds: float | None
    warnings: tuple[str, ...]


def preview(
    config: CollectConfig,
    source: SourceConfig,
    allowed: AllowedSources | None = None,
    *,
    files: Sequence[SourceFile] | None = None,
    seconds: float = SECONDS,
) -> Preview:
    """Read the beginning of a source, until the sample is large enough or the time is up.

    Args:
        config: has the settings of the cleaning.
        allowed: where sources may be; None for anywhere.
        files: the source's files, instead of all that it names now.

    Raises:
        ConfigError, InputError: the source cannot be read: `collect` would raise the same.
        StorageError: a bucket or a web server does not answer as it should.
    """
    deadline = time.monotonic() + seconds
    source = limited(source, allowed)
    files = list_files(source, allowed) if files is None else files
    sample = _Sample(config, source, limits_of(allowed))
    sample.read(files, deadline, allowed)
    return sample.preview(files)


class _Sample:
    """The lines that were read, and what became of them."""

    def __init__(self, config: CollectConfig, source: SourceConfig, limits: Limits) -> None:
        self._limits = limits
        self._config = config
        self._source = source
        self._cleaner = Cleaner(config)
        self._counts: Counter[str] = Counter()
        self._findings = Findings(readings=[])
        self._documents: list[list[str]] = [[]]
        self._values: list[str] = []
        self._words = self._lines = self._written = 0
        self._files_read = 0
        self._used = 0.0  # bytes of the files that the lines are from
        self._seconds = 0.0
        self._all = True
        self._stopped = ""

    def read(self, files: Sequence[SourceFile], deadline: float, allowed: AllowedSources | None) -> None:
        """Read the beginning of as many files as the sample needs."""
        import numpy as np

        from qarib_tasks.corpus.documents import RECORD, DocumentWriter

        # The first call makes the tables of the rules.
        Cleaner(self._config).clean(["سطر"])
        records = io.BytesIO()
        with open(os.devnull, "wb") as nowhere:
            writer = DocumentWriter(nowhere, records, self._source.limit)
            for number, file in enumerate(self._ordered(files)):
                spread = min(_SPREAD, len(files)) - number if not self._source.limit else 1
                most = max(0, self._limits.preview_lines - self._size) // max(1, spread)
                if (not most and number >= _SPREAD) or time.monotonic() > deadline or self._stopped:
                    self._all = False
                    break
                if allowed:
                    allowed.check(file.address, self._source.name)
                self._read_file(file, most, deadline, allowed, writer)
                if writer.full:
                    self._all = self._all and number == len(files) - 1
                    break
            writer.close()
        written = np.frombuffer(records.getvalue(), dtype=RECORD)
        self._written = len(written)
        self._lines, self._words = int(written["lines"].sum()), int(written["words"].sum())

    @property
    def _size(self) -> int:
        if self._cleaner.bytes > self._limits.preview_bytes:
            return self._limits.preview_lines
        return max(self._cleaner.lines, self._counts["lines_read"])

    def _ordered(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Return the files with some first that lie far from each other, except if the first ones suffice."""
        if self._source.limit or len(files) <= _SPREAD:
            return list(files)
        places = [round(i * (len(files) - 1) / (_SPREAD - 1)) for i in range(_SPREAD)]
        return [files[i] for i in places] + [file for i, file in enumerate(files) if i not in places]

    def _read_file(
        self, file: SourceFile, most: int, deadline: float, allowed: AllowedSources | None, writer: Any
    ) -> None:
        readings = self._findings.readings
        assert readings is not None
        before, first = self._size, len(readings)
        complete, share, pace = False, 1.0, Pace()
        with beginning(file, deadline, allowed) as (stream, raw):
            try:
                with closing(self._batches(file, stream, raw)) as batches:
                    for lines in batches:
                        self._take(lines)
                        writer.write(self._cleaner.clean(lines))
                        pace.add(lines)
                        if writer.full or self._size - before >= most or time.monotonic() > deadline:
                            share = 1.0 if writer.full else share_of_sample(batches, readings[first:], raw)
                            break
                    else:
                        complete = True
            except EnoughError as error:
                self._stopped = str(error)
            used = float(file.bytes or raw.passed)
            if not complete:
                self._all = False
                used *= share * share_read(raw, file.bytes, readings[first:])
        writer.write([""])
        self._take([""])
        self._files_read += 1
        self._used += used
        self._seconds += pace.seconds
        del readings[_MOST_READINGS:]

    def _batches(self, file: SourceFile, stream: io.BufferedReader, raw: Beginning) -> Any:
        where = file.where
        return read_stream(
            self._source, stream, file.bytes, where, self._counts, self._findings, on_disk=raw.seekable()
        )

    def _take(self, lines: list[str]) -> None:
        """Keep the first documents and lines, as they were before cleaning."""
        if len(self._values) < MOST_VALUES:
            self._values += sample_of(lines)
        if len(self._documents) > DOCUMENTS:
            return
        for line in lines:
            if line and sum(map(len, self._documents[-1])) < 2 * CUT:
                self._documents[-1].append(line)
            elif not line and self._documents[-1]:
                self._documents.append([])
                if len(self._documents) > DOCUMENTS:
                    break

    def preview(self, files: Sequence[SourceFile]) -> Preview:
        """Return what the sample shows."""
        readings = self._findings.readings or []
        first = readings[0] if readings else Reading(self._source, "", self._counts)
        size = sum(file.bytes for file in files) if all(f.bytes or f.path for f in files) else None
        cleaner, figures = self._cleaner, self._figures()
        sentences = cleaner.counts["sentences"] if "sentences" in self._config.cleaning else 0
        kept_lines = _kept(sum(cleaner.dropped.values()), cleaner.lines + sentences)
        return Preview(
            source=self._source.name,
            path=self._source.path,
            files=len(files),
            bytes=size,
            files_read=self._files_read,
            formats=tuple(dict.fromkeys(map(_format, readings))),
            encodings=tuple(dict.fromkeys(r.encoding for r in readings if r.form not in _TABLES)),
            dialect=first.dialect,
            columns=_columns(first),
            column=first.column,
            documents=tuple(self._document(lines) for lines in self._documents[:DOCUMENTS] if lines),
            sample_lines=cleaner.lines,
            complete=self._all,
            kept_lines=kept_lines,
            kept_bytes=_kept(sum(cleaner.dropped_bytes.values()), cleaner.bytes),
            losses=losses.summary(figures),
            warnings=tuple(self._warnings(readings, first, figures)),
            **self._estimates(size),
        )

    def _document(self, lines: list[str]) -> Document:
        cleaner = Cleaner(self._config)
        after = [line for line in cleaner.clean(lines) if line]
        return Document(_cut(" ⏎ ".join(lines)), _cut(" ⏎ ".join(after)), tuple(+cleaner.dropped))

    def _figures(self) -> dict[str, Any]:
        """Return the sample's figures as in a corpus's manifest."""
        cleaner = self._cleaner
        figures = {
            **{name: count for name, count in self._counts.items() if name != "line"},
            "left_out_files": len(self._findings.left_out),
            "documents_read": self._written,
            "text_lines": cleaner.lines,
            "text_bytes": cleaner.bytes,
            **({"text_documents": cleaner.ends} if self._source.document == "line" else {}),
            "changed": dict(cleaner.counts),
            "dropped": dict(+cleaner.dropped),
            "dropped_bytes": dict(+cleaner.dropped_bytes),
        }
        return figures | {"sources": {self._source.name: figures}}

    def _estimates(self, size: int | None) -> dict[str, Any]:
        times = 1.0 if self._all else size / self._used if size and self._used else None
        if times is None:
            return {"lines": None, "words": None, "seconds": None}
        if self._source.limit and self._written:
            times = min(times, self._source.limit / self._written)
        kept = times * self._source.share
        return {
            "lines": round(self._lines * kept),
            "words": round(self._words * kept),
            "seconds": round(self._seconds * times, 3),
        }

    def _warnings(self, readings: list[Reading], first: Reading, figures: dict[str, Any]) -> Iterator[str]:
        for reading in readings:
            yield from (f"{reading.where}: {text}" for text in reading.warnings)
        settings = to_dict(self._config)
        yield from losses.warnings(figures, settings)
        if self._stopped:
            yield f"the sample is small: {self._stopped}"
        if not self._cleaner.lines and not self._stopped:
            named = [f"{where} ({why})" for where, why in self._findings.left_out.items()]
            left_out = f"; left out: {', '.join(named[:_MOST_NAMED])}" if named else ""
            yield "no text was found" + ("" if self._all else " in the sample") + left_out
        if found := doubts(self._values):
            yield f"{'; '.join(found)}. {self._is_it_right(first)}"

    def _is_it_right(self, first: Reading) -> str:
        if not first.columns:
            return "Is this the right file?"
        best = most_arabic(first.columns, first.examples)
        other = f" `field: {best}` looks like text" if best and best != first.column else ""
        return f"Is {first.column!r} the right column?{other}"


def _kept(dropped: int, total: int) -> float:
    return 1 - min(1.0, dropped / total) if total else 0.0


def _format(reading: Reading) -> str:
    return " in ".join([reading.form, *reversed(reading.packed)])


def _columns(reading: Reading) -> tuple[Column, ...]:
    examples = [*reading.examples, *[""] * len(reading.columns)]
    pairs = zip(reading.columns[:_MOST_COLUMNS], examples, strict=False)
    return tuple(
        Column(_cut(name, _EXAMPLE), _cut(_text(value, reading.encoding), _EXAMPLE)) for name, value in pairs
    )


def _text(value: object, encoding: str) -> str:
    if isinstance(value, bytes):
        return value.decode(encoding, "replace")
    return "" if value is None else " ".join(str(value).split())


def _cut(text: str, most: int = CUT) -> str:
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.encode("utf-8", "replace").decode()  # JSON can have an unpaired surrogate.
