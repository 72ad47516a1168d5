"""Text files of documents, each with a file that has a fixed-size record per document."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, BinaryIO

import numpy as np

from qarib_tasks.corpus.deduplication import SEPARATOR, key_texts

# key: of the document's normalized text, see deduplication.py; bytes: size of its lines, with line feeds;
# lines: number of lines; words: number of space-separated words.
RECORD = np.dtype([("key", "<u8"), ("bytes", "<u8"), ("lines", "<u4"), ("words", "<u4")])
Records = np.ndarray[Any, np.dtype[Any]]
BINS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


def histogram(values: Any) -> dict[str, int]:
    """Count the values of an integer array in each of BINS, by the bin's name ("6-7"), without empty bins."""
    counts, _ = np.histogram(values, bins=[*BINS, np.inf])
    return {bin_name(i): int(count) for i, count in enumerate(counts) if count}


def bin_name(place: int) -> str:
    """Return the name of a bin, such as "6-7"."""
    first = BINS[place]
    if place + 1 == len(BINS):
        return f"{first}+"
    last = BINS[place + 1] - 1
    return str(first) if first == last else f"{first}-{last}"


class DocumentWriter:
    """Writes cleaned lines in the format of `data.txt`, and the records of their documents.

    Attributes:
        documents: number of documents written.
        line_words: histogram of the words per line.
        full: whether `limit` documents have been written.
    """

    def __init__(self, text: BinaryIO, records: BinaryIO, limit: int = 0) -> None:
        self._text = text
        self._records = records
        self._limit = limit
        self._hash: Any = None  # of the document that has not ended
        self._sizes = np.zeros(3, dtype=np.int64)  # its bytes, lines, words
        self._histogram: Counter[str] = Counter()
        self.documents = 0
        self.full = False

    @property
    def line_words(self) -> dict[str, int]:
        return dict(self._histogram)

    def write(self, lines: list[str]) -> int:
        """Write lines; an empty line ends a document.

        Returns:
            the number of bytes written.
        """
        if self.full or not lines:
            return 0
        if not lines[0]:
            self._end()
            self.full = 0 < self._limit <= self.documents
            if self.full:
                return 0
        lines = [line for line, before in zip(lines, ["", *lines[:-1]], strict=True) if line or before]
        if self._limit:
            lines = self._limited(lines)
        ended = bool(lines) and not lines[-1]
        if ended:
            lines = lines[:-1]
        size = self._write(lines) if lines else 0
        if ended:
            self._end()
        self.full = 0 < self._limit <= self.documents
        return size

    def close(self) -> None:
        """End the last document."""
        self._end()

    def _limited(self, lines: list[str]) -> list[str]:
        ends = [i for i, line in enumerate(lines) if not line]
        left = self._limit - self.documents
        return lines[: ends[left - 1] + 1] if len(ends) >= left else lines

    def _write(self, lines: list[str]) -> int:
        """Write lines, the first and last not empty, and never two empty lines in a row."""
        text = "\n".join(lines)
        data = text.encode() + b"\n"
        if self._hash is None and (self.documents or self._text.tell()):
            self._text.write(b"\n")
        self._text.write(data)
        sizes = self._per_document(data)
        keys = key_texts(text.replace("\n\n", chr(SEPARATOR)))
        first, last = 0, len(keys) - 1
        if self._hash is not None:
            self._hash.update(keys[0])
            self._sizes += sizes[0]
            first = 1
            if last:
                self._end()
        if first <= last:
            self._store(
                [_key(hashlib.blake2b(text, digest_size=8)) for text in keys[first:last]], sizes[first:last]
            )
            self._hash = hashlib.blake2b(keys[last], digest_size=8)
            self._sizes = sizes[last]
        return len(data)

    def _per_document(self, data: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return int64 [documents, 3]: bytes, lines and words."""
        octets = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(octets == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        size = ends - starts + 1
        words = np.add.reduceat(octets == ord(" "), starts, dtype=np.int64) + 1
        real = size > 1
        self._histogram.update(histogram(words[real]))
        document = np.cumsum(~real)[real]
        columns = [size[real], np.ones(len(document), dtype=np.int64), words[real]]
        return np.stack(
            [np.bincount(document, weights=column).astype(np.int64) for column in columns], axis=1
        )

    def _end(self) -> None:
        if self._hash is not None:
            self._store([_key(self._hash)], self._sizes[None])
            self._hash = None

    def _store(self, keys: list[int], sizes: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        records = np.empty(len(keys), dtype=RECORD)
        records["key"] = keys
        for i, name in enumerate(("bytes", "lines", "words")):
            records[name] = sizes[:, i]
        self._records.write(records.tobytes())
        self.documents += len(keys)


def _key(hashed: Any) -> int:
    return int.from_bytes(hashed.digest(), "little")
