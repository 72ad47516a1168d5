"""The order of the examples, and going on from any position in it.

Covers qarib_tasks/train/data/shards.py.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.train.data.batches import ExampleStream, Parser, Position, Prefetched, heldout_examples
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.model.batch import padded
from tests.support.training_examples import USED, example, make_job, write_shard


def stream(
    folder: Path, sizes: tuple[int, ...], *, window: int, seed: int = 7, interleave: int = 1
) -> ExampleStream:
    """Shards of records that are numbered; every second file is compressed."""
    number = 0
    for index, size in enumerate(sizes):
        records = [str(number + i).encode() for i in range(size)]
        write_shard(folder / f"shard_{index:04}.tfrecord", records, compressed=index % 2 == 1)
        number += size
    shards = Shards(str(folder), folder / "cache")
    return ExampleStream(shards, window=window, seed=seed, interleave=interleave)


def corrupted(folder: Path, shard: int, record: int, *, size: int) -> None:
    """Change a byte in the payload of a record of an uncompressed shard of records of `size` bytes."""
    path = folder / f"shard_{shard:04}.tfrecord"
    data = bytearray(path.read_bytes())
    data[record * (size + 16) + 12] ^= 1
    path.write_bytes(data)


def numbers(source: ExampleStream, position: Position, size: int, batches: int) -> list[list[int]]:
    return [[int(r) for r in batch] for batch, _ in islice(source.batches(position, size), batches)]


@pytest.mark.parametrize("interleave", [1, 2, 3, 9])
@pytest.mark.parametrize("window", [1, 4, 10, 23, 100])
def test_an_epoch_gives_every_example_once(tmp_path: Path, window: int, interleave: int) -> None:
    source = stream(tmp_path, (10, 0, 7, 6), window=window, interleave=interleave)
    (first,), (second,) = numbers(source, Position(), 23, 1), numbers(source, Position(epoch=1), 23, 1)
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second


@pytest.mark.parametrize("interleave", [1, 2, 3, 9])
@pytest.mark.parametrize("window", [1, 4, 10, 23, 100])
def test_going_on_from_any_position_gives_what_would_have_come(
    tmp_path: Path, window: int, interleave: int
) -> None:
    source = stream(tmp_path, (10, 0, 7, 6), window=window, interleave=interleave)
    whole = numbers(source, Position(), 5, 20)
    positions = [position for _, position in islice(source.batches(Position(), 5), 15)]
    for done, position in enumerate(positions, start=1):
        again = Position.from_dict(json.loads(json.dumps(asdict(position))))
        assert again == position
        assert numbers(source, again, 5, 20 - done) == whole[done:]


def test_shards_are_read_in_turn(tmp_path: Path) -> None:
    source = stream(tmp_path, (4, 4, 4, 2), window=1, interleave=2)
    order = [number for (number,) in numbers(source, Position(), 1, 14)]
    of_shard = [min(number // 4, 3) for number in order]
    first, second = of_shard[:2]
    assert of_shard[:8] == [first, second] * 4
    assert {*of_shard[8:12]} == {*range(4)} - {first, second}
    for shard in range(4):
        read = [number for number in order if min(number // 4, 3) == shard]
        assert read == sorted(read)  # in the order of the file
    ((_, after),) = islice(source.batches(Position(), 3), 1)
    expected = sorted(f"shard_000{shard}.tfrecord" for shard in (first, second))
    assert source.shards_of(Position(), after) == expected


def test_position_reads_at_most_the_window_again(tmp_path: Path) -> None:
    source = stream(tmp_path, (50, 50), window=8)
    for _, position in islice(source.batches(Position(), 5), 40):
        assert position.used < 8


def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    orders = [
        numbers(stream(tmp_path, (20, 20), window=10, seed=seed), Position(), 40, 1) for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_windows_are_shuffled(tmp_path: Path) -> None:
    (order,) = numbers(stream(tmp_path, (30,), window=30), Position(), 30, 1)
    assert order != sorted(order)


def test_shards_without_examples_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no example"):
        numbers(stream(tmp_path, (0, 0), window=3), Position(), 1, 1)
    with pytest.raises(InputError, match=r"no \*.tfrecord"):
        Shards(str(tmp_path / "nothing"), tmp_path)


def test_corrupt_records_are_passed_over_up_to_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream(tmp_path, (10, 5, 10), window=1)  # one digit each in the first, compressed the second
    corrupted(tmp_path, 0, 3, size=1)
    corrupted(tmp_path, 2, 9, size=2)
    shards = Shards(str(tmp_path), tmp_path / "cache")
    source = ExampleStream(shards, window=4, seed=7, max_corrupt=2)
    ((epoch, after),) = islice(source.batches(Position(), 23), 1)
    assert sorted(map(int, epoch)) == [n for n in range(25) if n not in {3, 24}]
    assert after == Position(epoch=1, corrupt=2)
    assert "shard_0000.tfrecord: record 3: the checksum of the record is wrong; skipped" in caplog.text
    with pytest.raises(CorruptError, match="record"):  # the third, in the next epoch
        list(islice(source.batches(after, 23), 1))
    with pytest.raises(CorruptError, match="record"):
        numbers(ExampleStream(shards, window=4, seed=7, max_corrupt=1), Position(), 23, 1)


@pytest.mark.parametrize("interleave", [1, 2])
@pytest.mark.parametrize("window", [1, 4, 10, 100])
def test_going_on_where_records_were_passed_over(tmp_path: Path, window: int, interleave: int) -> None:
    stream(tmp_path, (10, 5, 10), window=1)
    for shard, record, size in ((0, 0, 1), (0, 9, 1), (2, 9, 2)):
        corrupted(tmp_path, shard, record, size=size)
    shards = Shards(str(tmp_path), tmp_path / "cache")

    def read(position: Position, count: int) -> list[tuple[list[bytes], Position]]:
        source = ExampleStream(shards, window=window, seed=7, max_corrupt=100, interleave=interleave)
        return list(islice(source.batches(position, 5), count))

    whole = read(Position(), 20)
    for done in range(1, 15):
        assert read(whole[done - 1][1], 20 - done) == whole[done:]
    assert max(position.corrupt for _, position in whole) >= 9


def test_a_shard_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    stream(tmp_path, (10, 5), window=1)
    for number in (0, 1):
        path = tmp_path / f"shard_{number:04}.tfrecord"
        path.write_bytes(path.read_bytes()[:-12])
    source = ExampleStream(Shards(str(tmp_path), tmp_path), window=100, seed=7, max_corrupt=2)
    ((records, after),) = islice(source.batches(Position(), 9), 1)
    # Of the compressed shard nothing can be had: it ends within the first piece that is read.
    assert {int(record) for record in records} == set(range(9))
    assert after == Position(epoch=1, corrupt=2)


@pytest.mark.parametrize("interleave", [1, 2])
@pytest.mark.parametrize("hosts", [2, 3, 5])
def test_hosts_share_the_examples(tmp_path: Path, hosts: int, interleave: int) -> None:
    stream(tmp_path, (10, 8, 6), window=1)
    shards = Shards(str(tmp_path), tmp_path)
    parts = []
    for host in range(hosts):
        source = ExampleStream(shards, window=100, seed=7, interleave=interleave, host=host, hosts=hosts)
        epoch: list[int] = []
        for (record,), after in source.batches(Position(), 1):
            epoch.append(int(record))
            if after.epoch:
                break
        parts.append(epoch)
    assert sorted(number for part in parts for number in part) == list(range(24))
    assert all(parts)


def test_a_host_whose_shards_are_left_out_waits_for_its_next_epoch(tmp_path: Path) -> None:
    stream(tmp_path, (3, 3), window=1)
    left_out = ["shard_0001.tfrecord"]
    for host in range(2):
        source = ExampleStream(
            Shards(str(tmp_path), tmp_path, left_out), window=100, seed=7, host=host, hosts=2
        )
        (batch,) = numbers(source, Position(), 9, 1)
        assert sorted(batch) == sorted([0, 1, 2] * 3)
    nothing = ExampleStream(Shards(str(tmp_path), tmp_path), window=100, seed=7, host=0, hosts=2)
    nothing.shards.left_out = frozenset(nothing.shards.names)
    with pytest.raises(InputError, match="no example"):
        numbers(nothing, Position(), 1, 1)


def test_places_that_never_carry_a_prediction_are_cut_off(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    records = heldout_examples(Shards(job.heldout_data, tmp_path), 5)
    batch = Parser(job, 64)(records)
    assert {name: array.shape for name, array in batch.items()} == {
        "input_ids": (5, 16),
        "input_mask": (5, 16),
        "segment_ids": (5, 16),
        "masked_lm_positions": (5, USED),
        "masked_lm_ids": (5, USED),
        "masked_lm_weights": (5, USED),
        "next_sentence_labels": (5,),
    }
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
    assert batch["masked_lm_weights"].all()


def test_packed_rows_have_numbers_of_documents(tmp_path: Path) -> None:
    """A model of packed data knows one type of segment, also where it is evaluated on pairs."""
    job = make_job(tmp_path)
    records = heldout_examples(Shards(job.heldout_data, tmp_path), 5)
    pairs, packed = Parser(job, 64)(records), replace(job, data_format="packed")
    assert pairs["segment_ids"].any()
    heldout = Parser(packed, 64, job.heldout_data)(records)
    assert heldout.keys() == pairs.keys()
    assert not heldout["segment_ids"].any()
    with pytest.raises(CorruptError, match="an example is not in the format packed"):
        Parser(packed, 64)(records)
    rows = [tf.train.Example.FromString(record) for record in records]
    for row in rows:
        numbers = row.features.feature["segment_ids"].int64_list
        numbers.value[:] = [number + 1 for number in numbers.value]
    written = [row.SerializeToString() for row in rows]
    training = Parser(packed, 64)(written)
    np.testing.assert_array_equal(training.pop("documents"), pairs["segment_ids"] + 1)
    assert training.keys() == pairs.keys() - {"segment_ids"}
    with pytest.raises(CorruptError, match="an example is not in the format pairs"):
        Parser(job, 64)(written)


def test_shards_of_another_format_are_refused(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        for number in range(2):
            write_shard(tmp_path / folder / f"{folder}_{number}.tfrecord", [b"x"])
        manifest = Manifest(kind="shard", id="s", config={} if folder == "first" else {"format": "packed"})
        manifest.write(tmp_path / folder / f"{folder}_0.tfrecord.manifest.json")
    first, second = (str(tmp_path / folder) for folder in ("first", "second"))
    Shards(first, tmp_path).check_format("pairs")
    Shards(second, tmp_path).check_format("packed")
    for place, earlier, expected, wrong in (
        (first, [], "packed", "first/first_0.tfrecord: was converted in the format pairs, but packed is"),
        (second, [], "pairs", "second/second_0.tfrecord: was converted in the format packed, but pairs is"),
        (second, [first], "packed", "first/first_0.tfrecord: was converted in the format pairs"),
    ):
        with pytest.raises(ConfigError, match=wrong):
            Shards(place, tmp_path, earlier=earlier).check_format(expected)  # type: ignore[arg-type]


def test_examples_that_do_not_fit_the_job_are_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    records = heldout_examples(Shards(job.heldout_data, tmp_path), 50)
    with pytest.raises(CorruptError, match="max_seq_length"):
        Parser(replace(job, max_seq_length=32), 64)(records)
    with pytest.raises(CorruptError, match="vocabulary's last id is 20"):
        Parser(job, 21)(records)
    with pytest.raises(CorruptError, match="more than 1 predictions"):
        Parser(replace(job, masked_lm_prob=0.01), 64)(records)


def test_heldout_examples_come_from_all_shards_in_turn(tmp_path: Path) -> None:
    stream(tmp_path, (5, 1, 5), window=1)
    examples = heldout_examples(Shards(str(tmp_path), tmp_path), 6)
    assert [int(record) for record in examples] == [0, 5, 6, 1, 7, 2]
    assert len(heldout_examples(Shards(str(tmp_path), tmp_path), 100)) == 11


def test_padding_counts_for_nothing(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    batch = Parser(job, 64)(heldout_examples(Shards(job.heldout_data, tmp_path), 3))
    full = padded(batch, 8)
    assert {len(array) for array in full.values()} == {8}
    assert full["masked_lm_weights"][3:].sum() == 0
    assert full["next_sentence_labels"][3:].tolist() == [-1] * 5
    np.testing.assert_array_equal(full["input_ids"][:3], batch["input_ids"])


def test_an_error_of_the_reader_reaches_the_loop(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    shard = Path(job.training_data) / "shard_0000.tfrecord"
    write_shard(shard, [example(np.random.default_rng(2)), b"not an example"])
    source = ExampleStream(Shards(job.training_data, tmp_path), window=64, seed=1)
    batches = Prefetched(source, Parser(job, 64), Position(), 300)
    with pytest.raises(CorruptError):
        batches.next()
    batches.close()


def test_shards_that_are_left_out_keep_their_place(tmp_path: Path) -> None:
    """The order of the others is the same whether the file is there or not."""
    stream(tmp_path, (10, 8, 7, 6), window=4)
    left_out = ["shard_0001.tfrecord"]

    def read() -> list[list[int]]:
        shards = Shards(str(tmp_path), tmp_path / "cache", left_out)
        return numbers(ExampleStream(shards, window=4, seed=7), Position(), 23, 2)

    with_it = read()
    (tmp_path / "shard_0001.tfrecord").unlink()
    assert read() == with_it
    assert all(sorted(epoch) == [*range(10), *range(18, 31)] for epoch in with_it)
    for path in tmp_path.glob("*.tfrecord"):
        path.unlink()
    with pytest.raises(InputError, match="no"):
        read()


def test_shards_of_another_vocabulary_are_refused(tmp_path: Path, bucket_name: str) -> None:
    """Their ids would be those of other wordpieces, without an error."""
    job = make_job(tmp_path, examples=(3, 3))
    vocab, folder = Path(job.vocab_file), Path(job.training_data)
    shards = Shards(str(folder), tmp_path / "cache")
    shards.check_vocabulary(FileRecord.of(vocab))  # No manifest: another program made them.
    first = folder / "shard_0000.tfrecord"
    inputs = [FileRecord.of(first, "shard_0000"), FileRecord.of(vocab)]
    manifest = Manifest(kind="shard", id="shard_0000", inputs=inputs, outputs=[FileRecord.of(first)])
    bucket = Bucket(f"gs://{bucket_name}/data/")
    for path in (first, folder / "shard_0001.tfrecord"):
        bucket.upload(path, path.name)
    places = [Shards(bucket.address, tmp_path / "cache"), shards]
    for name in ("shard_0000.tfrecord.manifest.json", "shard_0000.json"):
        manifest.write(folder / name)
        bucket.upload(folder / name, name)
        vocab.write_text(vocab.read_text())
        for place in places:
            place.check_vocabulary(FileRecord.of(vocab))
        vocab.write_text(vocab.read_text().replace("w1\nw2\n", "w2\nw1\n"))
        for place in places:
            with pytest.raises(ConfigError, match=r"/shard_0000\.tfrecord: was converted with a diff"):
                place.check_vocabulary(FileRecord.of(vocab))
        vocab.write_text(vocab.read_text().replace("w2\nw1\n", "w1\nw2\n"))
        (folder / name).unlink()
        bucket.delete(name)
