"""The training examples: TFRecords read in a seeded, repeatable order from a position that can be saved.

An epoch reads the shards in an order drawn from (seed, epoch): one after another, or `interleave_shards` of
them in turn, one record of each. The records are divided into windows of `shuffle_window`, and each window is
shuffled by (seed, epoch, window). A position says where in the shards its window begins and how many of the
window's examples are used, so that to resume from it reads one window again and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import tensorflow as tf

from qarib_tasks.config.conversion import masked_positions
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.tfrecord import read_records
from qarib_tasks.train.data.shards import Shards
from qarib_tasks.train.model.batch import Batch

log = logging.getLogger(__name__)
EMPTY_EPOCHS = 100


@dataclass(frozen=True)
class Position:
    """How far the data has been read; all zeros is the beginning.

    Attributes:
        epoch, window: counted from 0, the window within the epoch.
        shard: index into the epoch's order of the shards, where the window begins.
        record, offset: index of the window's first record in the shard, and its offset in uncompressed bytes.
        used: number of examples of the shuffled window that are used.
        corrupt: number of records skipped before the window, in all epochs.
        lanes: (shard, record, offset) of each of the shards that are read in turn, the next one first.
            `shard` is then the shard that is opened next, and `record` and `offset` are 0.
    """

    epoch: int = 0
    window: int = 0
    shard: int = 0
    record: int = 0
    offset: int = 0
    used: int = 0
    corrupt: int = 0
    lanes: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        lanes = tuple((shard, record, offset) for shard, record, offset in values.get("lanes", ()))
        return cls(**{**values, "lanes": lanes})


class ExampleStream:
    """An endless stream of serialized examples, in the order that the seed determines.

    Args:
        max_corrupt: number of corrupt records to skip; one more is an error.
        interleave: number of shards that are read in turn.
        host, hosts: rank and world size. With n hosts, each reads every n-th shard, or every n-th record if
            there are fewer shards than hosts.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        window: int,
        seed: int,
        max_corrupt: int = 0,
        interleave: int = 1,
        host: int = 0,
        hosts: int = 1,
    ) -> None:
        self.shards = shards
        self.window = window
        self.seed = seed
        self.max_corrupt = max_corrupt
        self.interleave = interleave
        self.host, self.hosts = host, hosts
        self._corrupt = 0
        self._read: dict[tuple[int, int], list[int]] = {}  # shards by (epoch, window)

    def batches(self, position: Position, size: int) -> Iterator[tuple[list[bytes], Position]]:
        """Yield batches starting at `position`, each with the position after it; batches span epochs."""
        batch: list[bytes] = []
        self._corrupt = position.corrupt
        for start, after, records in self._windows(position):
            used = start.used
            while used < len(records):
                taken = records[used : used + size - len(batch)]
                batch += taken
                used += len(taken)
                if len(batch) == size:
                    yield batch, replace(start, used=used) if used < len(records) else after
                    batch = []

    def _windows(self, position: Position) -> Iterator[tuple[Position, Position, list[bytes]]]:
        """Yield each shuffled window with its position and the next window's."""
        empty = 0  # consecutive epochs without an example
        while True:
            names = self._order(position.epoch)
            found = False
            for after, records in self._fill(position, names):
                found = True
                shuffled = np.random.default_rng([self.seed, position.epoch, position.window])
                yield position, after, [records[i] for i in shuffled.permutation(len(records))]
                position = after
            empty = 0 if found or position.window else empty + 1
            # If this host's shards are all empty or left out, another epoch may assign it others.
            if empty > (EMPTY_EPOCHS if self.hosts > 1 else 0):
                raise InputError("the shards contain no examples", where=self.shards.address)
            if position.window or empty:  # the last window ended with the last record
                position = Position(position.epoch + 1, corrupt=self._corrupt)

    def _order(self, epoch: int) -> list[str]:
        """Return this host's shards in the order of an epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards.names))
        names = [self.shards.names[i] for i in order]
        return names if self._by_record else names[self.host :: self.hosts]

    @property
    def _by_record(self) -> bool:
        return len(self.shards.names) < self.hosts

    def _skip(self, error: CorruptError) -> None:
        if self._corrupt >= self.max_corrupt:
            raise error
        self._corrupt += 1
        log.warning(
            "%s: %s; skipped, %d of at most %d", error.where, error.what, self._corrupt, self.max_corrupt
        )

    def shards_of(self, before: Position, after: Position) -> list[str]:
        """Return the shards that a batch between two positions may be from: those of its windows."""
        found = []
        for position in (before, after) if after.used else (before,):
            order = self._order(position.epoch)
            found += [order[shard] for shard in self._read[position.epoch, position.window]]
        return sorted(set(found))

    def _fill(self, position: Position, names: list[str]) -> Iterator[tuple[Position, list[bytes]]]:
        """Yield the windows of one epoch, each with the position after it."""
        places = position.lanes or ((position.shard, position.record, position.offset),)
        following = position.shard if position.lanes else position.shard + 1
        lanes = deque(lane for place in places for lane in self._opened(position.epoch, names, place))
        records: list[bytes] = []
        window, read = position.window, [lane.shard for lane in lanes]
        while True:
            while len(lanes) < self.interleave and following < len(names):
                opened = self._opened(position.epoch, names, (following, 0, 0))
                lanes += opened
                read += [lane.shard for lane in opened]
                following += 1
            if not lanes:
                break
            lane = lanes.popleft()
            if (record := lane.next()) is None:
                self.shards.release(names[lane.shard])
                continue
            lanes.append(lane)
            records.append(record)
            if len(records) == self.window:
                self._read[position.epoch, window] = read
                window += 1
                yield self._place(position.epoch, window, following, lanes), records
                records, read = [], [lane.shard for lane in lanes]
        if records:
            self._read[position.epoch, window] = read
            yield Position(position.epoch + 1, corrupt=self._corrupt), records

    def _place(self, epoch: int, window: int, following: int, lanes: Iterable[_Lane]) -> Position:
        """Return the position where a window begins, with these open shards."""
        places = tuple((lane.shard, lane.record, lane.offset) for lane in lanes)
        if self.interleave > 1:
            return Position(epoch, window, following, corrupt=self._corrupt, lanes=places)
        return Position(epoch, window, *places[0], corrupt=self._corrupt)

    def _opened(self, epoch: int, names: list[str], place: tuple[int, int, int]) -> list[_Lane]:
        """Return a lane that reads a shard from a place; none if there is no such shard or it is left out."""
        shard, record, offset = place
        if shard >= len(names) or names[shard] in self.shards.left_out:
            return []
        if self.hosts > 1:
            part = f", every {self.hosts}th record" if self._by_record else ""
            log.info("epoch %d: rank %d reads %s%s", epoch, self.host, names[shard], part)
        self.shards.expect(names[shard + 1 : shard + 2])
        path = self.shards.path(names[shard])
        mine = (self.host, self.hosts) if self._by_record else (0, 1)
        return [_Lane(shard, record, offset, mine, read_records(path, record, offset, self._skip))]


@dataclass
class _Lane:
    """A shard that is being read, and the place of its next record; `mine`: (rank, world size)."""

    shard: int
    record: int
    offset: int
    mine: tuple[int, int]
    records: Iterator[tuple[int, int, bytes]]

    def next(self) -> bytes | None:
        """Return the next record, or None at the end of the shard."""
        host, hosts = self.mine
        for number, offset, record in self.records:
            self.record, self.offset = number, offset
            if number % hosts == host:
                return record
        return None


class Parser:
    """Parses serialized examples into the arrays of a batch and checks them against the job.

    The published settings allow 20 predictions at length 64, but conversion never makes more than
    round(64 × 0.15) = 10. The parser removes the unused columns, which halves the output layer's work and
    does not change the loss.

    Args:
        address: where the examples are from, for errors; empty for the training data.
    """

    def __init__(self, job: TrainingJob, vocab_size: int, address: str = "") -> None:
        length, most = job.max_seq_length, job.max_predictions_per_seq
        self.vocab_size = vocab_size
        self.predictions = masked_positions(length, job.masked_lm_prob, most)
        self.address = address or job.training_data
        # Models of packed data know one type of segment, also where they are evaluated on pairs.
        self.packed = job.data_format == "packed"
        self.documents = self.packed and not address
        self.features = {
            **{
                name: tf.io.FixedLenFeature([length], tf.int64)
                for name in ("input_ids", "input_mask", "segment_ids")
            },
            **{
                name: tf.io.FixedLenFeature([most], tf.int64)
                for name in ("masked_lm_positions", "masked_lm_ids")
            },
            "masked_lm_weights": tf.io.FixedLenFeature([most], tf.float32),
            "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
        }

    def __call__(self, records: list[bytes]) -> Batch:
        """Parse the records of a batch.

        Returns:
            int32 arrays: input_ids, input_mask, segment_ids [records, length]; masked_lm_positions,
            masked_lm_ids, masked_lm_weights [records, predictions]; next_sentence_labels [records]. Packed
            training data have documents in place of segment_ids: the numbers of the documents of a row.

        Raises:
            CorruptError: an example's features, lengths or ids do not match the job's settings.
        """
        try:
            parsed = tf.io.parse_example(tf.constant(records), self.features)
        except tf.errors.InvalidArgumentError as error:
            raise CorruptError(
                f"an example does not match max_seq_length and max_predictions_per_seq: {error.message}",
                where=self.address,
                do="Convert the shards again with this training's settings",
            ) from None
        batch = {name: value.numpy().astype(np.int32) for name, value in parsed.items()}
        batch["next_sentence_labels"] = batch["next_sentence_labels"][:, 0]
        if (batch["segment_ids"][:, 0] != int(self.documents)).any():
            raise CorruptError(
                f"an example is not in the format {'packed' if self.documents else 'pairs'}",
                where=self.address,
                do="Use data of one format. Held-out data are in pairs",
            )
        if self.documents:
            batch["documents"] = batch.pop("segment_ids")
        elif self.packed:
            batch["segment_ids"] = np.zeros_like(batch["segment_ids"])
        highest = max(int(batch[name].max()) for name in ("input_ids", "masked_lm_ids"))
        if highest >= self.vocab_size:
            raise CorruptError(
                f"an example contains wordpiece id {highest}; the vocabulary's last id is "
                f"{self.vocab_size - 1}",
                where=self.address,
                do="Convert the shards again with this training's vocabulary",
            )
        if batch["masked_lm_weights"][:, self.predictions :].any():
            raise CorruptError(
                f"an example has more than {self.predictions} predictions",
                where=self.address,
                do="Set masked_lm_prob to the conversion's value",
            )
        for name in ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"):
            batch[name] = batch[name][:, : self.predictions]
        return batch


def heldout_examples(shards: Shards, limit: int) -> list[bytes]:
    """Return at most `limit` serialized examples, one of each shard in turn, the same ones every time.

    Raises:
        InputError: the shards contain no examples.
    """
    readers = []
    for name in shards.names:
        readers.append(record for _, _, record in read_records(shards.path(name)))
    examples: list[bytes] = []
    while readers and len(examples) < limit:
        for reader in list(readers):
            record = next(reader, None)
            if record is None:
                readers.remove(reader)
            elif len(examples) < limit:
                examples.append(record)
    if not examples:
        raise InputError("the held-out shards contain no examples", where=shards.address)
    return examples


class Prefetched:
    """Parsed batches with their positions, which a thread prepares while the device works.

    Args:
        size: examples per batch.
        ahead: number of batches to prepare ahead.
    """

    def __init__(
        self, stream: ExampleStream, parse: Parser, position: Position, size: int, ahead: int = 4
    ) -> None:
        self.stream = stream
        self._queue: queue.Queue[Any] = queue.Queue(ahead)
        self._stop = threading.Event()
        self.waited = 0.0  # seconds that `next` waited
        self._thread = threading.Thread(
            target=self._fill, args=(stream.batches(position, size), parse), name="batches", daemon=True
        )
        self._thread.start()

    def _fill(self, batches: Iterator[tuple[list[bytes], Position]], parse: Parser) -> None:
        try:
            for records, position in batches:
                if not self._put((parse(records), position)):
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def next(self) -> tuple[Batch, Position]:
        """Return the next batch and the position after it. An error of the reader is raised here."""
        started = time.monotonic()
        item = self._queue.get()
        self.waited += time.monotonic() - started
        if isinstance(item, BaseException):
            raise item
        return item  # type: ignore[no-any-return]

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
