"""Print the examples of a TFRecord file as text in a terminal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from qarib_tasks.conversion.example_decoder import decode_example
from qarib_tasks.conversion.examples import readable
from qarib_tasks.counting import counted
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import require_file
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.storage.tfrecord import corrupt_record, read_records
from qarib_tasks.vocabulary.file import load_vocab

# Unicode's isolates: a terminal that supports bidirectional text lays a line out from the right.
RIGHT_TO_LEFT_ISOLATE, POP_ISOLATE = "\u2067", "\u2069"
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def print_examples(file: Path, vocab: Path | None, *, examples: int, skip: int, visual: bool = False) -> None:
    """Print examples with one line per part or document and masked words as {original→shown}.

    Args:
        vocab: None to use the vocabulary that the file's manifest names, in the file's folder or its parent.
        examples, skip: number of examples to print, and number of examples to skip first.
        visual: reorder right-to-left lines, for a terminal that does not.

    Raises:
        InputError: a file is missing, the file has no example after the skipped ones, or it was converted
            with another vocabulary.
        CorruptError: a record is damaged, or is not an example of this vocabulary.
    """
    for line in example_lines(file, vocab, examples=examples, skip=skip):
        right_to_left = RIGHT_TO_LEFT.search(line) is not None
        if right_to_left and visual:
            line = visual_order(line)
        marked = re.sub(
            r"\{[^ {}]*→[^ {}]*\}", lambda match: click.style(match[0], bold=True, fg="yellow"), line
        )
        if right_to_left and not visual:
            marked = RIGHT_TO_LEFT_ISOLATE + marked + POP_ISOLATE
        click.echo(marked)


def example_lines(file: Path, vocab: Path | None, *, examples: int, skip: int) -> Iterator[str]:
    """The lines that `print_examples` prints."""
    require_file(file)
    entries = load_vocab(_same_vocab(file, vocab) if vocab else find_vocab(file))
    records = itertools.islice(read_records(file), skip, skip + examples)
    shown = 0
    for number, (_, _, record) in enumerate(records, start=skip):
        try:
            features: Any = decode_example(record)
            length = sum(features["input_mask"])
            predictions = sum(map(int, features["masked_lm_weights"]))
            about = _about(features, length, predictions)
            text = readable(
                features["input_ids"][:length],
                features["masked_lm_positions"][:predictions],
                features["masked_lm_ids"][:predictions],
                entries,
            )
        except (ValueError, KeyError, IndexError):
            raise corrupt_record(file, number, "not an example of this vocabulary") from None
        yield f"example {number}: {about}"
        yield from (f"  {part}" for part in re.split(r"(?<=\[SEP\]) ", text))
        shown += 1
    if not shown:
        raise InputError(f"has no example number {skip}", where=file)


def _about(features: Any, length: int, predictions: int) -> str:
    """What kind of example it is. Only a packed one numbers its first wordpiece 1."""
    if features["segment_ids"][0]:
        return f"{counted(max(features['segment_ids']), 'document')}, {length} wordpieces"
    label = "random next" if features["next_sentence_labels"][0] else "actual next"
    return f"{label}, {length} wordpieces, {predictions} masked"


def find_vocab(file: Path) -> Path:
    """The vocabulary that a shard was converted with, in the shard's folder or its parent.

    Raises:
        InputError: neither folder has it, or no manifest says which one it is.
    """
    if (record := _vocab_of(file)) is None:
        raise InputError("no manifest names its vocabulary", where=file, do="Pass it with --vocab")
    for folder in (file.parent, file.parent.parent):
        path = folder / record.name
        if path.is_file() and FileRecord.of(path).checksums == record.checksums:
            return path
    raise InputError(
        f"its vocabulary {record.name} is neither in its folder nor in the parent folder",
        where=file,
        do="Pass the vocabulary with --vocab",
    )


def _vocab_of(file: Path) -> FileRecord | None:
    """The vocabulary that a shard was converted with, as its manifest says; None if it does not."""
    try:
        inputs = Manifest.read(manifest_of(file)).inputs
    except (InputError, CorruptError):
        return None
    return inputs[1] if len(inputs) > 1 else None


def _same_vocab(file: Path, vocab: Path) -> Path:
    """Return the vocabulary; another one's words would be shown for the ids.

    Raises:
        InputError: the shard's manifest has the checksum of another one.
    """
    record, given = _vocab_of(file), FileRecord.of(vocab)
    if record and record.checksums != given.checksums:
        raise InputError(
            f"{file} was converted with another vocabulary, {record.name} of {record.bytes:,} bytes",
            where=vocab,
            do="Pass that one with --vocab",
        )
    return vocab


def visual_order(line: str) -> str:
    """A line of right-to-left text in visual order, with letters not joined.

    A simple replacement for the bidirectional algorithm: reverses everything except Latin words and numbers.
    """
    return "".join(run.translate(_MIRROR) for run in reversed(_RUNS.findall(line)))


_RUNS = re.compile("[A-Za-z0-9#\u0660-\u0669\u06f0-\u06f9]+(?: [A-Za-z0-9]+)*|.[\u064b-\u065f]*", re.DOTALL)
_MIRROR = str.maketrans("{}[]()→", "}{][)(←")
