"""Step 3: convert a shard of text to BERT's training examples, as TFRecords.

In pairs, the examples and their order are those of google-research/bert's create_pretraining_data.py.
`packing` has the other format.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.conversion.examples import (
    Examples,
    build_examples,
    encode_examples,
    evenly_spaced,
    readable,
)
from qarib_tasks.conversion.packing import encode_rows, pack_rows, row_samples, summary
from qarib_tasks.conversion.shard_text import Progress, read_shard
from qarib_tasks.conversion.tokenizer import Tokenizer
from qarib_tasks.corpus.content.plain import require_plain_text
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError, StorageError
from qarib_tasks.layout import BERT_CONFIG, shard_label
from qarib_tasks.storage.checked_file import watched
from qarib_tasks.storage.files import RunningChecksums, crc32c_of
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, lists_all, manifest_of
from qarib_tasks.storage.ownership import Earlier, Staged, check_outputs, owned, recorded_name
from qarib_tasks.storage.regular_files import read_settings_text
from qarib_tasks.storage.system_errors import remedy
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, load_vocab

log = logging.getLogger(__name__)

CORRECT = "Correct the path, its permissions, or the limit on the size of files"


def no_progress(phase: str, share: float) -> None:
    """Ignore the progress."""


def convert_shard(
    shard: Path,
    vocab: Path,
    out: Path,
    config: ConvertConfig,
    *,
    threads: int = 1,
    progress: Progress = no_progress,
    adopt: bool = False,
) -> Manifest:
    """Write the examples of `shard` to `out`, and then the shard's manifest next to it.

    Does nothing if the manifest is complete for this shard, vocabulary, and config, and `out` verifies. After
    an error, a file that was complete stays, with its manifest. Without one, the manifest has the reason.

    Args:
        shard: UTF-8 text, one sentence or tweet per line, with an empty line between documents.
        vocab: the vocabulary, one entry per line.
        out: the TFRecord file to write.
        threads: number of threads; the bytes are the same for any number.
        progress: called with a phase (read, build, write) and the finished share of it.
        adopt: see `ownership.owned`.

    Returns:
        the shard's manifest.

    Raises:
        InputError: the shard or the vocabulary is missing or unusable, `out` is one of them, or a file that
            is not ours is in the way of an output.
        ConfigError: the config does not suit the vocabulary's model.
        StorageError: `out` cannot be written.
    """
    settings, place = named_settings(config), manifest_of(out)
    label = shard_label(str(shard)).removesuffix(shard.stem) + shard.name
    check_outputs([out, place], [shard, vocab])
    owned("shard", place, [out], named=[out], adopt=adopt)
    inputs: list[FileRecord] = []
    require_unchanged = watched(shard, vocab)
    try:
        inputs = [_input(shard), _input(vocab)]
        require_plain_text(shard)
        try:
            lists = lists_all(recorded_name(out, place))
            if done := finished(place, kind="shard", config=settings, inputs=inputs, lists=lists):
                log.info("%s: already converted", label)
                return done
            began = datetime.now(UTC).isoformat(timespec="seconds")
            _note(
                place,
                Manifest(
                    kind="shard",
                    id=shard.name,
                    state="running",
                    reason=f"began {began} on {platform.node()}, process {os.getpid()}",
                    config=settings,
                    inputs=inputs,
                ),
            )
            with Staged(place) as staged:
                manifest = _convert(shard, vocab, out, config, inputs, threads, progress, staged)
                require_unchanged()
                staged.commit(manifest, keep_changed=not adopt)
        except OSError as error:
            again = "convert the shard again"
            raise StorageError(
                f"cannot be written: {error.strerror or error}",
                where=out,
                do=remedy(error.errno, out, again) or f"{CORRECT}, then {again}",
            ) from error
    except QaribError as error:
        failed = Manifest(
            kind="shard", id=shard.name, state="failed", reason=str(error), config=settings, inputs=inputs
        )
        with contextlib.suppress(OSError):
            _note(place, failed)
        raise
    if config.format == "packed":
        log.info("%s: %s", label, summary(manifest.statistics))
    else:
        log.info("%s: %d examples", label, manifest.statistics["examples"])
    return manifest


def _note(path: Path, manifest: Manifest) -> None:
    """Write a manifest that is not complete, unless a complete one exists: its output is still there."""
    earlier = Earlier.read(path)
    if not earlier.is_complete:
        outputs = earlier.manifest.outputs if earlier.manifest else ()
        replace(manifest, outputs=outputs).write(path)


def _input(path: Path) -> FileRecord:
    try:
        return FileRecord.of(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error


def shard_seed(shard: str, config: ConvertConfig) -> int:
    """The seed of a shard's random numbers."""
    if not config.random_seed_per_shard:
        return config.random_seed
    return int.from_bytes(hashlib.sha256(f"{config.random_seed} {shard}".encode()).digest()[:8], "little")


