"""The labels of a task: the spellings of one label, and what is wrong with them."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

from qarib_tasks.labelled.task import LabelledTask

log = logging.getLogger(__name__)
MOST_NAMED = 20
# Fillers, selectors of variants, and the empty pattern of Braille; by category, they are letters and signs.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)


def label_key(label: str) -> str:
    """Return what labels share that differ only by spaces, case, or characters that are not seen."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    return "".join(filter(is_seen, plain))


def is_seen(character: str) -> bool:
    """Return whether a character is neither a space nor one that is not shown."""
    if character.isspace() or unicodedata.category(character) == "Cf":
        return False
    return not _UNSEEN.match(character)


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
