"""Build a shard's examples with the same random draws as the reference, and encode them as TFRecords."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qarib_tasks.config.conversion import ConvertConfig, masked_positions
from qarib_tasks.conversion.shard_text import Progress, ShardText, in_order
from qarib_tasks.conversion.tokenizer import Tokenizer

# The number of lines whose examples are built at a time, and of examples that are written at a time. With
# gzip, each written piece is a separate member, so the bytes do not depend on the number of threads.
LINES_AT_A_TIME = 20_000
EXAMPLES_AT_A_TIME = 8_192
GZIP_LEVEL = 1
SAMPLES = 10  # examples in a manifest


def predictions_of(config: ConvertConfig) -> list[int]:
    """The number of masks for each number of wordpieces from 0 to max_seq_length."""
    share, most = config.masked_lm_prob, config.max_predictions_per_seq
    return [masked_positions(length, share, most) for length in range(config.max_seq_length + 1)]


@dataclass(frozen=True)
class Examples:
    """All examples of a shard.

    Attributes:
        order: [examples] int64, the order in which examples are written.
        rows: [examples, 6] int64, see `compiled.instances`.
        mask_starts: [examples] int64, the first mask of each.
        positions: [masks] uint16, the masked positions.
        replacements: [masks] int32, the ids at the masked positions.
        tokens: [wordpieces] int32, the text.
    """

    order: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    mask_starts: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint16]
    replacements: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int32]
    statistics: dict[str, Any]


def build_examples(
    text: ShardText, tokenizer: Tokenizer, config: ConvertConfig, seed: int, progress: Progress
) -> Examples:
    """Build the examples of every document `dupe_factor` times and shuffle them."""
    from qarib_tasks.conversion.compiled import instances
    from qarib_tasks.conversion.compiled.random_numbers import new_generator, shuffle

    generator = new_generator(seed)
    documents = np.arange(len(text.document_lines) - 1, dtype=np.int64)
    shuffle(generator, documents, len(documents))
    predictions = np.array(predictions_of(config), np.int64)
    lines = np.cumsum(np.diff(text.document_lines)[documents])
    ends = _range_ends(lines)
    most = int(max(np.diff([0, *lines[np.array(ends) - 1]])))
    rows = np.empty((most, instances.COLUMNS), np.int64)
    positions = np.empty(most * int(predictions.max()) + 1, np.uint16)
    replacements = np.empty(len(positions), np.int32)
    settings = np.array([config.max_seq_length, tokenizer.id("[MASK]")], np.int64)
    continues = tokenizer.continues if config.do_whole_word_mask else tokenizer.continues[:0]
    counts = np.zeros(3, np.int64)
    parts = []
    for turn in range(config.dupe_factor):
        for first, last in zip([0, *ends], ends, strict=False):
            made, masks = instances.build(
                documents,
                first,
                last,
                text.document_lines,
                text.line_tokens,
                text.tokens,
                continues,
                tokenizer.distinct,
                predictions,
                settings,
                config.short_seq_prob,
                generator,
                rows,
                positions,
                replacements,
                counts,
            )
            parts.append((rows[:made].copy(), positions[:masks].copy(), replacements[:masks].copy()))
            progress("build", (turn + last / len(documents)) / config.dupe_factor)
    all_rows, all_positions, all_replacements = (
        np.concatenate(arrays) for arrays in zip(*parts, strict=True)
    )
    order = np.arange(len(all_rows), dtype=np.int64)
    shuffle(generator, order, len(order))
    mask_counts = all_rows[:, instances.MASKS]
    lengths = all_rows[:, instances.A_LENGTH] + all_rows[:, instances.B_LENGTH] + 3
    random_next = round(float(all_rows[:, instances.RANDOM_NEXT].mean()), 6)
    masked, kept, replaced = (round(float(count) / max(1, int(counts.sum())), 6) for count in counts)
    return Examples(
        order,
        all_rows,
        np.cumsum(mask_counts) - mask_counts,
        all_positions,
        all_replacements,
        text.tokens,
        {
            "examples": len(order),
            "mean_length": round(float(lengths.mean()), 3),
            "next_sentence_shares": {"actual": round(1 - random_next, 6), "random": random_next},
            "predictions": int(counts.sum()),
            "prediction_shares": {"masked": masked, "kept": kept, "random": replaced},
        },
    )


def _range_ends(lines: Any) -> list[int]:
    """The ends of document ranges of about LINES_AT_A_TIME lines; `lines` is the documents' running sum."""
    ends = [0]
    while ends[-1] < len(lines):
        done = lines[ends[-1] - 1] if ends[-1] else 0
        ends.append(max(ends[-1] + 1, int(np.searchsorted(lines, done + LINES_AT_A_TIME, "right"))))
    return ends[1:]


def encode_examples(
    examples: Examples, tokenizer: Tokenizer, config: ConvertConfig, threads: int, progress: Progress
) -> Iterator[bytes]:
    """The bytes of the TFRecord file, piece by piece."""
    from qarib_tasks.conversion.compiled import records

    settings = np.array(
        [
            config.max_seq_length,
            config.max_predictions_per_seq,
            tokenizer.id("[CLS]"),
            tokenizer.id("[SEP]"),
        ],
        np.int64,
    )

    def write(order: Any, out: Any) -> int:
        return records.encode(
            order,
            examples.rows,
            examples.mask_starts,
            examples.tokens,
            examples.positions,
            examples.replacements,
            settings,
            out,
        )

    return encoded(examples.order, write, config, threads, progress)


def encoded(
    order: npt.NDArray[np.int64],
    write: Callable[[Any, Any], int],
    config: ConvertConfig,
    threads: int,
    progress: Progress,
) -> Iterator[bytes]:
    """The bytes of the TFRecord file, piece by piece.

    Args:
        order: [examples] int64, numbers of examples.
        write: writes the records of a part of `order` to an array of bytes, and returns their size.
    """
    from qarib_tasks.conversion.compiled import records

    size = records.largest_record(config.max_seq_length, config.max_predictions_per_seq)

    def piece(first: int) -> Any:
        part = order[first : first + EXAMPLES_AT_A_TIME]
        out = np.empty(len(part) * size, np.uint8)
        data = out[: write(part, out)].data
        return zlib.compress(data, GZIP_LEVEL, wbits=31) if config.compression == "gzip" else data

    firsts = range(0, len(order), EXAMPLES_AT_A_TIME)
    for first, data in zip(firsts, in_order(piece, firsts, threads), strict=True):
        yield data
        progress("write", min(1.0, (first + EXAMPLES_AT_A_TIME) / len(order)))


def evenly_spaced(count: int) -> list[int]:
    """The places of the examples that a manifest shows."""
    return sorted({i * count // SAMPLES for i in range(SAMPLES)})


def readable(ids: Any, positions: Any, labels: Any, entries: Sequence[str]) -> str:
    """The text of an example with joined wordpieces; masked positions are shown as {original→shown}.

    Args:
        ids: the ids after masking, without padding.
        positions, labels: the masked positions, and their original ids.
    """
    original = {int(position): int(label) for position, label in zip(positions, labels, strict=True)}
    text = ""
    before = ""
    for position, shown in enumerate(ids):
        entry = entries[int(shown)]
        was = entries[original[position]] if position in original else entry
        # A part can begin within a word.
        if before in ("[CLS]", "[SEP]") or not was.startswith("##"):
            text += " "
        text += f"{{{was.removeprefix('##')}→{entry}}}" if position in original else was.removeprefix("##")
        before = was
    return text.strip()
