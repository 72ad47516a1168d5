"""Joins collected sources into one corpus: drops repeats and separates the held-out part.

The documents' records alone decide which documents are repeats and which are held out; the text is then
copied unchanged.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.corpus.deduplication import Bits, near_repeats, repeats, unpacked
from qarib_tasks.corpus.documents import RECORD, DocumentWriter, Records, histogram
from qarib_tasks.corpus.losses import losses, summary, warnings
from qarib_tasks.corpus.reading.examples import CANDIDATES, LINE_END, MOST_CHARACTERS, Examples, joined
from qarib_tasks.corpus.report import report
from qarib_tasks.corpus.sampling import chosen
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError, NothingNewError
from qarib_tasks.progress import progress
from qarib_tasks.storage.files import CHUNK
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.ownership import Staged
from qarib_tasks.storage.side_files import report_of
from qarib_tasks.storage.working_folder import HIDDEN

SAMPLE_LINES = 10
RECORDS = 1 << 16  # records that are read at once
KEEP, HOLD_OUT, DROP = 0, 1, 2
EARLIER = f"{HIDDEN}earlier"  # a source's name never begins with a dot
_SHARE_SEED = 0x7368617265  # "share": must choose independently of the held-out part


class Search(Protocol):
    """A search for given texts in documents."""

    def find(self, path: Path, documents: int) -> Mapping[str, Bits]:
        """Return, for each list of texts, a bit per document of a text file that contains one of them.

        Args:
            documents: the number of documents in the file.
        """

    def figures(self, documents: Mapping[str, int]) -> Mapping[str, Any]:
        """Return statistics for a manifest.

        Args:
            documents: how many were left out because of each list of texts.
        """


class GivenTexts(Protocol):
    """Lists of texts, each with a name, such as the test texts of labelled tasks."""

    @property
    def digests(self) -> Mapping[str, str]:
        """A digest of each list."""

    def search(self, config: CollectConfig) -> Search:
        """Return a search for the texts in documents that were cleaned with these settings."""


def join(
    config: CollectConfig,
    parts: Mapping[str, Manifest],
    folder: Path,
    staged: Staged,
    out: Path,
    heldout: Path | None,
    random_seed: int,
    settings: Mapping[str, Any],
    inputs: list[FileRecord],
    earlier: Sequence[Path] = (),
    without: GivenTexts | None = None,
) -> Manifest:
    """Write the collected sources to `out` and `heldout`, without repeats, and a page about them.

    Args:
        parts: the sources' manifests by name; their texts and records are in `folder`.
        staged: the files are written with it, and not yet put in place.
        settings, inputs: for the corpus's manifest.
        earlier: texts whose documents are dropped if they occur again.
        without: texts; documents that contain one are left out.

    Returns:
        the corpus's manifest, not yet written.

    Raises:
        NothingNewError: all documents repeat documents of the earlier texts.
        InputError: no documents remain, or one of the two parts is empty.
    """
    total = sum(part.statistics["documents_read"] for part in parts.values())
    exact, near = _repeats(config, folder, parts, total, earlier)
    statistics: dict[str, dict[str, Any]] = {}
    changed_texts, dropped_texts = dict[str, Any](), dict[str, Any]()  # by source and rule
    targets = [path for path in (out, heldout) if path]
    lengths = Counter[str]()
    search = without.search(config) if without else None
    tested = Counter[str]()
    with ExitStack() as stack:
        files = [stack.enter_context(staged.path(path).open("wb")) for path in targets]
        advance = stack.enter_context(
            progress("join", sum(part.outputs[0].bytes for part in parts.values()), "bytes")
        )
        copy = _Copy(files)
        first = 0
        for source in config.sources:
            counts, examples, place = Counter[str](), Examples(), 0
            sizes = Counter[str](parts[source.name].statistics.get("dropped_bytes"))
            found, number = _found(search, folder, parts[source.name]), 0
            with (folder / f"{source.name}.txt").open("rb") as text:
                for records in _records(folder, source.name):
                    count, keys = len(records), records["key"]
                    is_exact, is_near = unpacked(exact, first, count), unpacked(near, first, count)
                    outside = ~chosen(keys, source.share, _SHARE_SEED)
                    is_tested = np.zeros(count, dtype=np.bool_)
                    for name, bits in found.items():
                        of_task = unpacked(bits, number, count) & ~outside
                        tested[name] += int(of_task.sum())
                        is_tested |= of_task
                    dropped = is_exact | is_near | outside | is_tested
                    target = chosen(keys, config.heldout_share, random_seed).astype("u1") * HOLD_OUT
                    target = target if heldout else target * 0
                    target[dropped] = DROP
                    starts = place + np.cumsum(np.append(0, records["bytes"] + 1), dtype=np.int64)
                    copy.records(text, records, target)
                    first, number = first + count, number + count
                    counts += _tally(records, target)
                    for name, some in (
                        ("duplicates", is_exact & ~outside & ~is_tested),
                        ("near_duplicates", is_near & ~is_exact & ~outside & ~is_tested),
                        ("outside_share", outside),
                        *([("test_texts", is_tested)] if search else []),
                    ):
                        counts[name] += int(some.sum())
                        # Without line feeds, like the sizes of the cleaner.
                        sizes[name] += int(records["bytes"][some].sum() - records["lines"][some].sum())
                        if some.any():
                            examples.dropped(name, _beginnings(text, starts, some))
                    place = int(starts[-1])
                    lengths.update(histogram(records[target == KEEP]["lines"]))
                    advance(int(records["bytes"].sum()))
            own = dict(parts[source.name].statistics)
            changed_texts[source.name] = own.pop("changed_texts", {})
            dropped_texts[source.name] = own.pop("dropped_texts", {}) | examples.figures()["dropped_texts"]
            statistics[source.name] = {**own, **counts, "dropped_bytes": dict(sorted((+sizes).items()))}
        totals = Counter[str]()
        for values in statistics.values():
            totals.update({name: value for name, value in values.items() if isinstance(value, int)})
        if not totals["documents"] and not totals["heldout_documents"]:
            raise _nothing_left(totals, out, bool(earlier))
        if heldout and not totals["heldout_documents"] and not earlier:
            raise InputError(
                f"none of {counted(totals['documents'], 'document')} is in the held-out part",
                where="collect.heldout_share",
                do="Raise heldout_share, or collect more documents",
            )
        if not totals["documents"]:
            raise InputError(
                f"all {totals['heldout_documents']:,} documents are in the held-out part",
                where="collect.heldout_share",
                do="Lower heldout_share, or collect more documents",
            )
    figures: dict[str, Any] = {**totals, "document_lines": dict(lengths)}
    for name in ("changed", "dropped", "dropped_bytes", "line_words"):
        # Sorted, like those of a source that was collected in an earlier process.
        both = sum((Counter(values[name]) for values in statistics.values()), Counter[str]())
        figures[name] = dict(sorted(both.items()))
    figures["sources"] = statistics
    figures |= {"changed_texts": joined(changed_texts), "dropped_texts": joined(dropped_texts)}
    if search:
        figures |= search.figures(tested)
    figures |= {
        "lost": [asdict(loss) for loss in losses(figures)],
        "summary": summary(figures),
        "warnings": warnings(figures, settings),
    }
    page = report_of(out)
    staged.path(page).write_text(report(figures, settings), encoding="utf-8", newline="\n")
    with staged.path(out).open(encoding="utf-8") as file:
        sample = [line.rstrip("\n") for _, line in zip(range(4 * SAMPLE_LINES), file, strict=False)]
    return Manifest(
        kind="corpus",
        id=out.stem,
        config=settings,
        inputs=inputs,
        outputs=[staged.record(path) for path in [*targets, page]],
        statistics=figures,
        sample=[line[:500] for line in sample if line][:SAMPLE_LINES],
    )


def _nothing_left(totals: Counter[str], out: Path, extends: bool) -> InputError:
    repeated, tested = totals["duplicates"], totals["test_texts"]
    if extends and (repeated or tested) and not totals["outside_share"]:
        also = f", or contain test texts of labelled tasks ({tested:,})" if tested else ""
        return NothingNewError(
            f"all {repeated + tested:,} documents are already in the datasets that it extends{also}",
            where=out,
        )
    if tested:
        return InputError(
            f"no documents remain: {tested:,} contain test texts of labelled tasks",
            where=out,
            do="Set `document: line` if the sources have a text per line, or leave out the task",
        )
    return InputError("no documents remain", where=out, do="Check the sources and their shares")


def _found(search: Search | None, folder: Path, part: Manifest) -> Mapping[str, Bits]:
    """Search the documents of a collected source."""
    return search.find(folder / f"{part.id}.txt", part.statistics["documents_read"]) if search else {}


def _records(folder: Path, name: str) -> Iterator[Records]:
    with (folder / f"{name}.documents").open("rb") as file:
        while data := file.read(RECORDS * RECORD.itemsize):
            yield np.frombuffer(data, dtype=RECORD)


def _beginnings(text: BinaryIO, starts: Any, some: Any) -> list[str]:
    """Return the beginnings of the first few of some documents.

    Args:
        starts: int64 [documents + 1]: the place of each document in `text`, and the end of the last.
        some: bool [documents].
    """
    found = []
    for number in np.flatnonzero(some)[:CANDIDATES].tolist():
        start, size = int(starts[number]), int(starts[number + 1] - starts[number]) - 1
        # A character has four bytes at most; one more character shows that the text is longer.
        data = os.pread(text.fileno(), min(size, 4 * (MOST_CHARACTERS + 1)), start)
        found.append(data.decode(errors="ignore").rstrip("\n").replace("\n", LINE_END))
    return found


def _repeats(
    config: CollectConfig, folder: Path, parts: Mapping[str, Manifest], total: int, earlier: Sequence[Path]
) -> tuple[Any, Any]:
    """Return a bit per document for exact repeats, including those of earlier texts, and for near repeats."""
    none = np.zeros((total + 7) // 8, dtype=np.uint8)
    exact = near = none
    if config.deduplicate:
        before = _write_earlier(folder, earlier) if earlier else 0
        names = [EARLIER, *parts] if earlier else list(parts)
        keys = (records["key"] for name in names for records in _records(folder, name))
        exact = repeats(keys, before + total, folder)[before // 8 :]
    if config.near_duplicates:
        texts = (folder / f"{name}.txt" for name in parts)
        near = near_repeats(texts, total, exact, config.near_duplicates, folder)
    return exact, near


def _write_earlier(folder: Path, texts: Sequence[Path]) -> int:
    """Write the records of earlier texts' documents to `folder`.

    Returns:
        the number of records: a multiple of 8, so that the bits after them begin at a byte boundary. The last
        record is repeated to reach it.
    """
    path = folder / f"{EARLIER}.documents"
    with path.open("wb") as records, open(os.devnull, "wb") as nowhere:
        writer = DocumentWriter(nowhere, records)
        for text in texts:
            with text.open(encoding="utf-8", newline="\n") as file:
                while lines := file.readlines(CHUNK):
                    writer.write([line.rstrip("\n") for line in lines])
            writer.write([""])
        writer.close()
    missing = -writer.documents % 8
    if missing:
        with path.open("r+b") as records:
            records.seek(-RECORD.itemsize, os.SEEK_END)
            last = records.read()
            records.write(last * missing)
    return writer.documents + missing


def _tally(records: Records, target: Any) -> Counter[str]:
    counts = Counter[str]()
    for place, part in ((KEEP, ""), (HOLD_OUT, "heldout_")):
        some = records[target == place]
        counts[f"{part}documents"] = len(some)
        for name in ("lines", "words", "bytes"):
            counts[f"{part}{name}"] = int(some[name].sum(dtype="u8"))
    return counts


class _Copy:
    """Copies documents from a source's text to their targets, with a blank line between documents."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files
        self._started = [False] * len(files)

    def records(self, text: BinaryIO, records: Records, target: Any) -> None:
        """Copy the next documents of `text`; runs of documents with the same target are copied at once."""
        ends = np.append(np.flatnonzero(np.diff(target)) + 1, len(target))
        sizes = np.concatenate([[0], np.cumsum(records["bytes"] + 1, dtype=np.uint64)])
        places = chain([0], ends.tolist())
        for start, end in zip(places, ends.tolist(), strict=False):
            size = int(sizes[end] - sizes[start])
            where = int(target[start])
            if where == DROP:
                text.seek(size, 1)
                continue
            file = self._files[where]
            if self._started[where]:
                file.write(b"\n")
            self._started[where] = True
            # The last byte is the blank line before the next document; the end of the text has none.
            left = size - 1
            while left:
                data = text.read(min(left, CHUNK))
                file.write(data)
                left -= len(data)
            text.read(1)
