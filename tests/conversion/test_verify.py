"""`qarib verify` finds each kind of damage and names the record.

Covers qarib_tasks/conversion/compiled/parsing.py, qarib_tasks/conversion/compiled/records.py,
qarib_tasks/conversion/example_reader.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.example_reader import Shape, read_rows
from qarib_tasks.conversion.verify import rules, verify_file, verify_files
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.storage.tfrecord import frame, read_records
from tests.support.records.damage import damaged_bytes, damaged_json

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
CONFIG = ConvertConfig(dupe_factor=1)
SHAPE = Shape(CONFIG.max_seq_length, CONFIG.max_predictions_per_seq)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    out = tmp_path / "shard_0000.tfrecord"
    convert_shard(FOLDER / "documents.txt", FOLDER / "vocab.txt", out, CONFIG)
    return out


def starts(data: bytes) -> list[int]:
    """Where each record begins."""
    places = [0]
    while places[-1] < len(data):
        places.append(places[-1] + 16 + int.from_bytes(data[places[-1] : places[-1] + 8], "little"))
    return places


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


def test_whole_files_pass(shard: Path) -> None:
    examples = Manifest.read(manifest_of(shard)).statistics["examples"]
    assert list(verify_files([shard, shard])) == [(shard, examples)] * 2


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (3, "record 5: the checksum of the record length is wrong"),
        (9, "record 5: the checksum of the record length is wrong"),
        (100, "record 5: the checksum of the record is wrong"),
        (-2, "record 4: the checksum of the record is wrong"),
    ],
)
def test_a_flipped_bit(shard: Path, offset: int, message: str) -> None:
    data = shard.read_bytes()
    shard.write_bytes(flip(starts(data)[5] + offset)(data))
    with pytest.raises(CorruptError, match=message):
        verify_file(shard)
    with pytest.raises(CorruptError, match=message):
        list(read_records(shard))


@pytest.mark.parametrize("cut", [5, 200])
def test_a_cut_file(shard: Path, cut: int) -> None:
    data = shard.read_bytes()
    shard.write_bytes(data[: starts(data)[6] + cut])
    with pytest.raises(CorruptError, match="record 6: the file ends within the record"):
        verify_file(shard)
    with pytest.raises(CorruptError, match="record 6: the file ends within the record"):
        list(read_records(shard))


def test_lost_and_doubled_records(shard: Path) -> None:
    data = shard.read_bytes()
    places = starts(data)
    examples = len(places) - 1
    shard.write_bytes(data[: places[-2]])
    with pytest.raises(CorruptError, match=f"has {examples - 1} examples, its manifest says {examples}"):
        verify_file(shard)
    # Two records changed places: every record is whole, the file is not the one that was made.
    shard.write_bytes(data[places[1] : places[2]] + data[: places[1]] + data[places[2] :])
    with pytest.raises(CorruptError, match="does not match the checksums in its manifest"):
        verify_file(shard)


def test_damaged_gzip(tmp_path: Path) -> None:
    out = tmp_path / "s.tfrecord"
    convert_shard(FOLDER / "tweets.txt", FOLDER / "vocab.txt", out, replace(CONFIG, compression="gzip"))
    data = out.read_bytes()
    out.write_bytes(data[:-9])
    with pytest.raises(CorruptError, match=r"record \d+: "):
        verify_file(out)
    out.write_bytes(flip(len(data) // 2)(data))
    with pytest.raises(CorruptError, match=r"record \d+: "):
        verify_file(out)


def test_no_manifest_failed_manifest_no_file(shard: Path) -> None:
    path = manifest_of(shard)
    manifest = Manifest.read(path)
    replace(manifest, state="failed", reason="out of luck").write(path)
    with pytest.raises(CorruptError, match="out of luck"):
        verify_file(shard)
    path.unlink()
    with pytest.raises(InputError, match=r"no such manifest, which .*Copy it to the file, or convert"):
        verify_file(shard)
    with pytest.raises(InputError, match="no such file"):
        verify_file(shard.with_name("other.tfrecord"))


# What of a manifest is needed to verify a file, and so cannot be missing or of another kind.
NEEDED = (
    *("outputs: empty", "outputs.0.name: other text", "outputs.0.bytes: text", "state: other text"),
    *("config: number", "config.max_seq_length: text", "config.max_seq_length: huge"),
    *("config.max_predictions_per_seq: huge", "config.dupe_factor: negative", "statistics: empty"),
    *("statistics.special_tokens: number", "statistics.special_tokens.[CLS]: removed"),
    *(
        "statistics.special_tokens.[SEP]: text",
        "statistics.vocab_size: null",
        "statistics.examples: infinite",
    ),
)


def test_a_damaged_manifest(shard: Path, record_property: Callable[[str, object], None]) -> None:
    """A fault in one line that names the file or its manifest, and what to do; never a traceback."""
    path = manifest_of(shard)
    found = {}
    damages = damaged_json(path.read_bytes())
    record_property("tried", len(damages))
    for damage, data in damages.items():
        path.write_bytes(data)
        try:
            verify_file(shard)
        except CorruptError as error:
            found[damage] = str(error)
    for damage, error in found.items():
        assert error.startswith((f"{path}: ", f"{shard}: ")), damage
        assert error.endswith(". Convert the shard again"), damage
        assert "\n" not in error, damage
    assert found.keys() >= {*damaged_bytes(b""), *NEEDED}
    for damage in NEEDED:
        assert found[damage].startswith(f"{path}: "), damage


def rewritten(shard: Path, change: Callable[[bytes], bytes], number: int) -> None:
    """Change one record's data, and make framing and manifest agree with it."""
    records = [record for _, _, record in read_records(shard)]
    records[number] = change(records[number])
    shard.write_bytes(b"".join(map(frame, records)))
    path = manifest_of(shard)
    replace(Manifest.read(path), outputs=[FileRecord.of(shard)]).write(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.replace(b"segment_ids", b"segment_idz"), "has an unknown feature"),
        (lambda r: r.replace(b"segment_ids", b"input_mask\x00"), "has an unknown feature"),
        (lambda r: r[:-1], r"not a tf.train.Example"),
        (lambda r: b"", r"not a tf.train.Example"),
        (
            lambda r: r.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x00\x3f", 1),
            "masked_lm_weights has an invalid value",
        ),
        (lambda r: r[:-1] + b"\x07", "next_sentence_labels is neither 0 nor 1"),
    ],
)
def test_a_record_that_is_not_an_example(shard: Path, change: Any, message: str) -> None:
    rewritten(shard, change, 3)
    with pytest.raises(CorruptError, match=f"record 3: .*{message}" if message[0] != "r" else message):
        verify_file(shard)


