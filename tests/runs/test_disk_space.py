"""The room that a run will need, against what runs take.

Covers qarib_tasks/config/upload.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.corpus.collect import list_sources
from qarib_tasks.corpus.sources import SourceFile
from qarib_tasks.errors import ConfigError
from qarib_tasks.runs.disk_space import DiskNeed, check_room, estimate
from qarib_tasks.runs.prepare import prepare


@pytest.mark.parametrize(("length", "compression"), [(64, "none"), (512, "none"), (128, "gzip")])
def test_within_a_factor_of_three_of_what_is_written(tmp_path: Path, length: int, compression: str) -> None:
    values = {
        "preset": "demo",
        "workspace": str(tmp_path),
        "collect": {"sources": [{"name": "text", "path": str(SAMPLE / "muwatta.txt")}]},
        "vocab": {"vocab_size": 800},
        "convert": {"dupe_factor": 2, "max_seq_length": length, "compression": compression},
        "model": {"max_position_embeddings": 512},
    }
    run = prepare(resolve(values))
    files = [file for some in list_sources(run.config.collect).values() for file in some]
    need = estimate(run.config, files, 2)
    pipeline.collect(run)
    pipeline.build_vocab(run)
    for name in pipeline.split(run):
        pipeline.convert(run, name)
    records = size(run.dataset.root.rglob("*.tfrecord"))
    assert records / 3 < need.tfrecords < records * 3
    text = size(
        [run.dataset.data, run.dataset.heldout_data, *run.dataset.root.rglob("shard_[0-9][0-9][0-9][0-9]")]
    )
    assert text / 2 < need.text < text * 2
    assert need.fetched == 0


def size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_qaribs_corpus() -> None:
    """770 GB of TFRecords of 60 GB of text, of which few are here at a time where they are removed."""
    config = RunConfig(workspace="-")
    files = [SourceFile("/data/tweets.txt", 60 * 10**9)]
    assert estimate(config, files, 8).tfrecords == pytest.approx(770e9, rel=0.05)
    removed = replace(config, upload=UploadConfig(keep_local=False))
    assert estimate(removed, files, 8).tfrecords == pytest.approx(2 * 8 * 0.65e9, rel=0.05)
    small = replace(removed, split=SplitConfig(shard_lines=1000), convert=ConvertConfig(dupe_factor=1))
    assert estimate(small, files, 8).tfrecords < 5e6


def test_compressed_sources_far_away() -> None:
    need = estimate(RunConfig(workspace="-"), [SourceFile("gs://bucket/tweets.txt.gz", 1000)], 8)
    assert (need.fetched, need.text) == (1000, 8000)


def test_too_little_room_is_an_error_with_the_figures(tmp_path: Path) -> None:
    workspace = tmp_path / "not" / "made"
    done = workspace / "datasets"
    figures = check_room(workspace, DiskNeed(0, 1000, 10**9), done)
    assert figures.startswith("needs about 1.00 GB: text and raw shards 0.00, TFRecords 1.00, fetched")
    huge = 10**18
    with pytest.raises(
        ConfigError, match=r"made: the run needs about 1,000,000,000\.00 GB.* GB are free\. Make"
    ):
        check_room(workspace, DiskNeed(0, huge, 0), done)
    # What an earlier run has made is not needed again; this file has a size and takes no room.
    done.mkdir(parents=True)
    with (done / "data.txt").open("wb") as file:
        file.truncate(10**13)
    assert "10,000.00 GB exist already" in check_room(workspace, DiskNeed(0, 10**13, 0), done)
