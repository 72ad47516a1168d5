"""The labels of a task: the spellings of one label, and what is wrong with them."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

from qarib_tasks.labelled.task import LabelledTask

log = logging.getLogger(__name__)
MOST_NAMED = 20


def label_key(label: str) -> str:
    """Return what labels share that differ only by spaces, case, or characters that are not seen."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    return "".join(char for char in plain if not char.isspace() and unicodedata.category(char) != "Cf")


def merged_labels(counts: Mapping[str, int], where: str) -> dict[str, str]:
    """Return the label that each spelling stands for: the most frequent one, of equal ones the first.

    Spellings of one label are named in a warning.

    Args:
        counts: the number of texts of each spelling.
        where: for the warning.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        spellings[label_key(label)].append(label)
    chosen: dict[str, str] = {}
    for some in spellings.values():
        label = max(some, key=lambda one: counts[one])
        chosen |= dict.fromkeys(some, label)
        if len(some) > 1:
            log.warning(
                "%s: the labels %s differ only by spaces or case, and are read as %r",
                where,
                named({one: counts[one] for one in some}),
                label,
            )
    return chosen


def named(counts: Mapping[str, int]) -> str:
    """Return labels with their numbers of texts, for a message."""
    shown = [f"{label!r} ({count:,})" for label, count in Counter(counts).most_common(MOST_NAMED)]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} others" if rest else "")


def log_labels(task: LabelledTask) -> None:
    """Log the labels of a task and their numbers of texts."""
    train, test = task.counts(task.train), task.counts(task.test)
    smallest = min(train, key=lambda label: train[label])
    log.info(
        "task %s: %d labels, %s training texts: %s; %s test texts: %s; smallest class %r with %s and %s",
        task.name,
        len(task.labels),
        f"{len(task.train):,}",
        named(train),
        f"{len(task.test):,}",
        named(test),
        smallest,
        f"{train[smallest]:,}",
        f"{test[smallest]:,}",
    )
