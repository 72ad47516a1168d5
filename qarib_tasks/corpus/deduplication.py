"""Finds documents that repeat earlier ones, on disk, with bounded memory.

Every document has a 64-bit key of its normalized text. The keys are partitioned by value into files small
enough to be sorted in memory, so that documents with the same key are in the same file (the partitioned hash
join of databases: Kitsuregawa et al. 1983). Among 600 million documents, the probability that two different
ones have the same key is one percent.

Near repeats are found by MinHash with locality-sensitive hashing. The signatures and the choice of bands are
datasketch's (Broder 1997; Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", chapter 3). Unlike
datasketch's index, the buckets are not in memory: a bucket is a 64-bit key, and documents in the same bucket
are found on disk like exact repeats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.corpus.characters import CODE_POINTS, DIACRITICS, TATWEEL, characters
from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.sampling import Keys
from qarib_tasks.errors import ConfigError
from qarib_tasks.storage.files import scratch_folder
from qarib_tasks.storage.working_folder import HIDDEN

PERMUTATIONS = 128  # of a signature
SHINGLE = 5  # characters of the key's text
BATCH = 500  # documents whose signatures are computed at once
SEED = 1
PARTITION_BYTES = 16 << 20  # of keys that are sorted at once
MOST_PARTITIONS = 512
SEPARATOR = 0x1E  # between the keys' texts; a control character, which no text contains
Bits = np.ndarray[Any, np.dtype[np.uint8]]
_PAIR = np.dtype([("key", np.uint64), ("document", np.uint64)])
PUNCTUATION = (
    (0x00, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0xA9),
    (0xAB, 0xB4),
    (0xB6, 0xB9),
    (0xBB, 0xBF),
    (0x60B, 0x60F),
    (0x61B, 0x61F),
    (0x66A, 0x66D),
    (0x6D4, 0x6D4),
    (0x2000, 0x206F),
    (0x3000, 0x3020),
    (0xFD3E, 0xFD3F),
)


@cache
def key_table() -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return uint32 [0x110000]: the code point for each one in a key's text; 0 for none."""
    table = np.arange(CODE_POINTS, dtype=np.uint32)
    for char in characters((*PUNCTUATION, *DIACRITICS)):
        table[ord(char)] = 0
    table[ord(TATWEEL)] = 0
    table[ord("A") : ord("Z") + 1] = np.arange(ord("a"), ord("z") + 1)
    table[SEPARATOR] = SEPARATOR
    return table