def at(row: Any, feature: int) -> int:
    return int(SHAPE.offsets[feature])


# What is done to a good row (feature offsets: ids, mask, segments, positions, labels, weights, next).
FAULTS: list[tuple[str, Callable[[Any], None]]] = [
    ("input_ids has an id outside", lambda r: r.__setitem__(5, 8000)),
    ("masked_lm_ids has an id outside", lambda r: r.__setitem__(at(r, 4), 9999)),
    ("next_sentence_labels is neither", lambda r: r.__setitem__(at(r, 6), 2)),
    ("input_mask is not ones", lambda r: r.__setitem__(at(r, 1) + 3, 0)),
    ("fewer than five", lambda r: r.__setitem__(slice(at(r, 1) + 4, at(r, 2)), 0)),
    ("wordpieces after", lambda r: r.__setitem__(63, 7)),
    ("segment_ids is not", lambda r: r.__setitem__(at(r, 2), 1)),
    ("does not begin with", lambda r: r.__setitem__(0, 3)),
    ("does not end with", lambda r: r.__setitem__(int(r[64:128].sum()) - 1, 7)),
    ("masked_lm_weights is not", lambda r: r.__setitem__(at(r, 5), 0)),
    ("more masks", lambda r: r.__setitem__(slice(at(r, 5), at(r, 6)), 1)),
    ("fewer masks", lambda r: r.__setitem__(at(r, 5) + int(r[at(r, 5) : at(r, 6)].sum()) - 1, 0)),
    ("not padded with 0", lambda r: r.__setitem__(at(r, 4) + 19, 5)),
    ("not ascending", lambda r: r.__setitem__(at(r, 3) + 1, r[at(r, 3)])),
    ("outside the text", lambda r: r.__setitem__(at(r, 3), 0)),
]


def test_every_rule_can_be_broken(shard: Path) -> None:
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    good = next(iter(read_rows(shard, SHAPE)))
    short = int(np.argmin(good[:, 64:128].sum(axis=1)))
    assert not any(faulty.any() for _, faulty in rules(good, CONFIG, 8000, special))
    for message, spoil in FAULTS:
        rows = good.copy()
        spoil(rows[short])
        what, faulty = next(
            itertools.dropwhile(lambda rule: not rule[1].any(), rules(rows, CONFIG, 8000, special))
        )
        assert message in what
        assert faulty.nonzero()[0].tolist() == [short]
