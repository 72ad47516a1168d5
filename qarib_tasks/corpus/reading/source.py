"""Reads and cleans the files of one source, in a folder for working files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.corpus.content.doubts import MOST_VALUES, doubts, sample_of
from qarib_tasks.corpus.reading.examples import Examples
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import Findings
from qarib_tasks.corpus.sources import Input
from qarib_tasks.errors import Faults, InputError, QaribError
from qarib_tasks.progress import progress
from qarib_tasks.storage.checked_file import CheckedFile
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, manifest_of
from qarib_tasks.storage.ownership import Staged

log = logging.getLogger(__name__)
SAMPLE_LINES = 10
MOST_FAULTS = 50  # files that an error lists


def text_settings(config: CollectConfig) -> dict[str, Any]:
    """Return every setting that changes the text. Sources' checksums are in `inputs`, not here."""
    settings = named_settings(config)
    for source in settings["sources"]:
        del source["sha256"]
    del settings["heldout_share"]
    return settings


def collect_files(config: CollectConfig, source: SourceConfig, files: Sequence[Input], out: Path) -> Manifest:
    """Collect one source's files into `out`, its documents' records beside it, and its manifest last.

    The checksums in the manifest are those of the bytes that were read.
    """
    settings = text_settings(replace(config, sources=(source,)))
    if done := finished(manifest_of(out), config=settings, inputs=lambda: records_of(files)):
        log.info("source %s: already collected", source.name)
        return done
    with Staged(manifest_of(out), leftovers=False) as staged:  # Of thousands of sources, one folder.
        return staged.commit(_read_source(config, source, files, out, staged, settings), keep_changed=False)


def records_of(files: Iterable[Input]) -> list[FileRecord]:
    """Return the checksums of files."""
    return [file.record() for file in files]


def _read_source(
    config: CollectConfig,
    source: SourceConfig,
    files: Sequence[Input],
    out: Path,
    staged: Staged,
    settings: Mapping[str, Any],
) -> Manifest:
    """Do the work of `collect_files`; returns the manifest."""
    from qarib_tasks.corpus.documents import DocumentWriter

    examples, counts = Examples(), Counter[str]()
    cleaner = Cleaner(config, examples)
    samples: list[tuple[str, str]] = []
    findings, values = Findings(), list[str]()
    inputs: list[FileRecord] = []
    records = out.with_suffix(".documents")
    with (
        staged.path(out).open("wb") as text_file,
        staged.path(records).open("wb") as records_file,
        progress(f"collect {source.name}", 0, "bytes") as advance,
    ):
        writer = DocumentWriter(text_file, records_file, source.limit)
        for number, given in enumerate(files):
            inner = Counter[str](skipped=counts["skipped"])
            try:
                with CheckedFile(given.path, given.where) as file:
                    with _no_other_error_if_changed(file):
                        for lines in read(source, given.path, given.where, inner, findings, file):
                            if len(samples) < SAMPLE_LINES:
                                samples += _samples(config, lines, SAMPLE_LINES - len(samples))
                            cleaned = cleaner.clean(lines)
                            if len(values) < MOST_VALUES:
                                values += sample_of(cleaned)
                            advance(writer.write(cleaned))
                            if writer.full:
                                break
                    inputs.append(given.read(file))
            except InputError as error:
                raise _with_later_faults(error, source, files[number + 1 :]) from None
            writer.write([""])
            counts.update(inner - Counter(skipped=counts["skipped"]))
            if writer.full:
                break
        if findings.left_out and not counts["lines_read"]:
            raise _nothing_read(source, findings)
        writer.close()
    if found := doubts(values):
        findings.warn(source.path, f"{'; '.join(found)}. Check that this is the right file, and `field`")
    del counts["line"]
    inputs += records_of(files[len(inputs) :])
    return Manifest(
        kind="corpus",
        id=source.name,
        config=settings,
        inputs=inputs,
        outputs=[staged.record(out), staged.record(records)],
        statistics={
            "files": len(files),
            "bytes_read": sum(record.bytes for record in inputs),
            **counts,
            **findings.figures(),
            "documents_read": writer.documents,
            "text_lines": cleaner.lines,
            "text_bytes": cleaner.bytes,
            **({"text_documents": cleaner.ends} if source.document == "line" else {}),
            "changed": dict(cleaner.counts),
            "dropped": dict(+cleaner.dropped),
            "dropped_bytes": dict(+cleaner.dropped_bytes),
            "line_words": writer.line_words,
            "samples": samples,
            **examples.figures(),
        },
    )


@contextmanager
def _no_other_error_if_changed(file: CheckedFile) -> Iterator[None]:
    """Raise that the file changed in place of an error that this explains."""
    try:
        yield
    except InputError:
        file.require_unchanged()
        raise


def _with_later_faults(error: InputError, source: SourceConfig, later: Sequence[Input]) -> QaribError:
    """Return the error, or one that lists also what is wrong at the start of later files."""
    faults = Faults()
    with faults.kept():
        raise error
    for given in later:
        if len(faults.found) == MOST_FAULTS:
            break
        with faults.kept():
            next(read(source, given.path, given.where, Counter()), None)
    try:
        faults.raise_all()
    except QaribError as all_faults:
        return all_faults
    return error


def _nothing_read(source: SourceConfig, findings: Findings) -> InputError:
    """Return the error for a source of which every file was left out."""
    names = [f"{where} ({why})" for where, why in list(findings.left_out.items())[:MOST_FAULTS]]
    return InputError(
        f"no text was found; left out: {', '.join(names)}",
        where=source.path,
        do="Name other files",
    )


def _samples(config: CollectConfig, lines: list[str], count: int) -> list[tuple[str, str]]:
    """Return lines before and after cleaning, changed ones first."""
    lines = [line for line in lines[:500] if line]
    changed: list[tuple[str, str]] = []
    same: list[tuple[str, str]] = []
    # Cleaned at once, which is much faster. An empty line, which is kept, separates them.
    cleaned = iter(Cleaner(config).clean([part for line in lines for part in (line, "")]))
    for line in lines:
        after = " ⏎ ".join(iter(cleaned.__next__, ""))
        # JSON can have an unpaired surrogate, a manifest cannot.
        before = line[:500].encode(errors="replace").decode()
        (changed if after != line else same).append((before, after[:500]))
    return (changed + same)[:count]