def key_texts(text: str) -> list[bytes]:
    """Return the normalized text of each document; documents with equal ones count as the same.

    It ignores diacritics, tatweel, punctuation, spaces, line ends, and the case of A to Z.

    Args:
        text: documents, separated by SEPARATOR.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    kept = key_table()[codes]
    kept = kept[kept != 0]
    ends = np.append(np.flatnonzero(kept == SEPARATOR), len(kept))
    data, starts = kept.tobytes(), np.concatenate([[0], ends[:-1] + 1])
    return [data[start:end] for start, end in zip((starts * 4).tolist(), (ends * 4).tolist(), strict=True)]


def digest(data: Iterable[bytes]) -> int:
    """Return the 64-bit key of a document from its key text, which is in pieces."""
    result = hashlib.blake2b(digest_size=8)
    for piece in data:
        result.update(piece)
    return int.from_bytes(result.digest(), "little")


def repeats(keys: Iterator[Keys], documents: int, folder: Path) -> Bits:
    """Find the documents that have the key of an earlier one.

    Args:
        keys: the documents' keys in order, in pieces.
        documents: total number of documents.
        folder: for temporary files, 16 bytes per document.

    Returns:
        uint8 [ceil(documents / 8)]: a bit per document, as from `numpy.packbits` with bitorder "little".
    """
    bits = np.zeros((documents + 7) // 8, dtype=np.uint8)
    count = 1
    while count < MOST_PARTITIONS and count * PARTITION_BYTES < documents * _PAIR.itemsize:
        count *= 2
    with scratch_folder(folder, f"{HIDDEN}repeats-") as scratch:
        paths = [scratch / str(number) for number in range(count)]
        _partition(keys, paths)
        for path in paths:
            _mark(path, bits)
            path.unlink()
    return bits


def _partition(keys: Iterator[Keys], paths: list[Path]) -> None:
    # The low bits choose the partition; a function of all bits chooses the held-out part.
    mask = np.uint64(len(paths) - 1)
    first = 0
    files = [path.open("wb") for path in paths]
    try:
        for piece in keys:
            pairs = np.empty(len(piece), dtype=_PAIR)
            pairs["key"] = piece
            pairs["document"] = np.arange(first, first + len(piece), dtype=np.uint64)
            first += len(piece)
            partition = (piece & mask).astype(np.int64)
            pairs = pairs[np.argsort(partition, kind="stable")]
            ends = np.cumsum(np.bincount(partition, minlength=len(paths)))
            for file, start, end in zip(files, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                file.write(pairs[start:end].tobytes())
    finally:
        for file in files:
            file.close()


def _mark(path: Path, bits: Bits) -> None:
    pairs = np.fromfile(path, dtype=_PAIR)
    order = np.argsort(pairs["key"], kind="stable")
    keys = pairs["key"][order]
    again = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    places = pairs["document"][order[again]]
    marks = np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)
    np.bitwise_or.at(bits, (places >> np.uint64(3)).astype(np.int64), marks)


def unpacked(bits: Bits, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return bool [count]: the bits of the documents from `first` on."""
    start = first // 8
    some = np.unpackbits(bits[start : (first + count + 7) // 8], bitorder="little")
    return some[first - start * 8 :][:count].astype(np.bool_)


def near_repeats(texts: Iterable[Path], documents: int, exact: Bits, similarity: float, folder: Path) -> Bits:
    """Find the documents that are in a bucket with an earlier one; exact repeats are ignored.

    Args:
        texts: files of documents separated by blank lines, in order.
        documents: total number of documents.
        exact: a bit for each exact repeat.
        similarity: Jaccard similarity of the sets of 5-character shingles that counts as near. A pair with
            exactly this similarity is found with a probability of about one half, a more similar one nearly
            always.
        folder: for temporary files, 8 bytes per document and band.

    Returns:
        uint8 [ceil(documents / 8)]: a bit per document, as from `repeats`.

    Raises:
        ConfigError: datasketch is not installed.
    """
    try:
        from datasketch import MinHashLSH
    except ImportError:
        raise ConfigError(
            "near_duplicates needs the package datasketch",
            where="collect.near_duplicates",
            do="Install it (pip install 'qarib[corpus]'), or set near_duplicates to 0",
        ) from None

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    bands, rows = index.b, index.r
    bits = np.zeros_like(exact)
    with scratch_folder(folder, f"{HIDDEN}near-") as scratch:
        paths = [scratch / str(band) for band in range(bands)]
        files = [path.open("wb") for path in paths]
        try:
            first = 0
            for keys in _batches(texts):
                buckets = _buckets(keys, bands, rows)
                # An exact repeat must not be in a bucket with other documents: it gets its number as bucket.
                repeat = unpacked(exact, first, len(keys))
                buckets[repeat] = (np.arange(first, first + len(keys), dtype=np.uint64)[repeat])[:, None]
                for file, column in zip(files, buckets.T, strict=True):
                    file.write(np.ascontiguousarray(column).tobytes())
                first += len(keys)
        finally:
            for file in files:
                file.close()
        for path in paths:
            bits |= repeats(_keys(path), documents, folder)
            path.unlink()
    return bits & ~exact


def _batches(texts: Iterable[Path]) -> Iterator[list[bytes]]:
    """Yield the documents' key texts in batches."""
    batch: list[bytes] = []
    for path in texts:
        with path.open(encoding="utf-8") as file:
            lines: list[str] = []
            for line in file:
                if line == "\n":
                    batch += key_texts("".join(lines))
                    lines = []
                    if len(batch) >= BATCH:
                        yield batch
                        batch = []
                elif sum(map(len, lines)) < BLOCK:
                    # For a document as long as a book, compare only its beginning.
                    lines.append(line)
            if lines:
                batch += key_texts("".join(lines))
    if batch:
        yield batch


def _buckets(keys: list[bytes], bands: int, rows: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return uint64 [documents, bands]: the bucket of each document in each band."""
    from datasketch import MinHash

    # Each character has four bytes.
    shingles = (
        {key[at : at + 4 * SHINGLE] for at in range(0, max(4, len(key) - 4 * (SHINGLE - 1)), 4)}
        for key in keys
    )
    signatures = MinHash.bulk(shingles, num_perm=PERMUTATIONS, seed=SEED)
    buckets = np.empty((len(keys), bands), dtype=np.uint64)
    for row, signature in zip(buckets, signatures, strict=True):
        values = signature.hashvalues
        for band in range(bands):
            row[band] = digest([values[band * rows : (band + 1) * rows].tobytes()])
    return buckets


def _keys(path: Path) -> Iterator[Keys]:
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            yield np.frombuffer(data, dtype=np.uint64)
