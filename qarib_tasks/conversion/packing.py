"""Pack a shard's documents into rows without masks, and encode the rows as TFRecords.

A row holds as many documents as fit, each with its own [CLS] and [SEP], as a text has them at inference.
`segment_ids` numbers the documents of a row from 1; padding has 0. All other features are those of
`examples`, without masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.examples import encoded, evenly_spaced, readable
from qarib_tasks.conversion.shard_text import Progress, ShardText
from qarib_tasks.conversion.tokenizer import Tokenizer


@dataclass(frozen=True)
class Rows:
    """All rows of a shard.

    Attributes:
        order: [rows] int64, the order in which rows are written.
        firsts: [rows + 1] int64, the first piece of each row, and the number of pieces.
        pieces: [pieces, 2] int64, first token and number of tokens of each piece, in the order of the rows.
        tokens: [wordpieces] int32, the text.
    """

    order: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    pieces: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int32]
    statistics: dict[str, Any]


def pack_rows(text: ShardText, config: ConvertConfig, seed: int, progress: Progress) -> Rows:
    """Cut long documents into pieces, place the pieces into rows and shuffle the rows."""
    from qarib_tasks.conversion.compiled import packing
    from qarib_tasks.conversion.compiled.random_numbers import new_generator, shuffle

    width = config.max_seq_length
    document_tokens = text.line_tokens[text.document_lines]
    most = int((-(-np.diff(document_tokens) // (width - packing.MARKS))).sum())
    pieces, firsts = np.empty((most, 2), np.int64), np.empty(most + 1, np.int64)
    count = packing.pack(document_tokens, width, packing.WINDOW, pieces, firsts)
    progress("build", 1.0)
    order = np.arange(count, dtype=np.int64)
    shuffle(new_generator(seed), order, count)
    filled = len(text.tokens) + packing.MARKS * most
    return Rows(
        order,
        firsts[: count + 1],
        pieces,
        text.tokens,
        {
            "examples": count,
            "pieces": most,
            "mean_length": round(filled / count, 3),
            "packing_efficiency": round(filled / (count * width), 6),
        },
    )


def encode_rows(
    rows: Rows, tokenizer: Tokenizer, config: ConvertConfig, threads: int, progress: Progress
) -> Iterator[bytes]:
    """The bytes of the TFRecord file, piece by piece."""
    from qarib_tasks.conversion.compiled import packing

    special = [tokenizer.id(token) for token in ("[CLS]", "[SEP]")]
    settings = np.array([config.max_seq_length, config.max_predictions_per_seq, *special], np.int64)

    def write(order: Any, out: Any) -> int:
        return packing.encode(order, rows.firsts, rows.pieces, rows.tokens, settings, out)

    return encoded(rows.order, write, config, threads, progress)


def row_samples(rows: Rows, tokenizer: Tokenizer, config: ConvertConfig) -> list[dict[str, Any]]:
    """Readable rows, evenly spaced over the file."""
    from qarib_tasks.conversion.compiled import packing

    samples = []
    ids, numbers = np.zeros((2, config.max_seq_length), np.int64)
    special = [tokenizer.id(token) for token in ("[CLS]", "[SEP]")]
    for place in evenly_spaced(len(rows.order)):
        row = rows.order[place]
        length = packing.fill_row(
            row, rows.firsts, rows.pieces, rows.tokens, special[0], special[1], ids, numbers
        )
        samples.append(
            {
                "example": place,
                "documents": int(rows.firsts[row + 1] - rows.firsts[row]),
                "text": readable(ids[:length], (), (), tokenizer.entries),
            }
        )
    return samples


def summary(statistics: Mapping[str, Any]) -> str:
    """What a shard became, for a log line."""
    return (
        f"{statistics['documents']:,} documents of {statistics['wordpieces']:,} wordpieces, in "
        f"{statistics['pieces']:,} pieces, packed into {statistics['examples']:,} rows, which are "
        f"{100 * statistics['packing_efficiency']:.1f}% full"
    )
