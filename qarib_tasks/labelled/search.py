"""Finds the documents that contain one of many texts, in one pass and in bounded memory.

At each start of a word, the hash of the next letters is looked up among those at the beginnings of the texts.
Where it is found, the hash of as many letters as the text has decides (Karp & Rabin 1987; sums over all
letters give the hash of any run in one step). Hashes at other words of long texts, looked up at the same
time, show where a document is nearly the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.corpus.deduplication import SHINGLE, key_texts
from qarib_tasks.corpus.sampling import Keys
from qarib_tasks.labelled.letters import END, Codes, Flags, Letters, Places, without_added

LEAST_WORDS, LEAST_LETTERS = 5, 20  # of a text that is searched for inside longer documents
NEAR_SHINGLES = 46  # different ones of a text whose near repeats are searched for: those of 50 letters
SIMILARITY = 0.8  # share of a text's shingles that a near repeat has
MOST_LETTERS = 4096  # of a text that are compared, from its beginning
WINDOW = 12  # letters whose hash is looked up
MOST_ANCHORS = 64  # words of a text at which it is looked up, for near repeats
LEAST_ANCHORS = 0.3  # share of them that a near repeat has
BLOCK = 1 << 20  # bytes of documents that are searched at once
_HASHTAG = re.compile(r"#[^\s#]+")


@dataclass(frozen=True)
class _Table:
    """Sorted hashes, and the row of each in the caller's tables."""

    hashes: Keys
    rows: Places

    @classmethod
    def of(cls, hashes: Keys, rows: Places) -> _Table:
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], rows[order])

    def rows_of(self, hashes: Keys) -> tuple[Places, Places]:
        """Return pairs: the place of a hash in `hashes`, and a row that has it."""
        first = np.searchsorted(self.hashes, hashes, side="left")
        count = np.searchsorted(self.hashes, hashes, side="right") - first
        places = np.repeat(np.arange(len(hashes)), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return places, self.rows[np.repeat(first, count) + within]


@dataclass(frozen=True)
class _Spellings:
    """What is known of some spellings; a row is the number of one of them.

    Attributes:
        lengths: int64 [spellings]: the number of letters that are compared.
        hashes: uint64 [spellings]: of these letters.
        short: bool [spellings].
        beginnings: uint64: the hash of the first letters of each spelling that is not short.
        anchors, anchor_rows, offsets: hashes at words of long spellings, their rows, and where they are.
        near: the letters of each long spelling, by row.
    """

    lengths: Places
    hashes: Keys
    short: Flags
    beginnings: Keys
    anchors: Keys
    anchor_rows: Places
    offsets: Places
    near: dict[int, Codes]

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Spellings:
        letters = Letters(END.join(text.replace(END, " ") for text in texts))
        first, ends = letters.bounds
        complete = ends - first
        words = np.concatenate([[0], np.cumsum(letters.starts)])
        short = (words[ends] - words[first] < LEAST_WORDS) | (complete < LEAST_LETTERS)
        lengths = np.array(
            [_compared(letters, int(at), int(size)) for at, size in zip(first, complete, strict=True)],
            dtype=np.int64,
        )
        rows: list[int] = []
        offsets: list[int] = []
        near = {}
        for row in np.flatnonzero((lengths >= NEAR_SHINGLES) & ~short).tolist():
            start, length = int(first[row]), int(lengths[row])
            codes = letters.codes[start : start + length].copy()
            if len(_shingles(codes)) < NEAR_SHINGLES:  # It repeats a phrase.
                continue
            near[row] = codes
            places = np.flatnonzero(letters.starts[start : start + length - WINDOW + 1])
            if len(places) > MOST_ANCHORS:
                places = places[np.linspace(0, len(places) - 1, MOST_ANCHORS).astype(np.int64)]
            rows += [row] * len(places)
            offsets += places.tolist()
        anchor_rows, places = np.array(rows, dtype=np.int64), np.array(offsets, dtype=np.int64)
        return cls(
            lengths=lengths,
            hashes=letters.hashes(first, lengths),
            short=short,
            beginnings=letters.hashes(first[~short], WINDOW),
            anchors=letters.hashes(first[anchor_rows] + places, WINDOW),
            anchor_rows=anchor_rows,
            offsets=places,
            near=near,
        )


def _shingles(codes: Codes) -> set[bytes]:
    data, size = codes.tobytes(), codes.itemsize
    return {data[at : at + size * SHINGLE] for at in range(0, len(data) - size * (SHINGLE - 1), size)}


def _compared(letters: Letters, start: int, length: int) -> int:
    """Return how many letters of a spelling are compared: those of complete words."""
    if length <= MOST_LETTERS:
        return length
    words = np.flatnonzero(letters.starts[start : start + MOST_LETTERS + 1])
    return int(words[-1]) or MOST_LETTERS


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _joined(parts: Sequence[Any], kind: Any = np.int64) -> Any:
    return np.concatenate([np.zeros(0, dtype=kind), *parts])


class Index:
    """Texts to search for.

    Args:
        variants: the spellings of each text, any of which is the text.

    Attributes:
        short: bool [texts]: texts with so few words or letters that documents must be equal to them, emoji
            included.
        empty: bool [texts]: texts without letters, of which nothing is found.
    """

    def __init__(self, variants: Sequence[Sequence[str]]) -> None:
        spellings = [(text, number) for number, some in enumerate(variants) for text in dict.fromkeys(some)]
        self._owners: Places = np.array([number for _, number in spellings], dtype=np.int64)
        parts = [_Spellings.of(some) for some in _batches([text for text, _ in spellings])]
        rows = np.cumsum([0, *(len(part.lengths) for part in parts)])
        self._lengths = _joined([part.lengths for part in parts])
        self._hashes = _joined([part.hashes for part in parts], np.uint64)
        self._near = {
            int(first) + row: codes
            for first, part in zip(rows, parts, strict=False)
            for row, codes in part.near.items()
        }
        short = _joined([part.short for part in parts], np.bool_)
        self.short: Flags = np.ones(len(variants), dtype=np.bool_)
        self.short[self._owners[~short]] = False
        self.empty: Flags = np.ones(len(variants), dtype=np.bool_)
        self.empty[self._owners[self._lengths > 0]] = False
        equal = np.flatnonzero(short & (self._lengths > 0))
        self._keys = {row: _key(spellings[row][0]) for row in equal.tolist()}
        self._equal = _Table.of(self._hashes[equal], equal)
        self._longest_equal = int(self._lengths[equal].max(initial=0))
        inside = np.flatnonzero(~short)
        self._inside = _Table.of(_joined([part.beginnings for part in parts], np.uint64), inside)
        self._anchor_rows = _joined([part.anchor_rows + row for row, part in zip(rows, parts, strict=False)])
        self._offsets = _joined([part.offsets for part in parts])
        anchors = _joined([part.anchors for part in parts], np.uint64)
        self._anchors = _Table.of(anchors, np.arange(len(anchors)))
        counts = np.bincount(self._anchor_rows, minlength=len(self._lengths))
        self._needed = np.maximum(np.ceil(LEAST_ANCHORS * counts).astype(np.int64), 2)
        # Most words of documents are ruled out by a few bits of their hashes.
        known = np.concatenate([self._inside.hashes, anchors])
        bits = min(max(len(known).bit_length() + 4, 16), 26) if len(known) else 1
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, dtype=np.bool_)
        self._maybe[known >> self._shift] = True

    def found(self, letters: Letters) -> tuple[Places, Places]:
        """Return pairs: a document of `letters`, counted from 0, and a text inside it, or nearly so."""
        starts = np.flatnonzero(letters.starts[: max(len(letters) - WINDOW + 1, 0)])
        hashes = letters.hashes(starts, WINDOW)
        maybe = self._maybe[hashes >> self._shift]
        starts, hashes = starts[maybe], hashes[maybe]
        documents, rows = self._found_inside(letters, starts, hashes)
        near_documents, near_rows = self._found_near(letters, starts, hashes, documents, rows)
        return (
            np.concatenate([documents, near_documents]),
            self._owners[np.concatenate([rows, near_rows])],
        )

    def _found_inside(self, letters: Letters, starts: Places, hashes: Keys) -> tuple[Places, Places]:
        which, rows = self._inside.rows_of(hashes)
        places = starts[which]
        lengths = self._lengths[rows]
        fits = places + lengths <= len(letters)
        places, rows, lengths = places[fits], rows[fits], lengths[fits]
        is_start = np.append(letters.starts, True)
        same = (letters.hashes(places, lengths) == self._hashes[rows]) & is_start[places + lengths]
        return np.searchsorted(letters.ends, places[same]), rows[same]

    def _found_near(
        self, letters: Letters, starts: Places, hashes: Keys, documents: Places, rows: Places
    ) -> tuple[Places, Places]:
        """Find near repeats in documents that have enough of a spelling's anchors in about the right order.

        Args:
            documents, rows: what was found already.
        """
        known = set(zip(documents.tolist(), self._owners[rows].tolist(), strict=True))
        which, anchors = self._anchors.rows_of(hashes)
        rows = self._anchor_rows[anchors]
        shifts = starts[which] - self._offsets[anchors]  # where the text would begin
        documents = np.searchsorted(letters.ends, starts[which])
        order = np.lexsort((shifts, rows, documents))
        documents, rows, shifts = documents[order], rows[order], shifts[order]
        new = np.flatnonzero(np.diff(documents) | np.diff(rows)) + 1
        bounds = np.concatenate([[0], new, [len(rows)]]) if len(rows) else np.zeros(1, dtype=np.int64)
        enough = np.flatnonzero(np.diff(bounds) >= self._needed[rows[bounds[:-1]]])
        found: list[tuple[int, int]] = []
        for group in enough.tolist():
            first, last = int(bounds[group]), int(bounds[group + 1])
            document, row = int(documents[first]), int(rows[first])
            owner = int(self._owners[row])
            if (document, owner) not in known and self._is_near(letters, document, row, shifts[first:last]):
                known.add((document, owner))
                found.append((document, row))
        pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _is_near(self, letters: Letters, document: int, row: int, shifts: Places) -> bool:
        """Whether a document has enough of the spelling's shingles in one place.

        Args:
            shifts: where the spelling would begin, by each of the anchors; sorted.
        """
        first, ends = letters.bounds
        lower, upper, length = int(first[document]), int(ends[document]), int(self._lengths[row])
        slack = max(WINDOW, length // 5)
        for some in np.split(shifts, np.flatnonzero(np.diff(shifts) > slack) + 1):
            if len(some) < self._needed[row]:
                continue
            middle = int(some[len(some) // 2])
            here = letters.codes[max(lower, middle - slack) : min(upper, middle + length + slack)]
            wanted = _shingles(self._near[row])
            if len(wanted & _shingles(here)) >= SIMILARITY * len(wanted):
                return True
        return False

    def equal(self, letters: Letters, documents: Sequence[str]) -> tuple[Places, Places]:
        """Return pairs: a document of `letters`, counted from 0, and a short text that it is.

        Args:
            documents: the text of each.
        """
        first, ends = letters.bounds
        lengths = ends - first
        few = np.flatnonzero((lengths > 0) & (lengths <= self._longest_equal))
        places, rows = self._equal.rows_of(letters.hashes(first[few], lengths[few]))
        found = few[places]
        same = np.array(
            [
                self._keys[row] == _key(documents[number])
                for number, row in zip(found.tolist(), rows.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )
        return found[same], self._owners[rows[same]]


def _key(text: str) -> bytes:
    return key_texts(without_added(text))[0]


@dataclass(frozen=True)
class Block:
    """Documents of a file.

    Attributes:
        text: the documents, with SEPARATOR between them, and after the last one unless it is cut.
        first: the number of the first one in the file.
        continues: whether the first one began in the block before.
        is_cut: whether the last one ends in a later block.
        bytes: the size in the file.
    """

    text: str
    first: int
    continues: bool
    is_cut: bool
    bytes: int

    @cached_property
    def documents(self) -> list[str]:
        return self.text.split(END)

    def is_complete(self, document: int) -> bool:
        """Whether all of a document, counted from 0, is in the block."""
        return not (
            (self.continues and not document) or (self.is_cut and document == len(self.documents) - 1)
        )


def blocks(path: Path) -> Iterator[Block]:
    """Yield the documents of a text file, which are separated by blank lines."""
    first, continues, rest = 0, False, b""
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            rest += data
            # A document that is longer is cut at the end of a line, and never inside a separator.
            end = rest.rfind(b"\n\n") + 2
            is_cut = end < 2
            if is_cut and len(rest) < BLOCK:
                continue  # The last document of the file ends without a blank line.
            if is_cut:
                end = rest.rfind(b"\n", 0, -1) + 1
            if not end:
                continue
            block = Block(rest[:end].decode().replace("\n\n", END), first, continues, is_cut, end)
            rest, first, continues = rest[end:], first + len(block.documents) - 1, is_cut
            yield block
    if rest:
        yield Block(rest.decode().replace("\n\n", END), first, continues, False, len(rest))


def search(index: Index, path: Path) -> Iterator[tuple[Block, Places, Places]]:
    """Search the documents of a text file.

    Yields:
        a block of documents, and pairs, sorted, each once: a document of the block, counted from 0, and a
        text.
    """
    before: Letters | None = None
    for block in blocks(path):
        letters = Letters(block.text, before if block.continues else None)
        before = letters.last(MOST_LETTERS)
        pairs = [_pairs(index.found(letters)), _complete(block, index.equal(letters, block.documents))]
        tagged = [n for n, text in enumerate(block.documents) if "#" in text and block.is_complete(n)]
        if tagged:
            plain = Letters(END.join(_HASHTAG.sub(" ", block.documents[number]) for number in tagged))
            some = _pairs(index.found(plain))
            some[:, 0] = np.array(tagged, dtype=np.int64)[some[:, 0]]
            pairs.append(some)
        found = np.unique(np.concatenate(pairs), axis=0)
        yield block, found[:, 0], found[:, 1]


def _pairs(found: tuple[Places, Places]) -> Places:
    """Return int64 [found, 2]."""
    return np.stack(found, axis=1).astype(np.int64)


def _complete(block: Block, found: tuple[Places, Places]) -> Places:
    """Return the pairs whose documents are complete."""
    pairs = _pairs(found)
    return pairs[[block.is_complete(document) for document in pairs[:, 0].tolist()]]
