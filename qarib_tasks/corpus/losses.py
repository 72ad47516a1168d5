"""What a corpus has lost between its sources and its text: by which rule, which share, and what to set.

Everything is from the statistics in a corpus's manifest. Those of an earlier version have no sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.counting import counted

MOST_LOST = 0.1  # of the bytes, to one rule, without a warning
MOST_REPEATED = 0.4  # repeats are removed on purpose; more than this can be text that is read twice
MOST_TESTED = 0.05  # test texts that so many documents contain may be common phrases
REPEATS = ("duplicates", "near_duplicates")
TESTED = "test_texts"
# What the user selects with a share is no surprise.
_DOCUMENT_RULES = (*REPEATS, "outside_share", TESTED)
_AT_MOST = {**dict.fromkeys(REPEATS, MOST_REPEATED), TESTED: MOST_TESTED}
_HOW = {
    "duplicates": "dropped as duplicates",
    "near_duplicates": "dropped as near-duplicates",
    "outside_share": "outside the share",
    TESTED: "left out because they contain test texts",
    "empty": "empty after cleaning",
    "unstable": "dropped because cleaning never stops changing them",
}
_FIGURES = {
    "left_out_files": ("file", "left out"),
    "skipped": ("record", "skipped"),
    "empty_records": ("record", "without text"),
    "undecodable_bytes": ("undecodable byte", "replaced"),
    "replaced_characters": ("undecodable character", "replaced"),
}
_MOST_NAMED = 3  # files with the same warning


@dataclass(frozen=True)
class Loss:
    """What one rule dropped.

    Attributes:
        rule: a cleaning rule, `empty`, `unstable`, `duplicates`, `near_duplicates`, `outside_share`, or
            `test_texts`.
        number: of lines, sentences or documents; `unit` says which.
        total: the number of them before; None if it is unknown.
        share: of the text's bytes; None if it is unknown.
    """

    rule: str
    number: int
    unit: str
    total: int | None
    share: float | None

    def __str__(self) -> str:
        size = "" if self.share is None else f" ({percent(self.share)} of the bytes)"
        return f"{self.of_total()}{size} {_HOW.get(self.rule, f'dropped by {self.rule}')}"

    def of_total(self) -> str:
        """Return the number, such as "3 of 12 lines"."""
        unit = self.unit.removesuffix("s")
        return (
            counted(self.number, unit)
            if self.total is None
            else f"{self.number:,} of {counted(self.total, unit)}"
        )


def losses(figures: Mapping[str, Any]) -> list[Loss]:
    """Return what each rule dropped, the largest loss first.

    Args:
        figures: the statistics of a corpus or of one of its sources.
    """
    sizes: Mapping[str, int] = figures.get("dropped_bytes") or {}
    size = figures.get("text_bytes")
    lines, unit = figures.get("text_lines"), "lines"
    changed: Mapping[str, int] = figures.get("changed") or {}
    if changed.get("sentences") and lines is not None:
        lines, unit = lines + changed["sentences"], "sentences"
    elif lines and lines == figures.get("text_documents"):
        unit = "documents"
    dropped: dict[str, int] = dict(figures.get("dropped") or {})
    found = [(rule, number, unit, lines) for rule, number in dropped.items()]
    documents = figures.get("documents_read")
    found += [(rule, figures.get(rule, 0), "documents", documents) for rule in _DOCUMENT_RULES]
    result = [
        Loss(rule, number, what, total, min(sizes[rule] / size, 1.0) if size and rule in sizes else None)
        for rule, number, what, total in found
        if number
    ]
    return sorted(result, key=lambda loss: (-(loss.share or 0), -loss.number, loss.rule))


def summary(figures: Mapping[str, Any]) -> str:
    """Return one line on everything that was dropped, skipped or replaced; empty if nothing was."""
    parts = [str(loss) for loss in losses(figures)]
    parts += [
        f"{counted(number, noun)} {what}"
        for name, (noun, what) in _FIGURES.items()
        if (number := figures.get(name))
    ]
    return "; ".join([*parts, *_of_tasks(figures)])


def _of_tasks(figures: Mapping[str, Any]) -> list[str]:
    """Return a phrase on the test texts of each labelled task."""
    tasks: Mapping[str, Mapping[str, Any]] = figures.get("tasks") or {}
    return [
        f"task {name}: {counted(task['documents'], 'document')} with test texts"
        + (
            f" ({task['short']:,} of {counted(task['texts'], 'test text')} are too short to be searched for "
            "inside longer documents)"
            if task["short"]
            else ""
        )
        for name, task in tasks.items()
    ]


def warnings(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return what is doubtful about files, and each rule that lost more than a tenth of a source's bytes.

    Args:
        figures: the statistics of a corpus.
        settings: its configuration, as in its manifest.

    Returns:
        texts with the names of settings in backticks.
    """
    sources: Mapping[str, Mapping[str, Any]] = figures.get("sources") or {}
    result = warnings_of_files(sources)
    for loss in losses(figures):
        at_most = _AT_MOST.get(loss.rule, MOST_LOST)
        large = {
            name: each.share
            for name, source in sources.items()
            for each in losses(source)
            if each.rule == loss.rule and each.share is not None and each.share > at_most
        }
        if loss.rule == "outside_share" or not (large or (loss.share or 0) > at_most):
            continue
        if loss.rule in REPEATS and settings.get("earlier"):
            continue  # Files that have grown repeat the documents of the datasets that this one extends.
        shares = ", ".join(f"{percent(share)} of {name}" for name, share in large.items())
        of = f" ({shares})" if len(sources) > 1 and large else ""
        result.append(
            f"{loss.rule} dropped {percent(loss.share or 0)} of the bytes{of}. {_to_do(loss, settings)}"
        )
    return result


