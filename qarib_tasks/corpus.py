"""Step 0: source files to `data.txt`, a sentence a line and a blank line between documents."""

from __future__ import annotations

import glob
import gzip
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from qarib_tasks.config import CollectConfig, SourceConfig
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.layout import manifest_of
from qarib_tasks.manifest import FileRecord, Manifest, finished
from qarib_tasks.progress import progress
from qarib_tasks.storage import atomic_path

log = logging.getLogger(__name__)
LONGEST_LINE = 1 << 20  # bytes; a longer one is no sentence, and would be held in memory by every step
HASHED_BYTES = 1 << 20  # of a document, to choose the held-out ones: a document may be larger than memory
SAMPLE_LINES = 10


def source_files(config: CollectConfig) -> dict[SourceConfig, list[Path]]:
    """The files that each source names, sorted.

    Raises:
        ConfigError: there is no source. InputError: a source names no file.
    """
    if not config.sources:
        raise ConfigError("no source of text is given", where="collect.sources", do="Name at least one file")
    files = {}
    for source in config.sources:
        paths = sorted(Path(path) for path in glob.glob(source.path, recursive=True) if Path(path).is_file())
        if not paths:
            raise InputError(
                "no such file", where=source.path, do=f"Correct the path of source {source.name!r}"
            )
        files[source] = paths
    return files


def collect(config: CollectConfig, out: Path, *, heldout: Path | None, random_seed: int) -> Manifest:
    """Copy every document of every source to `out`, or to `heldout` where its hash says so.

    Lines are stripped; runs of blank lines become one; carriage returns and byte order marks go; invalid
    UTF-8 is replaced by U+FFFD and counted. Memory does not grow with the corpus.

    Args:
        heldout: file for the held-out part; None puts every document into `out`.
        random_seed: another seed holds other documents out; the same one holds the same documents out
            however the corpus grows.

    Returns:
        the manifest, written last, beside `out`.

    Raises:
        InputError: a file is missing, not text or has a line of over 1 MiB (with file and line), nothing
            was found to collect, or no document fell to the held-out part.
    """
    files = source_files(config)
    inputs = [FileRecord.of(path, f"{s.name}/{path.name}") for s, paths in files.items() for path in paths]
    settings = {
        "heldout_share": config.heldout_share if heldout else 0.0,
        "random_seed": random_seed,
        "sources": [{"name": s.name, "document": s.document} for s in config.sources],
    }
    if done := finished(manifest_of(out), config=settings, inputs=inputs):
        log.info("%s: already collected", out)
        return done
    manifest_of(out).unlink(missing_ok=True)
    statistics: dict[str, Counter[str]] = {}
    with ExitStack() as stack:
        targets = [path for path in (out, heldout) if path]
        writers = [stack.enter_context(stack.enter_context(atomic_path(p)).open("wb")) for p in targets]
        writer = _DocumentWriter(writers, random_seed, config.heldout_share)
        advance = stack.enter_context(progress("collect", sum(r.bytes for r in inputs), "bytes"))
        for source, paths in files.items():
            writer.counts = statistics[source.name] = Counter(files=len(paths))
            for path in paths:
                for line in _lines(path, writer.counts):
                    if line:
                        writer.line(line)
                    if source.document == "line" or (not line and source.document == "blank_line"):
                        writer.end_document()
                writer.end_document()
                advance(path.stat().st_size)
        total = sum(statistics.values(), Counter[str]())
        if not total["lines"]:
            raise InputError(
                "no text was found", where=", ".join(s.path for s in files), do="Check the sources"
            )
        if heldout and not total["heldout_lines"]:
            raise InputError(
                f"none of {total['documents']:,} documents fell to the held-out part",
                where="collect.heldout_share",
                do="Raise it, or collect more documents",
            )
    manifest = Manifest(
        kind="corpus",
        id=out.stem,
        config=settings,
        inputs=inputs,
        outputs=[FileRecord.of(path, path.relative_to(out.parent).as_posix()) for path in targets],
        statistics={**total, "sources": {name: dict(counts) for name, counts in statistics.items()}},
        sample=writer.sample,
    )
    manifest.write(manifest_of(out))
    return manifest


class _DocumentWriter:
    """Writes documents, a blank line between two, each whole to the one or the other file.

    Which one is known once the document's first HASHED_BYTES are: so much is held in memory, no more.
    """

    def __init__(self, files: Sequence[BinaryIO], random_seed: int, heldout_share: float) -> None:
        self._files = files
        self._started = [False] * len(files)
        self._key = random_seed.to_bytes(16, "little")
        self._limit = int(heldout_share * 2**64) if len(files) > 1 else 0
        self._waiting: list[bytes] = []
        self._size = 0
        self._target: int | None = None
        self.counts: Counter[str] = Counter()
        self.sample: list[str] = []

    def line(self, line: bytes) -> None:
        """One line that is not blank, of the present document."""
        self._size += len(line) + 1
        self._waiting.append(line)
        if self._target is not None or self._size >= HASHED_BYTES:
            self._flush()

    def end_document(self) -> None:
        if self._size:
            self._flush()
        self._size, self._target = 0, None

    def _flush(self) -> None:
        if self._target is None:
            self._target = self._choose()
            if self._started[self._target]:
                self._files[self._target].write(b"\n")
            self._started[self._target] = True
            self.counts["heldout_documents" if self._target else "documents"] += 1
            if not self._target and len(self.sample) < SAMPLE_LINES:
                self.sample.append(self._waiting[0].decode())
        part = "heldout_" if self._target else ""
        for line in self._waiting:
            self._files[self._target].write(line + b"\n")
            self.counts.update(
                {f"{part}lines": 1, f"{part}words": len(line.split()), f"{part}bytes": len(line) + 1}
            )
        self._waiting.clear()

    def _choose(self) -> int:
        digest = hashlib.blake2b(b"\n".join(self._waiting), digest_size=8, key=self._key)
        return int(int.from_bytes(digest.digest(), "big") < self._limit)


def _lines(path: Path, counts: Counter[str]) -> Iterator[bytes]:
    """The stripped lines of a text file, plain or gzipped, as valid UTF-8."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE:
                    raise InputError(
                        f"the line is longer than {LONGEST_LINE:,} bytes",
                        where=f"{path}:{number}",
                        do="Split it into sentences",
                    )
                text = raw.decode("utf-8", errors="replace")
                if "\ufffd" in text:
                    counts["replaced_characters"] += text.count("\ufffd") - raw.count(b"\xef\xbf\xbd")
                yield text.replace("\r", "").replace("\ufeff", "").replace("\0", "").strip().encode()
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=f"{path}:{number + 1}") from None
