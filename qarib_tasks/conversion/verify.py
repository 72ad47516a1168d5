"""Read converted shards and verify them against their manifests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.conversion.example_reader import Array, Shape, read_rows
from qarib_tasks.conversion.examples import predictions_of
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.storage.files import checksums, require_file
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.tfrecord import corrupt_record

REDO = "Convert the shard again"
Faulty = npt.NDArray[np.bool_]


def verify_files(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Verify files that `convert_shard` wrote, one at a time.

    Checks framing, CRCs, features and their lengths, id ranges, segments, mask rules, the number of examples,
    and the file's checksums against the manifest next to each file.

    Yields:
        each file and its number of examples.

    Raises:
        InputError: a file or its manifest is missing.
        CorruptError: the first fault; for a fault in a record, with the record's number, from 0.
    """
    for path in paths:
        yield path, verify_file(path)


def verify_file(path: Path) -> int:
    """Verify one file, as `verify_files` does; returns its number of examples."""
    require_file(path)
    if not os.path.lexists(place := manifest_of(path)):
        raise InputError(
            f"no such manifest, which `qarib convert` writes beside {path.name}",
            where=place,
            do="Copy it to the file, or convert the shard again",
        )
    manifest = _manifest(place)
    if manifest.kind != "shard" or manifest.state != "complete":
        raise CorruptError(
            f"its manifest is not for a converted shard: {manifest.reason or manifest.kind}",
            where=path,
            do=REDO,
        )
    record = next((one for one in manifest.outputs if one.name == path.name), None)
    if record is None or (fault := manifest.content_fault(missing=True)):
        what = f"its manifest is damaged: {fault if record else 'it does not list the file'}"
        raise CorruptError(what, where=place, do=REDO)
    statistics = manifest.statistics
    try:
        config = from_dict(ConvertConfig, manifest.config)
    except ConfigError as error:
        raise CorruptError(f"its manifest is damaged: {error.what}", where=place, do=REDO) from None
    special, size, examples = (statistics[name] for name in ("special_tokens", "vocab_size", "examples"))
    check = packed_rules if config.format == "packed" else rules
    done = 0
    for rows in read_rows(path, Shape(config.max_seq_length, config.max_predictions_per_seq)):
        for what, faulty in check(rows, config, size, special):
            if faulty.any():
                raise corrupt_record(path, done + int(faulty.argmax()), what)
        done += len(rows)
    if done != examples:
        raise CorruptError(f"has {done} examples, its manifest says {examples}", where=path, do=REDO)
    if checksums(path) != record.checksums:
        raise CorruptError("does not match the checksums in its manifest", where=path, do=REDO)
    return done


def rules(
    rows: Array, config: ConvertConfig, vocab_size: int, special: Mapping[str, int]
) -> Iterator[tuple[str, Faulty]]:
    """Check the rules for each example in pairs.

    Args:
        rows: see `read_rows`.
        special: the ids of the special tokens.

    Yields:
        for each rule, the text of the fault and [records] bool, true for records that have the fault.
    """
    features = _features(rows, config)
    ids, mask, segments = features["input_ids"], features["input_mask"], features["segment_ids"]
    positions, labels = features["masked_lm_positions"], features["masked_lm_ids"]
    weights, label = features["masked_lm_weights"], features["next_sentence_labels"][:, 0]
    place = np.arange(config.max_seq_length)
    slot = np.arange(config.max_predictions_per_seq)
    record = np.arange(len(rows))

    yield "input_ids has an id outside the vocabulary", (ids >= vocab_size).any(axis=1)
    yield "masked_lm_ids has an id outside the vocabulary", (labels >= vocab_size).any(axis=1)
    yield "next_sentence_labels is neither 0 nor 1", label > 1
    length = mask.sum(axis=1)
    used = place < length[:, None]
    yield "input_mask is not ones, then zeros", (mask != used).any(axis=1)
    yield "has fewer than five wordpieces", length < 5
    yield "has wordpieces after input_mask ends", ((ids != 0) & ~used).any(axis=1)
    second = segments.sum(axis=1)
    first = length - second
    expected = used & (place >= first[:, None])
    yield "segment_ids is not zeros, then ones, then padding", (segments != expected).any(axis=1)
    yield "a part is empty", (first < 3) | (second < 2)
    yield "does not begin with [CLS]", ids[:, 0] != special["[CLS]"]
    yield (
        "a part does not end with [SEP]",
        (ids[record, first - 1] != special["[SEP]"]) | (ids[record, length - 1] != special["[SEP]"]),
    )
    count = weights.sum(axis=1)
    masked = slot < count[:, None]
    yield "masked_lm_weights is not ones, then zeros", (weights != masked).any(axis=1)
    most = np.minimum(np.array(predictions_of(config))[length], length - 3)
    yield "has more masks than the settings allow", count > most
    if not config.do_whole_word_mask:
        yield "has fewer masks than the settings require", count < most
    yield (
        "masked_lm_positions or masked_lm_ids is not padded with 0",
        (((positions != 0) | (labels != 0)) & ~masked).any(axis=1),
    )
    yield (
        "masked_lm_positions are not ascending",
        ((positions[:, 1:] <= positions[:, :-1]) & masked[:, 1:]).any(axis=1),
    )
    outside = (positions < 1) | (positions >= (length - 1)[:, None]) | (positions == (first - 1)[:, None])
    yield "a masked position is outside the text", (outside & masked).any(axis=1)


def packed_rules(
    rows: Array, config: ConvertConfig, vocab_size: int, special: Mapping[str, int]
) -> Iterator[tuple[str, Faulty]]:
    """Check the rules for each packed example; see `rules`."""
    features = _features(rows, config)
    ids, mask, numbers = features["input_ids"], features["input_mask"], features["segment_ids"]
    masks = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")

    yield "input_ids has an id outside the vocabulary", (ids >= vocab_size).any(axis=1)
    yield "next_sentence_labels is not 0", features["next_sentence_labels"][:, 0] != 0
    yield "has masks, but is packed", np.any([features[name].any(axis=1) for name in masks], axis=0)
    length = mask.sum(axis=1)
    used = np.arange(config.max_seq_length) < length[:, None]
    yield "input_mask is not ones, then zeros", (mask != used).any(axis=1)
    yield "has no document", length == 0
    yield "has wordpieces after input_mask ends", ((ids != 0) & ~used).any(axis=1)
    before, after = np.roll(numbers, 1, axis=1), np.roll(numbers, -1, axis=1)
    before[:, 0] = after[:, -1] = 0
    rises = np.isin(numbers - before, (0, 1)) & (numbers > 0)
    wrong = ~np.where(used, rises, numbers == 0)
    yield "segment_ids does not rise by 1 from 1, then padding", wrong.any(axis=1)
    first, last = used & (numbers != before), used & (numbers != after)
    yield "a document does not begin with [CLS]", (first & (ids != special["[CLS]"])).any(axis=1)
    yield "a document does not end with [SEP]", (last & (ids != special["[SEP]"])).any(axis=1)
    marks = (ids == special["[CLS]"]) | (ids == special["[SEP]"])
    yield "has [CLS] or [SEP] within a document", (marks & ~first & ~last).any(axis=1)
    yield "a document is empty", (first & np.roll(last, -1, axis=1)).any(axis=1)


def _features(rows: Array, config: ConvertConfig) -> Mapping[str, Any]:
    return Shape(config.max_seq_length, config.max_predictions_per_seq).features(rows)


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.read(path)
    except CorruptError as error:
        raise CorruptError(error.what, where=path, do=REDO) from None
