"""Tasks that the corpus gives for free: which source a line is from, and which emoji was removed from it.

They are made from the held-out part, which no training reads. Lines of one document are all training texts or
all test texts: they share words that tell nothing of other documents.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import re
from array import array
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from qarib_tasks.config.evaluation import EMOJI, FREE_TASKS, SOURCE
from qarib_tasks.labelled.labels import log_labels, named
from qarib_tasks.labelled.task import LabelledPart, LabelledTask

log = logging.getLogger(__name__)
TEST_SHARE = 1 / 3
LEAST_TRAIN, LEAST_TEST = 30, 15  # texts of a label
LEAST_LABELS = {SOURCE: 2, EMOJI: 3}
MOST_LABELS = {SOURCE: 20, EMOJI: 8}
MOST_TEXTS = 3000  # of a task
MOST_TIMES = 4  # as many texts of one label as of another
LEAST_WORDS = 3  # of a text: fewer tell too little
MOST_CHARACTERS = 1000  # of a text: the start of a longer line
# All emoji and others: a single range is found five times as fast.
_MAY_HAVE_EMOJI = re.compile("[\u203c-\U0001faff]")
_SPLIT_SEED = 0x73706C6974  # "split"


@dataclass(frozen=True)
class _Text:
    """Attributes:
    place: a hash of the line. Of too many texts, the first ones are kept.
    """

    place: int
    text: str
    label: str
    is_test: bool


def free_tasks(heldout: Path, sources: Mapping[str, int]) -> list[LabelledTask]:
    """Make the tasks that a held-out part has enough lines for; the log says why another is not made.

    The same held-out part gives the same tasks. Memory grows by some bytes per document.

    Args:
        heldout: the text: one sentence per line, a blank line between documents.
        sources: the number of documents of each source, in the order of the text; empty if not known.
    """
    counts = _counts(heldout)
    documents = len(counts.lines)
    labels = {EMOJI: {label for label, _ in counts.emoji.most_common(MOST_LABELS[EMOJI])}}
    if sum(sources.values()) == documents:
        sizes = _lines_of(sources, counts.lines)
        labels[SOURCE] = {source for source, _ in sizes.most_common(MOST_LABELS[SOURCE])}
    else:
        log.info("%s: no task %s: the manifest does not say which source a line is from", heldout, SOURCE)
        sources = {"": documents}
    texts = _texts(heldout, sources, labels, _are_test(sources, counts.lines))
    tasks = [_task(name, texts[name], heldout) for name in FREE_TASKS if name in labels]
    return [task for task in tasks if task]


@dataclass(frozen=True)
class _Counts:
    """Attributes:
    lines: the number of lines of each document.
    emoji: the number of lines by their only emoji.
    """

    lines: array[int]
    emoji: Counter[str]


def _counts(heldout: Path) -> _Counts:
    lines, emoji = array("Q"), Counter[str]()
    for document, line in _read(heldout):
        if document == len(lines):
            lines.append(0)
        lines[document] += 1
        if found := _without_emoji(line):
            emoji[found[0]] += 1
    return _Counts(lines, emoji)


def _read(heldout: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that is not empty, after the number of its document."""
    document, ended = -1, True
    with heldout.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line := line.rstrip("\n"):
                document += ended
                yield document, line
            ended = not line


def _lines_of(sources: Mapping[str, int], lines: Sequence[int]) -> Counter[str]:
    """Return the number of lines of each source."""
    found, first = Counter[str](), 0
    for source, documents in sources.items():
        found[source] = sum(lines[first : first + documents])
        first += documents
    return +found


def _are_test(sources: Mapping[str, int], lines: Sequence[int]) -> Sequence[bool]:
    """Return whether each document is a test document.

    Of each source, they are the first documents in the order of a hash that have a share of its lines. A
    source with two documents has one in each part.
    """
    import numpy as np

    from qarib_tasks.corpus.sampling import spread

    are_test, first = np.zeros(len(lines), dtype=np.bool_), 0
    for documents in filter(None, sources.values()):
        some = np.arange(first, first + documents)
        some = some[np.argsort(spread(some.astype(np.uint64), _SPLIT_SEED))]
        sizes = np.cumsum(np.array(lines, dtype=np.int64)[some])
        needed = int(np.searchsorted(sizes, TEST_SHARE * sizes[-1])) + 1
        are_test[some[: min(needed, documents - 1)]] = True
        first += documents
    found: list[bool] = are_test.tolist()
    return found


def _texts(
    heldout: Path, sources: Mapping[str, int], labels: Mapping[str, set[str]], are_test: Sequence[bool]
) -> dict[str, list[_Text]]:
    """Return the texts of each task: of each label and part as many as it may have, chosen by a hash."""
    samples: dict[tuple[str, str, bool], _Sample] = defaultdict(_Sample)
    source_of = [*accumulate(sources.values())]
    names = list(sources)
    for document, line in _read(heldout):
        is_test, source = are_test[document], names[bisect(source_of, document)]
        if source in labels.get(SOURCE, ()) and _has_words(line):
            samples[SOURCE, source, is_test].add(line)
        if (found := _without_emoji(line)) and found[0] in labels[EMOJI]:
            samples[EMOJI, found[0], is_test].add(found[1])
    texts: dict[str, list[_Text]] = {name: [] for name in labels}
    for (name, label, is_test), sample in samples.items():
        texts[name] += [_Text(place, text, label, is_test) for place, text in sample.texts()]
    return texts


