# mypy: disable-error-code="no-any-return"
"""Place pieces of documents into rows of a fixed length, best fit first, and encode the rows as TFRecords.

A piece is a range of the shard's tokens. In its row, it is a document of its own: [CLS], the piece, [SEP].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qarib_tasks.conversion.compiled import compiled
from qarib_tasks.conversion.compiled.records import (
    INPUT_IDS,
    INPUT_MASK,
    LABELS,
    NEXT,
    POSITIONS,
    PREFIX,
    SEGMENT_IDS,
    WEIGHTS,
    begin,
    fill,
    finish,
    head,
    id_size,
    put_ids,
)

# Pieces to choose from, which bounds how far a piece is placed from its neighbours in the text.
WINDOW = 4_096
# Columns of a piece.
START, LENGTH = range(2)
# [CLS] and [SEP].
MARKS = 2


@compiled
def _best(heads: Any, following: Any, most: int, fill_up: bool) -> int:
    """The length of the best piece of at most `most` tokens; 0 or less if there is none.

    Args:
        fill_up: prefer one of two pieces that together fill the row.
    """
    if most <= 0:
        return 0
    if fill_up and heads[most] < 0:
        both = most - MARKS
        for length in range(both - 1, (both - 1) // 2, -1):
            first, second = heads[length], heads[both - length]
            if first >= 0 and second >= 0 and (first != second or following[first] >= 0):
                return length
    while most > 0 and heads[most] < 0:
        most -= 1
    return most


@compiled
def pack(document_tokens: Any, width: int, window: int, pieces: Any, firsts: Any) -> int:
    """Cut documents into pieces and place these into rows.

    A row takes the longest piece of the window, and then in each turn one piece or two that fill the row or,
    if there are none, the longest that still fits. Pieces of the same length are taken in the order of the
    text. After each row, the window is filled up.

    Args:
        document_tokens: [documents + 1] int64, the first token of each document.
        width: the length of a row.
        window: the number of pieces to choose from.
        pieces: [pieces, 2] int64, written: the pieces in the order of the rows.
        firsts: [≥ pieces + 1] int64, written: the first piece of each row, and the number of pieces.

    Returns:
        the number of rows.
    """
    longest = width - MARKS
    # A queue of places in the window for each length, and the places that are free.
    heads = np.full(longest + 1, -1, np.int64)
    tails = np.full(longest + 1, -1, np.int64)
    following = np.full(window, -1, np.int64)
    starts = np.empty(window, np.int64)
    free = np.arange(window)
    held = 0
    document = 0
    at = document_tokens[0]
    made = 0
    rows = 0
    while True:
        while held < window and document < len(document_tokens) - 1:
            length = min(longest, document_tokens[document + 1] - at)
            if length > 0:
                place = free[held]
                held += 1
                starts[place] = at
                following[place] = -1
                if heads[length] < 0:
                    heads[length] = place
                else:
                    following[tails[length]] = place
                tails[length] = place
                at += length
            if at == document_tokens[document + 1]:
                document += 1
        firsts[rows] = made
        if held == 0:
            return rows
        room = width
        while True:
            length = _best(heads, following, room - MARKS, room < width)
            if length <= 0:
                break
            place = heads[length]
            heads[length] = following[place]
            held -= 1
            free[held] = place
            pieces[made, START] = starts[place]
            pieces[made, LENGTH] = length
            made += 1
            room -= length + MARKS
        rows += 1


@compiled
def fill_row(
    row: int,
    firsts: Any,
    pieces: Any,
    tokens: Any,
    classification: int,
    separator: int,
    ids: Any,
    numbers: Any,
) -> int:
    """Write a row's ids, and for each of them the number of its document, from 1; returns the length."""
    at = 0
    for piece in range(firsts[row], firsts[row + 1]):
        number = piece - firsts[row] + 1
        begun = at
        ids[at] = classification
        at += 1
        for token in range(pieces[piece, START], pieces[piece, START] + pieces[piece, LENGTH]):
            ids[at] = tokens[token]
            at += 1
        ids[at] = separator
        at += 1
        fill(numbers, begun, at - begun, number)
    return at


@compiled
def encode(order: Any, firsts: Any, pieces: Any, tokens: Any, settings: Any, out: Any) -> int:
    """Write the records of the rows in `order` to `out`.

    Args:
        order: [records] int64, numbers of rows.
        firsts, pieces: see `pack`.
        settings: [4] int64: max_seq_length, max_predictions_per_seq, ids of [CLS] and [SEP].
        out: [≥ records * largest_record] uint8.

    Returns:
        the number of bytes written.
    """
    width = settings[0]
    predictions = settings[1]
    ids = np.empty(width, np.int64)
    numbers = np.empty(width, np.int64)
    sizes = np.empty(7, np.int64)
    at = 0
    for row in order:
        length = fill_row(row, firsts, pieces, tokens, settings[2], settings[3], ids, numbers)
        sizes[INPUT_IDS] = width - length
        sizes[SEGMENT_IDS] = width - length
        for i in range(length):
            sizes[INPUT_IDS] += id_size(ids[i])
            sizes[SEGMENT_IDS] += id_size(numbers[i])
        sizes[INPUT_MASK] = width
        sizes[POSITIONS] = predictions
        sizes[LABELS] = predictions
        sizes[WEIGHTS] = 4 * predictions
        sizes[NEXT] = 1
        record = at + PREFIX
        at = begin(out, at, sizes)
        at = head(out, at, INPUT_IDS, sizes[INPUT_IDS])
        at = put_ids(out, at, ids[:length])
        at = fill(out, at, width - length, 0)
        at = head(out, at, INPUT_MASK, width)
        at = fill(out, at, length, 1)
        at = fill(out, at, width - length, 0)
        at = head(out, at, SEGMENT_IDS, sizes[SEGMENT_IDS])
        at = put_ids(out, at, numbers[:length])
        at = fill(out, at, width - length, 0)
        for feature in (POSITIONS, LABELS, WEIGHTS, NEXT):
            at = head(out, at, feature, sizes[feature])
            at = fill(out, at, sizes[feature], 0)
        at = finish(out, at, record)
    return at
