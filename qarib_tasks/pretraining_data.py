"""Step 3: a shard of text to the examples that BERT is trained on, as TFRecords.

The same examples in the same order as google-research/bert's create_pretraining_data.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from qarib_tasks.config import ConvertConfig, to_dict
from qarib_tasks.errors import ConfigError, InputError, QaribError, StorageError
from qarib_tasks.layout import manifest_of
from qarib_tasks.manifest import FileRecord, Manifest, finished
from qarib_tasks.plain_pretraining_data import Example, Wordpieces, create_instances, read_documents
from qarib_tasks.storage import atomic_path
from qarib_tasks.tfrecord import encode_example, frame
from qarib_tasks.vocabulary_file import load_vocab

log = logging.getLogger(__name__)

SAMPLES = 10


def convert_shard(shard: Path, vocab: Path, out: Path, config: ConvertConfig) -> Manifest:
    """Write the examples of `shard` to `out` and then the shard's manifest beside it.

    Does nothing if the manifest says that it is done for this shard, vocabulary and config, and `out`
    verifies. On an error there is no `out`, and the manifest says why.

    Args:
        shard: UTF-8 text, a sentence or tweet a line, an empty line between documents.
        vocab: one entry a line.
        out: the TFRecord file to write.

    Returns:
        the shard's manifest.

    Raises:
        InputError: the shard or the vocabulary is missing or unusable.
        ConfigError: the config does not suit the vocabulary's model.
        StorageError: `out` cannot be written.
    """
    settings = to_dict(config)
    inputs = (FileRecord.of(shard), FileRecord.of(vocab))
    if done := finished(manifest_of(out), config=settings, inputs=inputs):
        log.info("%s: already converted", shard.name)
        return done
    try:
        try:
            manifest = _convert(shard, vocab, out, config, inputs)
        except OSError as error:
            raise StorageError(
                f"cannot be written: {error.strerror or error}", where=out, do="Make room, then convert again"
            ) from error
    except QaribError as error:
        failed = Manifest(
            kind="shard", id=shard.name, state="failed", reason=str(error), config=settings, inputs=inputs
        )
        out.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            failed.write(manifest_of(out))
        raise
    manifest.write(manifest_of(out))
    log.info("%s: %d examples", shard.name, manifest.statistics["examples"])
    return manifest


def shard_seed(shard: str, config: ConvertConfig) -> int:
    """The seed that a shard's random numbers start from."""
    if not config.random_seed_per_shard:
        return config.random_seed
    return int.from_bytes(hashlib.sha256(f"{config.random_seed} {shard}".encode()).digest()[:8], "little")


def check_positions(vocab: Path, config: ConvertConfig) -> None:
    """Compare the sequence length with the model's positions, where a bert_config.json lies beside `vocab`.

    Raises:
        ConfigError: the model has fewer positions.
    """
    path = vocab.with_name("bert_config.json")
    if not path.is_file():
        return
    positions = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    if isinstance(positions, int) and config.max_seq_length > positions:
        raise ConfigError(
            f"max_seq_length {config.max_seq_length} is above the model's {positions} positions", where=path
        )


def _convert(
    shard: Path, vocab: Path, out: Path, config: ConvertConfig, inputs: Sequence[FileRecord]
) -> Manifest:
    check_positions(vocab, config)
    entries = load_vocab(vocab)
    text = shard.read_bytes().decode(errors="replace")
    if not text:
        raise InputError("the shard is empty", where=shard)
    wordpieces = Wordpieces(entries, do_lower_case=config.do_lower_case)
    documents = read_documents(text, wordpieces)
    if not any(sum(map(len, document)) >= 2 for document in documents):
        raise InputError("no document in the shard has two tokens", where=shard)
    examples = create_instances(documents, entries, config, shard_seed(shard.name, config))
    with atomic_path(out) as temporary:
        with temporary.open("wb") as file:
            file.writelines(frame(record) for record in _records(examples, config))
        output = FileRecord.of(temporary, out.name)
    return Manifest(
        kind="shard",
        id=shard.name,
        config=to_dict(config),
        inputs=inputs,
        outputs=[output],
        statistics={
            "lines": text.count("\n") + (not text.endswith("\n")),
            "documents": len(documents),
            "examples": len(examples),
        },
        sample=[" ".join(entries[token] for token in example.tokens) for example in examples[:SAMPLES]],
    )


def _records(examples: Sequence[Example], config: ConvertConfig) -> Iterator[bytes]:
    def padded(values: Sequence[int], length: int) -> list[int]:
        return [*values, *[0] * (length - len(values))]

    for example in examples:
        length, predictions = config.max_seq_length, config.max_predictions_per_seq
        yield encode_example(
            {
                "input_ids": ("int64", padded(example.tokens, length)),
                "input_mask": ("int64", padded([1] * len(example.tokens), length)),
                "segment_ids": ("int64", padded(example.segment_ids, length)),
                "masked_lm_positions": ("int64", padded(example.positions, predictions)),
                "masked_lm_ids": ("int64", padded(example.labels, predictions)),
                "masked_lm_weights": ("float", padded([1] * len(example.positions), predictions)),
                "next_sentence_labels": ("int64", [int(example.is_random_next)]),
            }
        )
