"""A labelled task that was read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from qarib_tasks.config.evaluation import Metric


@dataclass(frozen=True)
class LabelledPart:
    """Texts and their labels.

    The order is that of a hash of the texts: the first of them are a random sample of all.

    Attributes:
        labels: indices into the labels of the task.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> LabelledPart:
        """Return a random sample: the first texts."""
        return LabelledPart(self.texts[:count], self.labels[:count])


@dataclass(frozen=True)
class LabelledTask:
    """Attributes:
    labels: sorted.
    positive, negative: the labels of the metric f1_pn; otherwise empty.
    left_out: the number of records that are in neither part, by the reason.
    """

    name: str
    metric: Metric
    labels: tuple[str, ...]
    train: LabelledPart
    test: LabelledPart
    positive: str = ""
    negative: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)

    def counts(self, part: LabelledPart) -> dict[str, int]:
        """Return the number of texts of each label."""
        found = Counter(part.labels)
        return {label: found[number] for number, label in enumerate(self.labels)}
