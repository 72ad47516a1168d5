"""The disk space that a run needs in its workspace, checked before the run begins."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.planning.options import DatasetSize

GB = 1e9
# By about this factor compression shrinks Arabic text.
COMPRESSED = {".gz": 4, ".bz2": 5, ".xz": 5, ".zst": 4, ".parquet": 3}
# As in QARiB's corpus: 600 million lines in 60 GB.
BYTES_PER_LINE = 100
# An example has about 4 bytes for each place (wordpiece, mask, segment) and 290 besides. Measured: 512,000 of
# QARiB's lines, 51 MB, become 650 MB at length 64 and dupe_factor 5.
BYTES_PER_PLACE, BYTES_PER_EXAMPLE = 4.0, 290.0
TIMES_THE_TEXT = 650 / 51 / 5 / (BYTES_PER_PLACE + BYTES_PER_EXAMPLE / 64)
GZIP_SMALLER = 3.5
# Measured on the same lines.
EXAMPLES_PER_LINE = 1_157_220 / 512_000  # at length 64 and dupe_factor 5


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a run needs below its workspace.

    Attributes:
        fetched: copies of remote sources.
        text: the corpus and its raw shards.
        tfrecords: the largest size of the local TFRecords at any time.
    """

    fetched: int
    text: int
    tfrecords: int

    @property
    def total(self) -> int:
        return self.fetched + self.text + self.tfrecords

    def __str__(self) -> str:
        return (
            f"{self.total / GB:,.2f} GB: text and raw shards {self.text / GB:,.2f}, "
            f"TFRecords {self.tfrecords / GB:,.2f}, fetched sources {self.fetched / GB:,.2f}"
        )


def estimate(config: RunConfig, files: Iterable[SourceFile], shards_at_once: int) -> DiskNeed:
    """Estimate what the steps before training write, within a factor of three for usual text.

    Args:
        shards_at_once: number of concurrent conversions. If TFRecords are removed after their upload, the
            workspace holds those of this many shards, and as many again that wait for their upload.
    """
    files = list(files)
    text, tfrecords = text_bytes(files), tfrecord_bytes(config, text_bytes(files))
    if not config.upload.keep_local:
        at_once = 2 * shards_at_once * config.split.shard_lines * BYTES_PER_LINE
        tfrecords = min(tfrecords, tfrecord_bytes(config, at_once))
    fetched = sum(file.bytes for file in files if file.path is None)
    return DiskNeed(fetched, 2 * text, int(tfrecords))


def tfrecord_bytes(config: RunConfig, text: float) -> float:
    """Estimate the size of the TFRecords of this many bytes of text."""
    convert = config.convert
    times = (
        TIMES_THE_TEXT * (BYTES_PER_PLACE + BYTES_PER_EXAMPLE / convert.max_seq_length) * convert.dupe_factor
    )
    return text * times / (GZIP_SMALLER if convert.compression == "gzip" else 1)


def text_bytes(files: Iterable[SourceFile]) -> int:
    """Return about how many bytes of text files hold, compressed or not."""
    return sum(file.bytes * COMPRESSED.get(Path(file.name).suffix, 1) for file in files)


def dataset_size(config: RunConfig, text: float) -> DatasetSize:
    """Estimate the shards and examples of this many bytes of text."""
    lines, convert = text / BYTES_PER_LINE, config.convert
    examples = lines * EXAMPLES_PER_LINE * convert.dupe_factor / 5 * 64 / convert.max_seq_length
    return DatasetSize(math.ceil(lines / config.split.shard_lines), math.ceil(examples))


def size_to_read(config: RunConfig, text: float) -> DatasetSize | None:
    """Estimate what there is to read, if the sources' text is all of it: what a run extends is read too."""
    return dataset_size(config, text) if text and not config.extends else None


def check_room(workspace: Path, need: DiskNeed, done: Path) -> str:
    """Compare the need with the free space.

    Args:
        done: folder with the files of an earlier run, which are not written again.

    Returns:
        the figures, for a log.

    Raises:
        ConfigError: the free space is too small.
    """
    existing = sum(path.stat().st_size for path in done.rglob("*") if path.is_file())
    place = next(folder for folder in (workspace, *workspace.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    figures = f"needs about {need}; {existing / GB:,.2f} GB exist already, {free / GB:,.2f} GB are free"
    if need.total - existing > free:
        raise ConfigError(
            f"the run {figures}",
            where=workspace,
            do="Make room, choose another workspace, turn keep_local off, or set compression to gzip",
        )
    return figures
