"""The end of the log of a run's training, from the workspace or from what its TPU uploads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from qarib_tasks.errors import QaribError
from qarib_tasks.layout import MEMORY, WORKER
from qarib_tasks.storage.regular_files import open_regular
from qarib_tasks.views import shapes
from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import RunRecord, trouble

TpuName = Callable[[str, int], str]
MOST_BYTES = 64_000
MOST_LINES = 300
MOST_CHARACTERS = 1_000  # of a line
LOCAL_LOG = "train.log"


def log_view(record: RunRecord, files: Files, tpu_name: TpuName) -> dict[str, Any]:
    """The last lines of the log.

    Args:
        tpu_name: makes the name of a TPU, of the run's id and the number of the attempt.

    Returns:
        lines: the newest last; where: the address of the complete log, or None if there is none.
    """
    name, data = _found(record, files, tpu_name)
    return {
        "lines": last_lines(data or b""),
        "where": files.where(name) if name and data is not None else None,
        "trouble": trouble(files.trouble or files.fault),
    }


def last_lines(data: bytes) -> list[str]:
    """The last lines of a log, of which `data` may be the end only: a first incomplete line is left out."""
    text = data[-MOST_BYTES:].decode("utf-8", errors="replace")
    if len(data) > MOST_BYTES:
        text = text.partition("\n")[2]
    return [line[:MOST_CHARACTERS] for line in text.splitlines()[-MOST_LINES:]]


def tpu_folder(record: RunRecord, files: Files, tpu_name: TpuName) -> str | None:
    """The name of the folder in which the run's present TPU reports, with a slash; None without a TPU."""
    memory = memory_of(record, files)
    if record.model is None or not memory:
        return None
    name = tpu_name(str(memory.get("run_id") or record.run_id), int(memory.get("attempt") or 1))
    return f"{record.model.tpu_job(record.run_id)}{name}/"


def memory_of(record: RunRecord, files: Files) -> Mapping[str, Any]:
    if record.model is None:
        return {}
    name = record.model.tpu_job(record.run_id) + MEMORY
    return files.object(files.published(name), name, shapes.MEMORY)


def _found(record: RunRecord, files: Files, tpu_name: TpuName) -> tuple[str, bytes | None]:
    if record.model is None:
        return "", None
    if (folder := tpu_folder(record, files, tpu_name)) is not None:
        name = f"{folder}{WORKER}0.log"
        return name, files.end_of_published(name, MOST_BYTES + 1)
    name = f"{record.model.name}{LOCAL_LOG}"
    return name, _end_of_local(files, name)


def _end_of_local(files: Files, name: str) -> bytes | None:
    if files.workspace is None:
        return None
    try:
        with os.fdopen(open_regular(files.workspace / PurePosixPath(name), files.workspace), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_BYTES - 1))
            return file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except QaribError as error:
        files.mark(error)
    except OSError:
        return None
    return None
