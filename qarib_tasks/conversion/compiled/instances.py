# mypy: disable-error-code="no-any-return"
"""The instance builder of google-research/bert's create_pretraining_data.py, with the same random draws.

An example's two parts are ranges of the shard's tokens. An example is stored as these ranges, its masked
positions, and the ids at these positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qarib_tasks.conversion.compiled import compiled, int64
from qarib_tasks.conversion.compiled.random_numbers import next_below, next_float, next_half, shuffle

# Columns of an example's row: first token and number of tokens of both parts, next-sentence label (1 =
# random), and the number of its masks.
A_START, A_LENGTH, B_START, B_LENGTH, RANDOM_NEXT, MASKS = range(6)
COLUMNS = 6
# Places in `counts`: how the masked tokens were replaced.
MASKED, KEPT, REPLACED = range(3)


@compiled
def build(
    documents: Any,
    first: int,
    last: int,
    document_lines: Any,
    line_tokens: Any,
    tokens: Any,
    continues: Any,
    distinct: Any,
    predictions: Any,
    settings: Any,
    short_seq_prob: float,
    generator: Any,
    rows: Any,
    positions: Any,
    replacements: Any,
    counts: Any,
) -> tuple[int, int]:
    """Build the examples of `documents[first:last]`.

    Args:
        documents: [documents] int64, the shuffled numbers of the documents.
        document_lines: [documents + 1] int64, first line of each document.
        line_tokens: [lines + 1] int64, first token of each line.
        tokens: [tokens] int32, ids.
        continues: [vocabulary] bool, if an entry continues a word ("##"); empty without whole word masking.
        distinct: [distinct entries] int32, the ids that a random word is drawn from.
        predictions: [max_seq_length + 1] int64, number of masks for each number of tokens.
        settings: [2] int64: max_seq_length, id of [MASK].
        generator: see `random_numbers`.
        rows: [≥ lines of these documents, COLUMNS] int64, written.
        positions, replacements: [> rows * most predictions] uint16 and int32, written.
        counts: [3] int64, added to.

    Returns:
        the number of examples and the number of masks.
    """
    max_tokens = settings[0] - 3
    order = np.empty(settings[0], np.int64)
    starts = np.empty(settings[0] + 1, np.int64)
    chosen = np.full(settings[0], -1, np.int64)
    made = 0
    masks = 0
    for index in range(first, last):
        document = documents[index]
        line_end = document_lines[document + 1]
        target = max_tokens
        if next_float(generator) < short_seq_prob:
            target = 2 + next_below(generator, max_tokens - 1)
        chunk = document_lines[document]
        i = chunk
        while i < line_end:
            if i == line_end - 1 or line_tokens[i + 1] - line_tokens[chunk] >= target:
                lines = i + 1 - chunk
                a_end = 1
                if lines >= 2:
                    a_end = 1 + next_below(generator, lines - 1)
                a_start = line_tokens[chunk]
                a_stop = line_tokens[chunk + a_end]
                random_next = lines == 1 or next_float(generator) < 0.5
                if random_next:
                    other = 0
                    for _ in range(10):
                        other = next_below(generator, len(documents))
                        if other != index:
                            break
                    other_first = document_lines[documents[other]]
                    other_end = document_lines[documents[other] + 1]
                    line = other_first + next_below(generator, other_end - other_first)
                    b_start = line_tokens[line]
                    wanted = target - (a_stop - a_start)
                    line += 1
                    while line < other_end and line_tokens[line] - b_start < wanted:
                        line += 1
                    b_stop = line_tokens[line]
                    # The lines meant for the second part are used again.
                    i -= lines - a_end
                else:
                    b_start = a_stop
                    b_stop = line_tokens[i + 1]
                # Without branches, half of which would be mispredicted.
                for _ in range((a_stop - a_start) + (b_stop - b_start) - max_tokens):
                    front = next_half(generator)
                    longer = int64(a_stop - a_start > b_stop - b_start)
                    a_start += longer & front
                    a_stop -= longer & (1 - front)
                    b_start += (1 - longer) & front
                    b_stop -= (1 - longer) & (1 - front)
                row = rows[made]
                row[A_START] = a_start
                row[A_LENGTH] = a_stop - a_start
                row[B_START] = b_start
                row[B_LENGTH] = b_stop - b_start
                row[RANDOM_NEXT] = random_next
                count = _mask(
                    row,
                    tokens,
                    continues,
                    distinct,
                    predictions,
                    settings,
                    generator,
                    order,
                    starts,
                    chosen,
                    positions[masks:],
                    replacements[masks:],
                    counts,
                )
                row[MASKS] = count
                masks += count
                made += 1
                chunk = i + 1
            i += 1
    return made, masks


@compiled
def _mask(
    row: Any,
    tokens: Any,
    continues: Any,
    distinct: Any,
    predictions: Any,
    settings: Any,
    generator: Any,
    order: Any,
    starts: Any,
    chosen: Any,
    positions: Any,
    replacements: Any,
    counts: Any,
) -> int:
    """Choose the masked positions of one example and write them in ascending order.

    Candidate c is the positions from starts[c] to the next candidate's, without [SEP].
    """
    a_length = row[A_LENGTH]
    length = a_length + row[B_LENGTH] + 3
    separator = a_length + 1
    a_shift = row[A_START] - 1
    b_shift = row[B_START] - separator - 1
    candidates = 0
    whole_words = len(continues) > 0
    for position in range(1, length - 1):
        if position == separator:
            continue
        if whole_words and candidates > 0:
            shift = a_shift if position < separator else b_shift
            if continues[tokens[position + shift]]:
                continue
        starts[candidates] = position
        order[candidates] = candidates
        candidates += 1
    starts[candidates] = length - 1
    shuffle(generator, order, candidates)
    wanted = predictions[length]
    count = 0
    for c in range(candidates):
        if count >= wanted:
            break
        start = starts[order[c]]
        stop = starts[order[c] + 1]
        size = stop - start
        if start < separator < stop:
            size -= 1
        if count + size > wanted:
            continue
        for position in range(start, stop):
            if position == separator:
                continue
            if next_float(generator) < 0.8:
                replacement = settings[1]
                counts[MASKED] += 1
            elif next_float(generator) < 0.5:
                replacement = int64(tokens[position + (a_shift if position < separator else b_shift)])
                counts[KEPT] += 1
            else:
                replacement = int64(distinct[next_below(generator, len(distinct))])
                counts[REPLACED] += 1
            chosen[position] = replacement
            count += 1
    at = 0
    for position in range(1, length - 1):
        # Written at each position and kept at the chosen ones.
        positions[at] = position
        replacements[at] = chosen[position]
        at += int64(chosen[position] >= 0)
        chosen[position] = -1
    return count
