"""A source that changes after it was listed, or while it is read, is an error that names the file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from qarib_tasks import pipeline
from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.collect import collect, collect_source, list_sources
from qarib_tasks.corpus.reading import source as one_source
from qarib_tasks.dataset.ledger import ConsumedFile, by_source
from qarib_tasks.errors import InputError
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.collecting import SENTENCES, as_text, config, sentences, zipped

LINES = sentences(4000)


def packed(kind: str) -> bytes:
    if kind == "gz":
        return gzip.compress(as_text(LINES), mtime=0)
    if kind == "zip":
        return zipped({f"{number}.txt": as_text(LINES[number::10]) for number in range(10)})
    if kind == "text":
        return as_text(LINES)
    out, table = pa.BufferOutputStream(), pa.table({"text": LINES})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, out, row_group_size=500)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    return out.getvalue().to_pybytes()


@pytest.fixture(params=["text", "gz", "zip", "parquet", "arrow"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"a.{request.param}"
    path.write_bytes(packed(request.param))
    return path


def while_reading(monkeypatch: pytest.MonkeyPatch, act: object) -> None:
    """Call `act` when the first lines of a file were read."""
    real = one_source.read

    def watched(*arguments: object) -> object:
        for number, lines in enumerate(real(*arguments)):  # type: ignore[arg-type]
            yield lines
            if not number:
                act()  # type: ignore[operator]

    monkeypatch.setattr(one_source, "read", watched)


def run(settings: CollectConfig, tmp_path: Path) -> Manifest:
    return collect(settings, tmp_path / "out" / "data.txt", heldout=None, random_seed=34)


def test_the_checksum_is_that_of_the_bytes_that_were_read(path: Path, tmp_path: Path) -> None:
    manifest = run(config(path, cleaning=[]), tmp_path)
    assert [record.checksums for record in manifest.inputs] == [checksums(path)]
    # Also of what a limit leaves unread.
    limited = run(config(path, source={"limit": 3, "document": "line"}), tmp_path / "other")
    assert [record.checksums for record in limited.inputs] == [checksums(path)]


@pytest.mark.parametrize("how", ["append", "truncate", "replace bytes"])
def test_a_file_that_changes_while_it_is_read(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def act() -> None:
        if how == "append":
            with path.open("ab") as file:
                file.write("سطر جديد\n".encode())
        elif how == "truncate":
            os.truncate(path, path.stat().st_size // 2)
        else:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 3)
                file.write(b"abcdef")

    while_reading(monkeypatch, act)
    with pytest.raises(InputError, match=rf"{path.name}: the file changed while it was read"):
        run(config(path), tmp_path)
    assert not (tmp_path / "out" / "data.txt").exists()
    assert not manifest_of(tmp_path / "out" / "data.txt").exists()


def test_a_file_that_changed_after_it_was_listed(tmp_path: Path) -> None:
    path, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    path.write_bytes(as_text(SENTENCES))
    settings = config(path)
    listed = {source.name: files for source, files in list_sources(settings).items()}
    path.write_bytes(as_text(SENTENCES[::-1]))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=r"a\.txt: the file changed after it was listed"):
        collect(settings, out, heldout=None, random_seed=34, files=listed)


def test_a_file_that_changed_after_the_run_was_prepared(tmp_path: Path) -> None:
    path, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    path.write_bytes(as_text(SENTENCES))
    settings = config(path)
    (source,) = settings.sources
    plan = [ConsumedFile.of(source.name, file) for file in list_sources(settings)[source]]
    before = path.stat()
    path.write_bytes(as_text(SENTENCES[::-1]))
    # The same size and time: only the checksum tells.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for step in (
        lambda: collect_source(settings, source.name, out, files=by_source(plan)),
        lambda: collect(settings, out, heldout=None, random_seed=34, files=by_source(plan)),
    ):
        with pytest.raises(InputError, match=r"a\.txt: the file changed after the run was prepared"):
            step()
    # The same content with another time is what was planned.
    path.write_bytes(as_text(SENTENCES))
    os.utime(path, ns=(5, 5))
    assert collect(settings, out, heldout=None, random_seed=34, files=by_source(plan)).state == "complete"


def test_what_was_planned_and_read_is_not_read_again(tmp_path: Path) -> None:
    """Each source has a task; the task that joins them needs only what they wrote."""
    path, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    path.write_bytes(as_text(SENTENCES))
    settings = config(path)
    (source,) = settings.sources
    plan = [ConsumedFile.of(source.name, file) for file in list_sources(settings)[source]]
    expected = checksums(path)
    collect_source(settings, source.name, out, files=by_source(plan))
    path.unlink()
    manifest = collect(settings, out, heldout=None, random_seed=34, files=by_source(plan))
    assert [record.checksums for record in manifest.inputs] == [expected]


def test_a_vocabulary_that_changed_after_the_run_was_prepared(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(as_text(SENTENCES))
    vocab = tmp_path / "vocab.txt"
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(295))]
    vocab.write_text("\n".join(entries) + "\n", encoding="utf-8")
    values = {
        "workspace": str(tmp_path / "workspace"),
        "collect": {"sources": [{"name": "s", "path": str(tmp_path / "a.txt")}]},
        "vocab": {"vocab_file": str(vocab), "vocab_size": 300},
    }
    made = prepare(from_dict(RunConfig, values))
    vocab.write_text("\n".join(entries[:-1]) + "\nب\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"vocab\.txt: the vocabulary changed after the run was prepared"):
        pipeline.build_vocab(made)
