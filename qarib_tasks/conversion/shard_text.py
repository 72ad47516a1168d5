"""Read and tokenize a shard of text into documents of lines of wordpiece ids."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qarib_tasks.conversion.tokenizer import Tokenizer, in_units
from qarib_tasks.errors import InputError
from qarib_tasks.storage.files import require_file

BLOCK = 4 << 20
MAX_LINE = 16 << 20
Progress = Callable[[str, float], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ShardText:
    """A shard's wordpieces, without documents and lines that have none.

    Attributes:
        tokens: [wordpieces] int32.
        line_tokens: [lines + 1] int64, the first wordpiece of each line.
        document_lines: [documents + 1] int64, the first line of each document.
        statistics: lines, documents, words, wordpieces, unknown_share, replaced_bytes, dropped_lines.
    """

    tokens: npt.NDArray[np.int32]
    line_tokens: npt.NDArray[np.int64]
    document_lines: npt.NDArray[np.int64]
    statistics: dict[str, Any]


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`map` with threads, a few items ahead of the consumer; results are in the items' order."""
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as executor:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def blocks(path: Path, progress: Progress) -> Iterator[bytes]:
    """The file in pieces of complete lines; the last line gets a line end if it has none.

    Raises:
        InputError: the file is missing or empty, or a line is longer than 16 MB.
    """
    require_file(path)
    size = path.stat().st_size
    if size == 0:
        raise InputError("the shard is empty", where=path)
    lines, done, rest = 1, 0, b""
    with path.open("rb") as file:
        while chunk := file.read(BLOCK):
            head, end, tail = chunk.rpartition(b"\n")
            _check_lines(path, lines, rest, chunk)
            if not end:
                rest += chunk
                continue
            block = rest + head + end
            lines += block.count(b"\n")
            done += len(block)
            yield block
            progress("read", done / size)
            rest = tail
    if rest:
        yield rest + b"\n"


def _check_lines(path: Path, line: int, rest: bytes, chunk: bytes) -> None:
    """Check the line that began before `chunk`; a chunk is smaller than the limit, as are its other lines.

    Raises:
        InputError: the line is too long.
    """
    end = chunk.find(b"\n")
    if len(rest) + (len(chunk) if end < 0 else end) > MAX_LINE:
        raise InputError(
            f"a line longer than {MAX_LINE >> 20} MB",
            where=f"{path}:{line}",
            do="Check the line ends: a line is one sentence or one tweet",
        )


def read_shard(
    path: Path, tokenizer: Tokenizer, threads: int, progress: Progress, *, least: int = 2
) -> ShardText:
    """Read and tokenize a shard.

    Args:
        least: the number of tokens that at least one document must have, 1 or 2.

    Raises:
        InputError: the file is missing or empty, a line is longer than 16 MB, or no document has so many
            tokens.
    """
    from qarib_tasks.conversion.compiled import text

    idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
    size = path.stat().st_size if path.is_file() else 0
    all_counts = [np.zeros(text.COUNTS, np.int64) for _ in range(threads)]
    for counts in all_counts:
        idle.put((tokenizer.new_memory(size), counts))

    def tokenize(block: bytes) -> tuple[Any, Any, Any, bool]:
        memory, counts = idle.get()
        try:
            counts[text.PENDING] = 0
            data, units = in_units(block)
            lines = block.count(b"\n")
            ids, lengths = np.empty(len(data) + 3, np.int32), np.empty(lines, np.int32)
            starts = np.empty(lines, np.uint8)
            made, found = text.read_lines(
                data, units, tokenizer.tables, tokenizer.trie, memory, ids, lengths, starts, counts
            )
            return ids[:made].copy(), lengths[:found], starts[:found], bool(counts[text.PENDING])
        finally:
            idle.put((memory, counts))

    ids, lengths, starts = [], [], []
    pending = True
    for block_ids, block_lengths, block_starts, block_pending in in_order(
        tokenize, blocks(path, progress), threads
    ):
        if len(block_lengths):
            block_starts[0] |= pending
            pending = False
        pending |= block_pending
        ids.append(block_ids)
        lengths.append(block_lengths)
        starts.append(block_starts)
    tokens = np.concatenate(ids)
    line_tokens = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    first_lines = np.flatnonzero(np.concatenate(starts))
    document_lines = np.concatenate([first_lines, [len(line_tokens) - 1]])
    if not len(first_lines) or np.diff(line_tokens[document_lines]).max() < least:
        many = "two tokens" if least > 1 else "a token"
        raise InputError(f"no document in the shard has {many}", where=path)
    total = np.sum(all_counts, axis=0)
    statistics = {
        "lines": int(total[text.LINES]),
        "documents": len(first_lines),
        "words": int(total[text.WORD_COUNT]),
        "wordpieces": len(tokens),
        "unknown_share": round(float(np.mean(tokens == tokenizer.id("[UNK]"))), 6),
        "replaced_bytes": int(total[text.REPLACED_BYTES]),
        "dropped_lines": int(total[text.DROPPED_LINES]),
    }
    return ShardText(tokens, line_tokens, document_lines, statistics)
