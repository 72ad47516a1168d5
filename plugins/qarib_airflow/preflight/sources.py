"""A preview of the run's sources in the preflight's log."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.corpus.allowed import AllowedSources, limits_of
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.dataset.ledger import by_source, read_plan
from qarib_tasks.errors import Faults, QaribError, StorageError
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.storage.recognition import is_preview, require_ours

if TYPE_CHECKING:
    from qarib_tasks.corpus.preview.preview import Preview

log = logging.getLogger(__name__)
_LEAST = 0.5  # seconds that are left, without which no further source is begun


def preview_sources(run: Run, allowed: AllowedSources, seconds: float | None = None) -> None:
    """Log a sample of each source before and after cleaning, and save the figures beside the dataset's plan.

    Args:
        seconds: for all sources together; None for the deployment's limit.

    Does nothing if the sources are collected already. Sources for which there is no time are named.

    Raises:
        ConfigError, InputError: a source cannot be read, and collecting it would fail in the same way; or the
            preview's file is not ours.
    """
    if run.first_step != "collect" or manifest_of(run.dataset.data).is_file():
        return
    require_ours(run.dataset.preview, is_preview)
    files = by_source(read_plan(run.dataset.sources))
    sources = [source for source in run.config.collect.sources if source.name in files]
    if seconds is None:
        seconds = limits_of(allowed).preview_seconds
    deadline, faults = time.monotonic() + seconds, Faults()
    found: list[Preview] = []
    late: list[str] = []
    for number, source in enumerate(sources):
        left = deadline - time.monotonic()
        if left < _LEAST:
            late += [each.name for each in sources[number:]]
            break
        # A source that is slow leaves time for the next ones.
        most = max(_LEAST, left / (len(sources) - number))
        with faults.kept():
            if result := _in_time(run.config.collect, source, files[source.name], allowed, most):
                found.append(result)
                _log(result)
            else:
                late.append(source.name)
    if late:
        log.info("No time for a preview of %s; qarib preview shows it", ", ".join(late))
    write_text(run.dataset.preview, json.dumps([asdict(each) for each in found], ensure_ascii=False) + "\n")
    faults.raise_all()


def _log(result: Preview) -> None:
    from qarib_tasks.corpus.preview.text import shown, text_of, title

    # Airflow folds the lines of a group.
    log.info("::group::Preview of %s", title(result))
    for line in text_of(result):
        log.info("%s", line)
    log.info("::endgroup::")
    for warning in result.warnings:
        log.warning("%s: %s", result.source, shown(warning))


def _in_time(
    config: CollectConfig,
    source: SourceConfig,
    files: list[SourceFile],
    allowed: AllowedSources,
    seconds: float,
) -> Preview | None:
    """Return the preview; None if there is none, which the log explains, or if it takes too long.

    The work is done in a thread, because a server that does not answer cannot be interrupted.
    """
    from qarib_tasks.corpus.preview.preview import preview

    results: queue.Queue[Preview | Exception] = queue.Queue()

    def work() -> None:
        try:
            results.put(preview(config, source, allowed, files=files, seconds=seconds))
        except Exception as error:
            results.put(error)

    threading.Thread(target=work, name=f"preview {source.name}", daemon=True).start()
    try:
        result = results.get(timeout=seconds + _LEAST)
    except queue.Empty:
        return None
    if not isinstance(result, Exception):
        return result
    if isinstance(result, QaribError) and not isinstance(result, StorageError):
        raise result
    # The server may answer later, and a fault of the preview is no reason not to collect.
    log.warning("%s: no preview: %s", source.name, result)
    return None
