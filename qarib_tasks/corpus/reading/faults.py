"""Errors about several files of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import Findings
from qarib_tasks.errors import Faults, InputError, QaribError
from qarib_tasks.storage.manifest import FileRecord

MOST = 50  # files that an error lists


def with_later_faults(
    error: InputError, source: SourceConfig, later: Sequence[tuple[Path, FileRecord, str]]
) -> QaribError:
    """Return the error, or one that lists also what is wrong at the start of later files.

    Args:
        later: the path of each file on this machine, its checksums, and its name for messages.
    """
    faults = Faults()
    with faults.kept():
        raise error
    for path, _, where in later:
        if len(faults.found) == MOST:
            break
        with faults.kept():
            next(read(source, path, where, Counter()), None)
    try:
        faults.raise_all()
    except QaribError as all_faults:
        return all_faults
    return error


def nothing_read(source: SourceConfig, findings: Findings) -> InputError:
    """Return the error for a source of which every file was left out."""
    names = [f"{where} ({why})" for where, why in list(findings.left_out.items())[:MOST]]
    return InputError(
        f"no text was found; left out: {', '.join(names)}",
        where=source.path,
        do="Name other files",
    )
