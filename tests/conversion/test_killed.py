"""A conversion killed at any instant leaves nothing that is taken for whole."""

from __future__ import annotations

import json
import random
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
# Everything is loaded and compiled before "ready", so that a kill falls into the conversion itself.
PROGRAM = """
import json, sys, time
from pathlib import Path
from qarib_tasks.config.run import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
shard, vocab, folder = map(Path, sys.argv[1:4])
out, config = folder / "shard.tfrecord", ConvertConfig(**json.loads(sys.argv[4]))
convert_shard(shard, vocab, folder / "warm" / "shard.tfrecord", config, threads=2)
print("ready", flush=True)
sys.stdin.readline()
started = time.perf_counter()
convert_shard(shard, vocab, out, config, threads=2)
print(time.perf_counter() - started, flush=True)
"""


def start(folder: Path, config: ConvertConfig) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, SHARD, VOCAB, folder, json.dumps(to_dict(config))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    return process


@pytest.mark.slow
def test_killed_at_any_instant(tmp_path: Path) -> None:
    whole = {}
    for number, config in enumerate(CONFIGS):
        convert_shard(SHARD, VOCAB, tmp_path / str(number) / "shard.tfrecord", config)
        whole[number] = (tmp_path / str(number) / "shard.tfrecord").read_bytes()
    inputs = [FileRecord.of(SHARD), FileRecord.of(VOCAB)]
    folder = tmp_path / "work"
    out, manifest = folder / "shard.tfrecord", folder / "shard.tfrecord.manifest.json"
    process = start(folder, CONFIGS[0])
    assert process.stdout is not None
    seconds = float(process.stdout.readline())
    process.wait()

    dice = random.Random(20)
    killed, found = 0, {"nothing": 0, "refused": 0, "whole": 0}
    # Each conversion finds what the one before it left: another setting's files, whole or not.
    while killed < KILLS:
        number = dice.randrange(len(CONFIGS))
        process = start(folder, CONFIGS[number])
        assert process.stdout is not None
        try:
            process.wait(timeout=dice.uniform(0, 1.2 * seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            seconds *= 1.1  # The machine may be slower than it was.
        else:
            seconds = float(process.stdout.read())
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
    convert_shard(SHARD, VOCAB, out, CONFIGS[1])
    assert out.read_bytes() == whole[1]
    assert {path.name for path in folder.iterdir()} == {out.name, manifest.name, "warm"}


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
