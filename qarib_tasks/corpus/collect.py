"""Step 0: collects source files into `data.txt`: one sentence per line, a blank line between documents.

Each source is collected separately: read, cleaned, and written with a record for each document
(`documents.py`). Then the sources are joined (`joining.py`).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.corpus import losses
from qarib_tasks.corpus.allowed import AllowedSources, limited
from qarib_tasks.corpus.sources import STANDARD_INPUT, Input, SourceFile, fetch, list_files
from qarib_tasks.errors import ConfigError, Faults, InputError, StorageError
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, lists_all, manifest_of
from qarib_tasks.storage.ownership import (
    Earlier,
    Staged,
    check_outputs,
    check_temporary_folders,
    made_with,
    owned,
    place_of,
    recorded_name,
)
from qarib_tasks.storage.side_files import fetched_folder_of, report_of, working_folder_of
from qarib_tasks.storage.working_folder import is_our_folder, make_folder, remove_folder, working_folder

if TYPE_CHECKING:
    from qarib_tasks.corpus.joining import GivenTexts

log = logging.getLogger(__name__)
WITHOUT = "without_texts"  # in a manifest's config: the digests of the texts that were left out


def require_sources(config: CollectConfig) -> None:
    """Check that there is something to read.

    Raises:
        ConfigError: there is no source.
    """
    if not config.sources:
        raise ConfigError("no source of text is set", where="collect.sources", do="Add at least one source")


def list_sources(
    config: CollectConfig,
    allowed: AllowedSources | None = None,
    standard_input: SourceFile | None = None,
) -> dict[SourceConfig, list[SourceFile]]:
    """Return the files that each source names, sorted. One error lists the problems of all sources.

    A file that two sources with the same settings name is read once.

    Args:
        standard_input: the file of a source whose path is `-`.

    Raises:
        ConfigError: there is no source, one may not be read, or two have one name.
        InputError: a source names no file.
        StorageError: a bucket or web server does not answer as it should.
    """
    require_sources(config)
    names = Counter(source.name for source in config.sources)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(
            f"several sources have the name {', '.join(twice)}",
            where="collect.sources",
            do="Give each source a name of its own",
        )
    faults, files = Faults(), {}
    for source in config.sources:
        with faults.kept():
            if standard_input and source.path == STANDARD_INPUT:
                files[source] = [standard_input]
            else:
                files[source] = list_files(source, allowed)
    # A bucket that does not answer may answer later; a retry would not solve the other problems.
    faults.raise_all(lambda error: not isinstance(error, StorageError))
    return _each_once(files)


def _each_once(files: Mapping[SourceConfig, list[SourceFile]]) -> dict[SourceConfig, list[SourceFile]]:
    """Leave out files that an earlier source with the same settings names too."""
    seen: dict[tuple[SourceConfig, str], str] = {}
    found: dict[SourceConfig, list[SourceFile]] = {}
    for source, listed in files.items():
        found[source] = []
        for file in listed:
            key = (replace(source, name="any", path="any"), file.identity)
            if key in seen:
                log.info("%s: the same file as %s, read once", file.where, seen[key])
                continue
            seen[key] = file.where
            found[source].append(file)
    return found


def collect(
    config: CollectConfig,
    out: Path,
    *,
    heldout: Path | None,
    random_seed: int,
    cache: Path | None = None,
    allowed: AllowedSources | None = None,
    files: Mapping[str, Sequence[SourceFile]] | None = None,
    earlier: Mapping[str, Sequence[Path]] | None = None,
    without: GivenTexts | None = None,
    adopt: bool = False,
) -> Manifest:
    """Read, clean and deduplicate every source into `out` and `heldout`; a document's hash decides which.

    Memory does not grow with the corpus. The results of earlier `collect_source` calls are used.

    Args:
        heldout: file for the held-out part; None puts every document into `out`.
        random_seed: decides which documents are held out. With the same seed, they stay the same as the
            corpus grows.
        cache: folder for fetched files; by default a folder beside `out`.
        allowed: where sources may be; None for anywhere.
        files: the files of each source by its name, instead of all that it names now.
        earlier: texts that were collected earlier, by the name of their dataset: documents that repeat one of
            theirs exactly are dropped. The held-out part may then be empty.
        without: texts; documents that contain one are left out.
        adopt: the folder is ours, see `ownership.owned`: a run's dataset, which stays as it is when only
            `without` changes.

    Returns:
        the manifest, written last, beside `out`.

    Raises:
        ConfigError, InputError, StorageError, CorruptError: a source cannot be used (with file and line),
            the sources have no text, the held-out part is empty, an output is a source, or a file that is
            not ours is in the way of an output.
    """
    texts_out = [out, heldout] if heldout else [out]
    outputs, place = [*texts_out, report_of(out)], manifest_of(out)
    check_outputs([*outputs, place])
    check_temporary_folders(out, outputs)
    if files is None:
        files = {source.name: some for source, some in list_sources(config, allowed).items()}
    if not adopt:  # The files of a run are fixed.
        folders = [f for f in (working_folder_of(out), fetched_folder_of(out)) if is_our_folder(f)]
        is_own = made_with(place, outputs, folders)
        files = {each.name: _without_own(each, files.get(each.name, ()), is_own) for each in config.sources}
    texts = [text for some in (earlier or {}).values() for text in some]
    check_outputs([*outputs, place], [*_paths(files), *texts])
    check_temporary_folders(out, _paths(files))
    before = owned("corpus", place, outputs, named=texts_out, adopt=adopt)
    fetched = {
        limited(source, allowed): _fetched(source, _cache(out, cache, named), allowed, named)
        for source in config.sources
        for named in [files.get(source.name, ())]
    }
    from qarib_tasks.corpus.joining import join
    from qarib_tasks.corpus.reading.source import collect_files, records_of, text_settings

    share = config.heldout_share if heldout else 0.0
    settings = text_settings(config) | {"heldout_share": share, "random_seed": random_seed}
    if earlier:
        settings["earlier"] = list(earlier)
    if without:
        settings[WITHOUT] = dict(without.digests)
    counts = _without_given_texts if adopt else dict

    def inputs() -> list[FileRecord]:
        return records_of(chain.from_iterable(fetched.values()))

    lists = lists_all(*(recorded_name(path, place) for path in texts_out))
    done = finished(place, kind="corpus", config=settings, inputs=inputs, lists=lists, counts=counts)
    if done:
        log.info("%s: already collected", out)
        remove_folder(working_folder_of(out))
        return done
    folder = working_folder_of(out)
    parts = {}
    with working_folder(folder):
        for source, read in fetched.items():
            parts[source.name] = collect_files(config, source, read, folder / f"{source.name}.txt")
    if not any(part.statistics["documents_read"] for part in parts.values()):
        remove_folder(folder)
        lost = [part.statistics for part in parts.values()]
        named = {name: part.statistics for name, part in parts.items()}
        told = "; ".join([*filter(None, map(losses.summary, lost)), *losses.warnings_of_files(named)])
        raise InputError(
            f"no text was found{told and ': '}{told}",
            where=", ".join(source.path for source in config.sources),
            do=losses.largest_to_do(lost, settings) or "Check the sources and the cleaning rules",
        )
    read_as = [record for part in parts.values() for record in part.inputs]
    with Staged(place) as staged:
        manifest = join(
            config, parts, folder, staged, out, heldout, random_seed, settings, read_as, texts, without
        )
        # The held-out part of an earlier run: its documents may be in the training text now.
        now = set(map(place_of, outputs))
        stale = [path for path in before.listed if os.path.lexists(path) and place_of(path) not in now]
        staged.commit(manifest, stale=stale, keep_stale=True)
    remove_folder(folder)
    return manifest


def collect_source(
    config: CollectConfig,
    name: str,
    out: Path,
    *,
    cache: Path | None = None,
    allowed: AllowedSources | None = None,
    files: Mapping[str, Sequence[SourceFile]] | None = None,
) -> None:
    """Do one source's part of `collect` in advance, so that many machines can read sources in parallel.

    Args:
        name: of the source.
        out, cache, allowed, files: the same as for `collect`.
    """
    from qarib_tasks.corpus.reading.source import collect_files, records_of, text_settings

    source = next((source for source in config.sources if source.name == name), None)
    if source is None:
        raise ConfigError(
            "no such source",
            where=name,
            do=f"Use one of: {', '.join(source.name for source in config.sources)}",
        )
    source = limited(source, allowed)
    listed = list_files(source, allowed) if files is None else files.get(name, ())
    fetched = _fetched(source, _cache(out, cache, listed), allowed, listed)
    joined = Earlier.read(manifest_of(out)).manifest
    if joined and joined.state == "complete":
        same = all(joined.config.get(key) == value for key, value in text_settings(config).items())
        if same and all(record in joined.inputs for record in records_of(fetched)):
            log.info("%s: already collected into %s", name, out)
            return
    with working_folder(working_folder_of(out)) as folder:
        collect_files(config, source, fetched, folder / f"{name}.txt")


def _paths(files: Mapping[str, Sequence[SourceFile]]) -> Iterator[Path]:
    """Yield the paths of the files on this machine."""
    for listed in files.values():
        for file in listed:
            if path := file.path:
                yield path


def _without_own(
    source: SourceConfig, listed: Sequence[SourceFile], is_own: Callable[[Path], bool]
) -> list[SourceFile]:
    """Return the files of a source without those that an earlier run made, which its pattern matches too.

    Raises:
        InputError: no other file is left.
    """
    if not listed or os.path.isfile(os.path.expanduser(source.path)):
        return list(listed)
    kept = []
    for file in listed:
        if file.path and is_own(file.path):
            log.info("%s: left out of source %s, because this command made it", file.path, source.name)
        else:
            kept.append(file)
    if not kept:
        raise InputError("names only files that this command made", where=source.path, do="Name other files")
    return kept


def _without_given_texts(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != WITHOUT}


def _cache(out: Path, cache: Path | None, files: Iterable[SourceFile]) -> Path:
    """Return the folder for fetched files; it is made if there are any."""
    if cache:
        return cache
    if any(file.path is None for file in files):
        make_folder(fetched_folder_of(out))
    return fetched_folder_of(out)


def _fetched(
    source: SourceConfig, cache: Path, allowed: AllowedSources | None, listed: Sequence[SourceFile]
) -> list[Input]:
    """Fetch the source's files to this machine."""
    files = []
    for file in listed:
        if allowed:
            allowed.check(file.address, source.name)
        name = f"{source.name}/{file.name}"
        files.append(fetch(file, cache, sha256=source.sha256, allowed=allowed, name=name))
    return files