def check_lengths(vocab: Path, config: ConvertConfig) -> None:
    """Check the lengths against each other, and against the model if bert_config.json is next to `vocab`.

    Raises:
        ConfigError: the lengths allow more predictions than wordpieces, or more wordpieces than the model has
            positions.
    """
    if config.max_predictions_per_seq > config.max_seq_length:
        raise ConfigError(
            f"max_predictions_per_seq {config.max_predictions_per_seq} is above "
            f"max_seq_length {config.max_seq_length}"
        )
    path = vocab.with_name(BERT_CONFIG)
    if not path.is_file():
        return
    try:
        positions = json.loads(read_settings_text(path)).get("max_position_embeddings")
    except (ValueError, AttributeError, RecursionError, CorruptError):
        return  # It only has the name of a model's config.
    if isinstance(positions, int) and config.max_seq_length > positions:
        raise ConfigError(
            f"max_seq_length {config.max_seq_length} is above the model's {positions} positions", where=path
        )


def _convert(
    shard: Path,
    vocab: Path,
    out: Path,
    config: ConvertConfig,
    inputs: Sequence[FileRecord],
    threads: int,
    progress: Progress,
    staged: Staged,
) -> Manifest:
    check_lengths(vocab, config)
    tokenizer = Tokenizer(load_vocab(vocab), do_lower_case=config.do_lower_case)
    seed = shard_seed(shard.name, config)
    pieces: Iterator[bytes]
    if config.format == "packed":
        text = read_shard(shard, tokenizer, threads, progress, least=1)
        rows = pack_rows(text, config, seed, progress)
        made, sample = rows.statistics, row_samples(rows, tokenizer, config)
        pieces = encode_rows(rows, tokenizer, config, threads, progress)
    else:
        text = read_shard(shard, tokenizer, threads, progress)
        examples = build_examples(text, tokenizer, config, seed, progress)
        made, sample = examples.statistics, _sample(examples, tokenizer, config)
        pieces = encode_examples(examples, tokenizer, config, threads, progress)
    statistics = {
        **text.statistics,
        **made,
        "vocab_size": len(tokenizer.entries),
        "special_tokens": {token: tokenizer.id(token) for token in SPECIAL_TOKENS},
    }
    _warn(shard, statistics)
    temporary = staged.path(out)
    output = _write(temporary, out.name, pieces)
    if crc32c_of(temporary) != output.crc32c:
        raise CorruptError("read-back checksum differs", where=out, do="Check the disk")
    return Manifest(
        kind="shard",
        id=shard.name,
        config=named_settings(config),
        inputs=inputs,
        outputs=[output],
        statistics=statistics,
        sample=sample,
    )


def _write(path: Path, name: str, pieces: Iterable[bytes]) -> FileRecord:
    """Write a file and return its record, computed from the bytes in memory.

    Data is flushed to disk in parallel, so that the final flush is short.
    """
    running = RunningChecksums()
    with path.open("wb") as file, ThreadPoolExecutor(1) as disk:
        flush = disk.submit(file.flush)
        for piece in pieces:
            file.write(piece)
            running.update(piece)
            if flush.done():
                flush.result()
                flush = disk.submit(os.fdatasync, file.fileno())
        flush.result()
    return FileRecord(name, **asdict(running.result()))


def _warn(shard: Path, statistics: dict[str, Any]) -> None:
    """Log warnings about likely mistakes."""
    pairs = "next_sentence_shares" in statistics
    if pairs and statistics["next_sentence_shares"]["actual"] == 0:
        log.warning(
            "%s: no document has two lines that fit into one example, so every second part is from another "
            "document, and the next-sentence task has no actual next sentences",
            shard.name,
        )
    if pairs and statistics["documents"] == 1:
        log.warning(
            "%s: only one document (no empty line), so its random second parts are from the same document",
            shard.name,
        )
    if statistics["replaced_bytes"]:
        log.warning("%s: replaced %d bytes that are not UTF-8", shard.name, statistics["replaced_bytes"])


def _sample(examples: Examples, tokenizer: Tokenizer, config: ConvertConfig) -> list[dict[str, Any]]:
    """Readable examples, evenly spaced over the file."""
    import numpy as np

    from qarib_tasks.conversion.compiled.instances import MASKS, RANDOM_NEXT
    from qarib_tasks.conversion.compiled.records import fill_example

    samples = []
    for place in evenly_spaced(len(examples.order)):
        example = examples.order[place]
        row, start = examples.rows[example], examples.mask_starts[example]
        ids = np.zeros(config.max_seq_length, np.int64)
        labels = np.zeros(config.max_predictions_per_seq, np.int64)
        length = fill_example(
            row,
            examples.tokens,
            examples.positions[start:],
            examples.replacements[start:],
            tokenizer.id("[CLS]"),
            tokenizer.id("[SEP]"),
            ids,
            labels,
        )
        masks = int(row[MASKS])
        positions = examples.positions[start : start + masks]
        samples.append(
            {
                "example": place,
                "next_sentence": "random" if row[RANDOM_NEXT] else "actual",
                "text": readable(ids[:length], positions, labels[:masks], tokenizer.entries),
            }
        )
    return samples
