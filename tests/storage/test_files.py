"""Whole or not at all: files, manifests, and the bucket."""

from __future__ import annotations

import base64
import os
import platform
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from qarib_tasks.errors import ChangedError, CorruptError, InputError, StorageError
from qarib_tasks.storage.bucket import Bucket, split_address
from qarib_tasks.storage.files import atomic_path, checksums, write_text
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_killed_writer_leaves_no_file_and_the_next_one_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import os, signal, pathlib; from qarib_tasks.storage.files import atomic_path\n"
        f"with atomic_path(pathlib.Path({str(path)!r})) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write_text(path, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    living = tmp_path / f".file.{platform.node()}.{os.getppid()}.tmp"
    elsewhere = tmp_path / ".file.another-machine.1.tmp"
    for temporary in (living, elsewhere):
        temporary.write_text("being written")
    write_text(path, "whole")
    assert living.exists()
    assert elsewhere.exists()
    os.utime(elsewhere, (0, 0))
    write_text(path, "whole")
    assert not elsewhere.exists()


def test_checksums_are_what_cloud_storage_gives(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello world")
    result = checksums(tmp_path / "file")
    assert result.bytes == 11
    assert result.sha256 == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert base64.b64decode(result.crc32c) == google_crc32c.value(b"hello world").to_bytes(4, "big")


def test_addresses() -> None:
    assert split_address("gs://bucket/a/b") == ("bucket", "a/b")
    assert split_address("gs://bucket") == ("bucket", "")
    with pytest.raises(StorageError, match="not a gs:// address"):
        split_address("/local/path")


def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "out.txt").write_text("out")
    return Manifest(
        kind="corpus",
        id="x",
        config={"a": (1, 2), "b": None},
        inputs=[FileRecord("in", 1, "s", "c")],
        outputs=[FileRecord.of(tmp_path / "out.txt")],
        statistics={"lines": 3},
        sample=["نص"],
    )


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.write(tmp_path / "m.json")
    read = Manifest.read(tmp_path / "m.json")
    assert (read.id, read.statistics, read.sample, read.made_at) == ("x", {"lines": 3}, ["نص"], made.made_at)
    assert read.output("out.txt").bytes == 3
    with pytest.raises(CorruptError, match="names no output"):
        read.output("other")


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"kind": "corpus", "id": "x", "format": 2}', '{"kind": "corpus", "id": "x", "odd": 1}'],
)
def test_what_is_not_a_manifest_of_this_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(CorruptError, match="not a manifest"):
        Manifest.read(tmp_path / "m.json")
    assert finished(tmp_path / "m.json", config={}, inputs=[]) is None


def test_finished_means_same_inputs_same_settings_whole_outputs(tmp_path: Path) -> None:
    made, path = manifest(tmp_path), tmp_path / "m.json"
    assert finished(path, config=made.config, inputs=made.inputs) is None
    with pytest.raises(InputError, match="no such manifest"):
        Manifest.read(path)
    made.write(path)
    assert finished(path, config=made.config, inputs=made.inputs)
    assert finished(path, config={**made.config, "a": [1, 3]}, inputs=made.inputs) is None
    assert finished(path, config=made.config, inputs=[FileRecord("in", 1, "t", "c")]) is None
    (tmp_path / "out.txt").write_text("0ut")
    assert finished(path, config=made.config, inputs=made.inputs) is None
    (tmp_path / "out.txt").unlink()
    assert finished(path, config=made.config, inputs=made.inputs) is None


def test_a_failed_step_is_not_a_finished_one(tmp_path: Path) -> None:
    Manifest(kind="shard", id="s", state="failed", reason="why").write(tmp_path / "m.json")
    assert finished(tmp_path / "m.json", config={}, inputs=[]) is None
    assert Manifest.read(tmp_path / "m.json").reason == "why"


def test_a_small_object_is_written_over_the_generation_that_was_read_only(bucket_name: str) -> None:
    bucket = Bucket(f"gs://{bucket_name}/prefix/")
    assert bucket.read_version("memory.json") == (None, 0)
    first = bucket.write_text("memory.json", "one", over=0)
    assert bucket.read_version("memory.json") == ("one", first)
    second = bucket.write_text("memory.json", "two", over=first)
    for stale in (0, first):
        with pytest.raises(ChangedError, match=r"memory\.json: has been written by somebody else"):
            bucket.write_text("memory.json", "three", over=stale)
    assert bucket.read_version("memory.json") == ("two", second)
    bucket.write_text("memory.json", "four")
    assert bucket.read_text("memory.json") == "four"