class _Sample:
    """The texts with the smallest hashes, each once."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []  # negative hashes: the largest is first
        self._places: set[int] = set()

    def add(self, text: str) -> None:
        text = text[:MOST_CHARACTERS]
        place = _hash("text", text)
        if place in self._places:
            return
        if len(self._heap) < MOST_TEXTS // 2:
            heapq.heappush(self._heap, (-place, text))
        elif place < -self._heap[0][0]:
            self._places.discard(-heapq.heapreplace(self._heap, (-place, text))[0])
        else:
            return
        self._places.add(place)

    def texts(self) -> list[tuple[int, str]]:
        return sorted((-negative, text) for negative, text in self._heap)


def _task(name: str, texts: Sequence[_Text], heldout: Path) -> LabelledTask | None:
    texts = _each_once(texts)
    train, test = (Counter(text.label for text in texts if text.is_test == part) for part in (False, True))
    enough = [label for label in train if train[label] >= LEAST_TRAIN and test[label] >= LEAST_TEST]
    # Of more labels, those with the most texts.
    enough = sorted(enough, key=lambda label: (-train[label] - test[label], label))[: MOST_LABELS[name]]
    too_few = {label: count for label, count in (train + test).items() if label not in enough}
    needed = f"at least {LEAST_TRAIN} training and {LEAST_TEST} test texts of different documents"
    if len(enough) < LEAST_LABELS[name]:
        log.info(
            "%s: no task %s: it needs %d labels with %s; %d have them. Texts: %s",
            heldout,
            name,
            LEAST_LABELS[name],
            needed,
            len(enough),
            named(train + test) or "none",
        )
        return None
    if too_few:
        log.info("task %s: leaves out labels that do not have %s: %s", name, needed, named(too_few))
    labels = tuple(sorted(enough))
    parts = [
        _balanced([text for text in texts if text.is_test == part and text.label in enough], size)
        for part, size in ((False, MOST_TEXTS * (1 - TEST_SHARE)), (True, MOST_TEXTS * TEST_SHARE))
    ]
    train_part, test_part = (
        LabelledPart(tuple(text.text for text in part), tuple(labels.index(text.label) for text in part))
        for part in parts
    )
    task = LabelledTask(name=name, metric="macro_f1", labels=labels, train=train_part, test=test_part)
    log_labels(task)
    return task


def _each_once(texts: Sequence[_Text]) -> list[_Text]:
    """Return each text once, in one part, and none that two labels share.

    Texts that differ only by diacritics, punctuation and the like count as the same.
    """
    from qarib_tasks.corpus.deduplication import digest, key_texts

    keys = [digest([key_texts(text.text)[0] or text.text.encode()]) for text in texts]
    labels: dict[int, set[str]] = defaultdict(set)
    for key, text in zip(keys, texts, strict=True):
        labels[key].add(text.label)
    seen = set[int]()
    kept = []
    for key, text in zip(keys, texts, strict=True):
        if len(labels[key]) == 1 and key not in seen:
            seen.add(key)
            kept.append(text)
    return kept


def _balanced(texts: Sequence[_Text], size: float) -> list[_Text]:
    """Return at most `size` texts, and of no label many more than of another, in random order."""
    counts = Counter(text.label for text in texts)
    most = min(int(size / len(counts)), MOST_TIMES * min(counts.values()))
    kept: list[_Text] = []
    for label in counts:
        kept += sorted((t for t in texts if t.label == label), key=lambda text: text.place)[:most]
    # The place tells how frequent the label is.
    return sorted(kept, key=lambda text: _hash("order", text.text))


def _without_emoji(line: str) -> tuple[str, str] | None:
    """Return the emoji of a line, without its skin tone, and the rest; None if it has none or several."""
    if not _MAY_HAVE_EMOJI.search(line):
        return None
    found = {match[1] for match in _emoji_pattern().finditer(line) if match[1]}
    if len(found) != 1:
        return None
    rest = " ".join(_emoji_pattern().sub(" ", line).split())
    return (found.pop(), rest) if _has_words(rest) else None


@cache
def _emoji_pattern() -> re.Pattern[str]:
    from qarib_tasks.corpus import characters

    base, flag, tone = (
        "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
        for ranges in (characters.EMOJI, characters.REGIONAL, characters.SKIN_TONES)
    )
    # A skin tone alone is no label, but says something of the emoji that it was of.
    return re.compile(f"([{base}]|[{flag}]{{2}})[{tone}]*|[{tone}]")


def _has_words(text: str) -> bool:
    return len(text.split(maxsplit=LEAST_WORDS - 1)) >= LEAST_WORDS


def _hash(use: str, text: str) -> int:
    """Return a 64-bit hash of a text; those of different uses are independent."""
    hashed = hashlib.blake2b(text.encode(), digest_size=8, person=use.encode())
    return int.from_bytes(hashed.digest(), "little")
