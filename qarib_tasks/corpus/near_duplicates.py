"""Documents that are nearly the same as an earlier one: MinHash with locality-sensitive hashing.

The signatures are datasketch's (Broder 1997; Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets",
chapter 3), and so is the choice of bands. The buckets are not held in memory, as datasketch's own index does:
a bucket is a key like that of an exact repeat, and is looked for on disk in the same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.corpus.decompression import BLOCK
from qarib_tasks.corpus.deduplication import Bits, digest, key_texts, repeats, unpacked
from qarib_tasks.corpus.sampling import Keys
from qarib_tasks.errors import ConfigError

PERMUTATIONS = 128
SHINGLE = 5  # characters of the key's text
BATCH = 500  # documents whose signatures are made at once
SEED = 1


def near_repeats(texts: Iterable[Path], documents: int, exact: Bits, similarity: float, folder: Path) -> Bits:
    """Which documents are in a bucket with an earlier one; exact repeats are passed over.

    Args:
        texts: files of documents with blank lines between, in order.
        documents: how many there are in all.
        exact: a bit for each exact repeat.
        similarity: Jaccard similarity of the sets of 5-character shingles that counts as near; a pair just so
            similar is found with a probability of about one half, one that is more alike nearly always.
        folder: for the temporary files: 8 bytes a document and band.

    Returns:
        uint8 [ceil(documents / 8)]: a bit a document, as `deduplication.repeats`.

    Raises:
        ConfigError: datasketch is not installed.
    """
    try:
        from datasketch import MinHashLSH
    except ImportError:
        raise ConfigError(
            "finding near repeats needs the package datasketch",
            where="collect.near_duplicates",
            do="Install it (pip install 'qarib[corpus]'), or set near_duplicates to 0",
        ) from None

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    bands, rows = index.b, index.r
    bits = np.zeros_like(exact)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".near-") as name:
        paths = [Path(name) / str(band) for band in range(bands)]
        files = [path.open("wb") for path in paths]
        try:
            first = 0
            for keys in _batches(texts):
                buckets = _buckets(keys, bands, rows)
                # An exact repeat must not make a bucket: a number of its own is nobody's bucket.
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
    """The documents' key texts, some at once."""
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
                    # The beginning of a document of the size of a book tells whether it is another.
                    lines.append(line)
            if lines:
                batch += key_texts("".join(lines))
    if batch:
        yield batch


def _buckets(keys: list[bytes], bands: int, rows: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """uint64 [documents, bands]: the bucket of each document in each band."""
    from datasketch import MinHash

    # The characters are four bytes each.
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