def warnings_of_files(sources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the warnings of all files, each with the names of those that have it."""
    files: dict[str, list[str]] = {}
    for source in sources.values():
        for where, texts in (source.get("file_warnings") or {}).items():
            for text in texts:
                files.setdefault(text, []).append(where)
    result = []
    for text, named in files.items():
        more = f" and {counted(len(named) - _MOST_NAMED, 'other file')}" if len(named) > _MOST_NAMED else ""
        result.append(f"{', '.join(named[:_MOST_NAMED])}{more}: {text}")
    return result


def largest_to_do(parts: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """Return what to set because of the largest loss in any of some statistics; empty if there is none."""
    found = [loss for figures in parts for loss in losses(figures)]
    largest = max(found, key=lambda loss: (loss.share or 0, loss.number), default=None)
    return _to_do(largest, settings) if largest else ""


def lines(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the summary, if anything was lost, and the warnings, each as a line."""
    told = summary(figures)
    return [*([told] if told else []), *(f"warning: {line}" for line in warnings(figures, settings))]


def percent(share: float) -> str:
    """Return a share as text; only all is 100%, and only nothing is 0%."""
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{100 * share:.1f}%" if share in (0, 1) else f"{min(100 * share, 99.9):.1f}%"


def _to_do(loss: Loss, settings: Mapping[str, Any]) -> str:
    def now(name: str) -> str:
        return f"`{name}` (now {settings.get(name, getattr(CollectConfig, name)):,})"

    if loss.rule == "maximum_length":
        split = (
            "" if loss.unit == "sentences" else ", or add the rule sentences to `cleaning` to split the lines"
        )
        return f"Raise {now('maximum_characters')}{split}"
    if loss.rule == "minimum_length":
        return f"Lower {now('minimum_characters')}"
    if loss.rule == "arabic_share":
        return f"Check that the source's `field` and `encoding` are right, or lower {now('arabic_share')}"
    if loss.rule == "duplicates":
        return "Check that no text is in the sources twice, or set `deduplicate: false`"
    if loss.rule == "near_duplicates":
        return f"Raise {now('near_duplicates')}"
    if loss.rule == TESTED:
        return (
            "Check in the report which test texts they contain: if a text is a common phrase, remove it from "
            "the task, and if a document has many texts, set `document: line`"
        )
    if loss.rule == "unstable":
        return "Remove a rule that changes these lines again and again from `cleaning`"
    return "Check the text, or remove the rules that leave nothing of it from `cleaning`"
