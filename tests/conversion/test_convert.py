"""Converting a shard: files, manifest, statistics, errors, and what a second call does."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard, shard_seed
from qarib_tasks.conversion.example_decoder import decode_example
from qarib_tasks.conversion.example_reader import Shape, read_rows
from qarib_tasks.conversion.verify import verify_file
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.tfrecord import read_records

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
TWEETS, DOCUMENTS, VOCAB = (FOLDER / name for name in ("tweets.txt", "documents.txt", "vocab.txt"))
FAST = ConvertConfig(dupe_factor=1)


def rows_of(path: Path, config: ConvertConfig) -> Any:
    return np.concatenate(
        list(read_rows(path, Shape(config.max_seq_length, config.max_predictions_per_seq)))
    ).tolist()


def test_manifest_says_what_was_made(tmp_path: Path) -> None:
    out = tmp_path / "documents.tfrecord"
    manifest = convert_shard(DOCUMENTS, VOCAB, out, ConvertConfig())
    assert Manifest.read(tmp_path / "documents.tfrecord.manifest.json") == manifest
    assert [record.name for record in manifest.inputs] == ["documents.txt", "vocab.txt"]
    assert manifest.faults(tmp_path) == []
    assert manifest.config["dupe_factor"] == 5
    statistics = manifest.statistics
    assert statistics["lines"] == DOCUMENTS.read_bytes().count(b"\n")
    assert statistics["examples"] == 6278
    rows = np.array(rows_of(out, ConvertConfig()))
    assert statistics["next_sentence_shares"]["random"] == pytest.approx(rows[:, -1].mean(), abs=1e-6)
    assert statistics["mean_length"] == pytest.approx(rows[:, 64:128].sum(axis=1).mean(), abs=1e-3)
    assert statistics["predictions"] == rows[:, 232:252].sum()
    shares = statistics["prediction_shares"]
    assert shares["masked"] == pytest.approx(0.8, abs=0.01)
    assert shares["kept"] == pytest.approx(0.1, abs=0.01)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert len(manifest.sample) == 10
    assert all(sample["text"].startswith("[CLS] ") and "→" in sample["text"] for sample in manifest.sample)
    assert verify_file(out) == 6278
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "documents.tfrecord",
        "documents.tfrecord.manifest.json",
    ]


def test_a_finished_shard_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "tweets.tfrecord"
    first = convert_shard(TWEETS, VOCAB, out, FAST)
    before = out.stat()
    caplog.set_level("INFO")
    assert convert_shard(TWEETS, VOCAB, out, FAST) == first
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "already converted" in caplog.text
    out.write_bytes(out.read_bytes()[:-1])
    again = convert_shard(TWEETS, VOCAB, out, FAST)
    assert again.outputs == first.outputs
    assert verify_file(out) == first.statistics["examples"]
    other = convert_shard(TWEETS, VOCAB, out, replace(FAST, random_seed=35))
    assert other.outputs != first.outputs


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    # More than one block to read and more than one piece to write.
    shard = tmp_path / "shard"
    shard.write_bytes(DOCUMENTS.read_bytes() * 12)
    made = []
    for threads in (1, 3):
        for compression in ("none", "gzip"):
            out = tmp_path / f"{threads}-{compression}.tfrecord"
            config = ConvertConfig(dupe_factor=2, compression=compression)
            convert_shard(shard, VOCAB, out, config, threads=threads)
            made.append(out.read_bytes())
    assert made[0] == made[2]
    assert made[1] == made[3]
    assert gzip.decompress(made[1]) == made[0]
    assert len(made[1]) < len(made[0]) / 2


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_tensorflow_reads_the_same(tmp_path: Path, compression: str) -> None:
    import tensorflow as tf

    out = tmp_path / "documents.tfrecord"
    config = ConvertConfig(dupe_factor=8, compression=compression)
    convert_shard(DOCUMENTS, VOCAB, out, config)
    files = tf.data.TFRecordDataset(str(out), compression_type="GZIP" if compression == "gzip" else "")
    theirs = [record.numpy() for record in files]
    assert theirs == [record for _, _, record in read_records(out)]
    assert len(theirs) > 8192
    for record in theirs[::500]:
        features = tf.train.Example.FromString(record).features.feature
        parsed = {
            name: list(feature.float_list.value if name == "masked_lm_weights" else feature.int64_list.value)
            for name, feature in features.items()
        }
        assert parsed == decode_example(record)
        assert {name: len(values) for name, values in parsed.items()} == {
            **dict.fromkeys(("input_ids", "input_mask", "segment_ids"), 64),
            **dict.fromkeys(("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"), 20),
            "next_sentence_labels": 1,
        }
    assert len(rows_of(out, config)) == len(theirs)


def test_seed_per_shard(tmp_path: Path) -> None:
    config = replace(FAST, random_seed_per_shard=True)
    assert shard_seed("shard_0000", FAST) == shard_seed("shard_0001", FAST) == 34
    assert shard_seed("shard_0000", config) != shard_seed("shard_0001", config)
    assert shard_seed("shard_0000", config) == 3703967721054497288
    assert shard_seed("shard_0000", config) != shard_seed("shard_0000", replace(config, random_seed=35))


def test_what_is_dropped_and_replaced_is_counted(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    shard.write_bytes("a b\u200b\n\u200b\nc d\xa0\n".encode() + b"\xff\xfe x\n\r\n \nno end")
    manifest = convert_shard(shard, VOCAB, tmp_path / "shard.tfrecord", FAST)
    statistics = manifest.statistics
    assert statistics["lines"] == 7
    assert statistics["dropped_lines"] == 1
    assert statistics["replaced_bytes"] == 2
    assert statistics["documents"] == 2
    assert statistics["words"] == 7


def broken_vocab(folder: Path, change: Any) -> Path:
    entries = VOCAB.read_text(encoding="utf-8").splitlines()
    path = folder / "broken.txt"
    path.write_text("\n".join(change(entries)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        (b"", "shard: the shard is empty"),
        (b"a\n\nb\n\n", "shard: no document in the shard has two tokens"),
        (b"\n \n\n", "shard: no document in the shard has two tokens"),
        (None, "shard: no such file"),
    ],
)
def test_unusable_shards(tmp_path: Path, shard: bytes | None, message: str) -> None:
    if shard is not None:
        (tmp_path / "shard").write_bytes(shard)
    with pytest.raises(InputError, match=message):
        convert_shard(tmp_path / "shard", VOCAB, tmp_path / "out" / "shard.tfrecord", FAST)
    assert not (tmp_path / "out" / "shard.tfrecord").exists()


def test_a_line_of_200_mb(tmp_path: Path) -> None:
    with (tmp_path / "shard").open("wb") as file:
        file.write(b"one\ntwo\n")
        file.truncate(200 << 20)
    with pytest.raises(InputError, match=r"shard:3: a line longer than 16 MB"):
        convert_shard(tmp_path / "shard", VOCAB, tmp_path / "shard.tfrecord", FAST)
    assert not (tmp_path / "shard.tfrecord").exists()
    failed = Manifest.read(tmp_path / "shard.tfrecord.manifest.json")
    assert failed.state == "failed"
    assert "shard:3" in str(failed.reason)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: [x for x in e if x != "[MASK]"], r"broken.txt:\d+: the special token \[MASK\] is missing"),
        (lambda e: [*e[1:], "[PAD]"], r"broken.txt:8000: \[PAD\] must be the first entry"),
    ],
)
def test_unusable_vocabularies(tmp_path: Path, change: Any, message: str) -> None:
    vocab = broken_vocab(tmp_path, change)
    out = tmp_path / "tweets.tfrecord"
    with pytest.raises(InputError, match=message):
        convert_shard(TWEETS, vocab, out, FAST)
    assert not out.exists()
    assert Manifest.read(manifest_of(out)).state == "failed"
    with pytest.raises(QaribError):
        verify_file(out)
    # What was converted well stays.
    made = convert_shard(TWEETS, VOCAB, out, FAST)
    with pytest.raises(InputError, match=message):
        convert_shard(TWEETS, vocab, out, FAST)
    assert Manifest.read(manifest_of(out)) == made
    assert verify_file(out)


def test_lengths_that_do_not_fit(tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_bytes(VOCAB.read_bytes())
    (tmp_path / "bert_config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    with pytest.raises(ConfigError, match=r"max_seq_length 200 is above the model's 128 positions"):
        convert_shard(TWEETS, vocab, tmp_path / "o.tfrecord", replace(FAST, max_seq_length=200))
    with pytest.raises(ConfigError, match="max_predictions_per_seq 20 is above max_seq_length 10"):
        convert_shard(TWEETS, vocab, tmp_path / "o.tfrecord", replace(FAST, max_seq_length=10))


def test_a_full_disk(tmp_path: Path) -> None:
    # The limit on a file's size is met in the middle of writing, as the end of a disk is.
    program = """
import resource, sys
from pathlib import Path
from qarib_tasks.config.run import ConvertConfig
from qarib_tasks.errors import StorageError
from qarib_tasks.conversion.convert import convert_shard
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    shard, vocab, folder = map(Path, sys.argv[1:])
    convert_shard(shard, vocab, folder / "o.tfrecord", ConvertConfig())
except StorageError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, TWEETS, VOCAB, tmp_path], capture_output=True, text=True
    )
    what = "o.tfrecord: cannot be written: File too large. Raise the limit on the size of files"
    assert what in result.stdout, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["o.tfrecord.manifest.json"]
    assert Manifest.read(manifest_of(tmp_path / "o.tfrecord")).state == "failed"


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file, not a folder"):
        convert_shard(TWEETS, VOCAB, tmp_path / "file" / "o.tfrecord", FAST)
