"""A conversion killed at any instant leaves nothing that is taken for whole."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.loading import to_dict
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.verify import verify_file
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.manifest import FileRecord, finished

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
SHARD, VOCAB = FOLDER / "documents.txt", FOLDER / "vocab.txt"
SETTINGS: list[dict[str, Any]] = [
    {"dupe_factor": 1}, {"dupe_factor": 4}, {"compression": "gzip"}, {"format": "packed"},
]  # fmt: skip
CONFIGS = [ConvertConfig(**settings) for settings in SETTINGS]
KILLS = 60
# Everything is loaded and compiled before "ready", so that a kill falls into the conversion itself: each is a
# fork of a process that has made one of each kind, and whose threads have ended.
PROGRAM = """
import json, os, select, signal, sys, threading, time
from pathlib import Path
from qarib_tasks.config.run import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
shard, vocab, folder = map(Path, sys.argv[1:4])
out, configs = folder / "shard.tfrecord", [ConvertConfig(**one) for one in json.loads(sys.argv[4])]
for config in configs:
    convert_shard(shard, vocab, folder / "warm" / "shard.tfrecord", config, threads=2)
assert threading.active_count() == 1
print("ready", flush=True)
for line in sys.stdin:
    number, limit = json.loads(line)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        started = time.perf_counter()
        convert_shard(shard, vocab, out, configs[number], threads=2)
        os.write(writer, str(time.perf_counter() - started).encode())
        os._exit(0)
    os.close(writer)
    if not select.select([reader], [], [], limit)[0]:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reader, "rb") as pipe:
        print(json.dumps([status, pipe.read().decode()]), flush=True)
"""


class Conversions:
    """A process whose forks convert, one after the other."""

    def __init__(self, folder: Path) -> None:
        settings = json.dumps([to_dict(config) for config in CONFIGS])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, SHARD, VOCAB, folder, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def convert(self, number: int, limit: float | None = None) -> float | None:
        """Convert with one of the settings: the seconds that it took, or None if the limit killed it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([number, limit]), file=self.process.stdin, flush=True)
        status, seconds = json.loads(self.process.stdout.readline())
        assert status == 0 or (status == -signal.SIGKILL and limit is not None)
        return float(seconds) if status == 0 else None

    def __enter__(self) -> Conversions:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


@pytest.mark.slow
def test_killed_at_any_instant(tmp_path: Path) -> None:
    whole = {}
    for number, config in enumerate(CONFIGS):
        convert_shard(SHARD, VOCAB, tmp_path / str(number) / "shard.tfrecord", config)
        whole[number] = (tmp_path / str(number) / "shard.tfrecord").read_bytes()
    folder = tmp_path / "work"
    out, manifest = folder / "shard.tfrecord", folder / "shard.tfrecord.manifest.json"
    with Conversions(folder) as conversions:
        kill_often(conversions, folder, whole)
    convert_shard(SHARD, VOCAB, out, CONFIGS[1])
    assert out.read_bytes() == whole[1]
    assert {path.name for path in folder.iterdir()} == {out.name, manifest.name, "warm"}


def kill_often(conversions: Conversions, folder: Path, whole: dict[int, bytes]) -> None:
    out, manifest = folder / "shard.tfrecord", folder / "shard.tfrecord.manifest.json"
    inputs = [FileRecord.of(SHARD), FileRecord.of(VOCAB)]
    seconds = conversions.convert(0)
    assert seconds is not None
    dice = random.Random(20)
    killed, found = 0, {"nothing": 0, "refused": 0, "whole": 0}
    # Each conversion finds what the one before it left: another setting's files, whole or not.
    while killed < KILLS:
        number = dice.randrange(len(CONFIGS))
        if (took := conversions.convert(number, dice.uniform(0, 1.2 * seconds))) is None:
            killed += 1
            seconds *= 1.1  # The machine may be slower than it was.
        else:
            seconds = took
        try:
            verify_file(out)
        except InputError:
            found["nothing"] += 1
        except CorruptError:
            found["refused"] += 1
        else:
            found["whole"] += 1
            assert out.read_bytes() in whole.values()
        for other, config in enumerate(CONFIGS):
            if finished(manifest, config=named_settings(config), inputs=inputs):
                assert out.read_bytes() == whole[other]
        if dice.random() < 0.3:
            out.unlink(missing_ok=True)
            manifest.unlink(missing_ok=True)
    assert found["nothing"]
    assert found["whole"]


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "shard.tfrecord"
    process = subprocess.Popen(
        [sys.executable, "-c", "import platform; print(platform.node())"], stdout=subprocess.PIPE, text=True
    )
    host = process.communicate()[0].strip()
    leftover = tmp_path / f".shard.tfrecord.qarib-{host}-{process.pid}.tmp"
    leftover.write_bytes(b"half a record")
    convert_shard(SHARD, VOCAB, out, replace(CONFIGS[0], dupe_factor=1))
    assert not leftover.exists()
    assert verify_file(out)
