"""What the corpus keeps and drops, and how well the vocabulary fits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any

from qarib_tasks.counting import counted
from qarib_tasks.dataset.shard_state import tfrecord_of
from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.shapes import MANIFEST
from qarib_tasks.views.shards import local_files

# The columns of the table of sources; `text_read` is made of others.
COLUMNS = {
    "files": "Files",
    "left_out_files": "Left out",
    "bytes_read": "Size of the files",
    "text_read": "Text read",
    "undecodable_bytes": "Undecodable bytes",
    "skipped": "Skipped",
    "lines_read": "Lines read",
    "documents_read": "Documents cleaned",
    "duplicates": "Repeats",
    "near_duplicates": "Near-repeats",
    "outside_share": "Outside the share",
    "heldout_documents": "Held out",
    "documents": "Documents kept",
    "lines": "Lines kept",
    "words": "Words",
    "bytes": "Text kept",
}
SIZES = ("bytes_read", "text_read", "bytes")  # columns in bytes, written with a unit
SHOWN = ("documents", "lines", "words")  # columns that are also shown if they have nothing
# Of any corpus; another figure that is not there is zero.
ALWAYS = ("files", "bytes_read", "documents_read", "documents", "lines", "words", "bytes")
MAX_RULES = 40
LOST_FIGURES = ("rule", "number", "total", "unit", "share")
MAX_SAMPLES = 10
MAX_SOURCES = 50  # whose samples are shown
MAX_SAMPLE_CHARACTERS = 400
# How many shards' manifests are read if only the bucket has them.
SAMPLED_SHARDS = 3


def corpus_view(record: RunRecord, files: Files) -> dict[str, Any]:
    """Figures per source, what cleaning changed and dropped, lengths, samples, the vocabulary."""
    dataset = record.dataset
    if dataset is None:
        return {"corpus": None, "vocabulary": None, "trouble": None}
    corpus = files.manifest(dataset, dataset.data)
    vocabulary = files.manifest(dataset, dataset.vocab)
    return {
        "dataset_id": dataset.dataset_id,
        "corpus": _corpus(corpus) if corpus else None,
        "vocabulary": _vocabulary(vocabulary) | _fit(record, files) if vocabulary else None,
        "trouble": trouble(files.trouble or files.fault),
    }


def _corpus(manifest: Mapping[str, Any]) -> dict[str, Any]:
    figures: Mapping[str, Any] = manifest.get("statistics") or {}
    sources: Mapping[str, Mapping[str, Any]] = figures.get("sources") or {}
    totals = source_figures(figures)
    return {
        "made_at": manifest.get("made_at"),
        "cleaning": list((manifest.get("config") or {}).get("cleaning") or ()),
        "totals": totals,
        "columns": [
            [key, title, key in SIZES] for key, title in COLUMNS.items() if totals[key] or key in SHOWN
        ],
        "sources": {name: source_figures(source) for name, source in sources.items()},
        "files": [
            [where, what]
            for source in sources.values()
            for where, what in (
                *((where, f"left out: {why}") for where, why in (source.get("left_out") or {}).items()),
                *(
                    (where, counted(count, "undecodable byte"))
                    for where, count in (source.get("undecodable") or {}).items()
                ),
            )
        ],
        "changed": _counts(figures.get("changed")),
        "lost": _lost(figures),
        "summary": figures.get("summary") or "",
        "warnings": [*(figures.get("warnings") or ()), *_contamination(figures)],
        "line_words": ordered(figures.get("line_words") or {}),
        "document_lines": ordered(figures.get("document_lines") or {}),
        "samples": {
            name: [[cut(before), cut(after)] for before, after in (source.get("samples") or ())[:MAX_SAMPLES]]
            for name, source in islice(sources.items(), MAX_SOURCES)
        },
        "changed_texts": _texts(figures.get("changed_texts")),
        "dropped_texts": _texts(figures.get("dropped_texts")),
    }


def source_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a source, or of all; None for one that is not known.

    `text_read` is the size of the text that was read, in bytes with line feeds. It is to be compared with
    `bytes`, which is what was kept of it; `bytes_read` is that of the files, which can be compressed.
    """
    found = {key: figures.get(key, None if key in ALWAYS else 0) for key in COLUMNS}
    size, lines = figures.get("text_bytes"), figures.get("text_lines")
    return found | {"text_read": None if size is None or lines is None else size + lines}


def _texts(by_rule: Mapping[str, Sequence[Sequence[str]]] | None) -> dict[str, list[list[str]]]:
    """A few texts that each rule changed or dropped, each after its source. Earlier versions have none."""
    return {
        rule: [list(map(cut, one)) for one in texts[:MAX_SAMPLES]]
        for rule, texts in islice((by_rule or {}).items(), MAX_RULES)
    }


def _contamination(figures: Mapping[str, Any]) -> list[str]:
    """Warnings of test texts that stayed: of tasks that were given after the text was collected."""
    found: Mapping[str, Mapping[str, Any]] = figures.get("contamination") or {}
    return [
        f"{counted(number, 'document')} contain{'s' if number == 1 else ''} test texts of the task "
        f"{task.get('task')}, which was given after the text was collected"
        for task in found.values()
        if (number := task.get("documents"))
    ]


def _vocabulary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "made_at": manifest.get("made_at"),
        "config": dict(manifest.get("config") or {}),
        "statistics": {
            key: value
            for key, value in (manifest.get("statistics") or {}).items()
            if isinstance(value, (int, float))
        },
        "sample": [cut(str(one)) for one in manifest.get("sample") or ()],
    }


def _fit(record: RunRecord, files: Files) -> dict[str, Any]:
    """The share of [UNK] and the wordpieces per word over the converted shards."""
    dataset = record.dataset
    assert dataset is not None
    found: Sequence[Mapping[str, Any]] = [
        facts.statistics for facts in local_files(dataset, files)[0].values()
    ]
    if not found:
        names = [
            f"{dataset.name}{name}"
            for name in sorted(files.objects(dataset.name) or {})
            if name.startswith(dataset.upload.pretraining_data) and tfrecord_of(PurePath(name).name)
        ]
        found = [one.get("statistics") or {} for one in files.many(names[:SAMPLED_SHARDS], MANIFEST)]
    found = [one for one in found if one.get("words") and one.get("wordpieces")]
    words, pieces = sum(one["words"] for one in found), sum(one["wordpieces"] for one in found)
    if not words or not pieces:
        return {"fit": None}
    unknown = sum(one.get("unknown_share", 0.0) * one["wordpieces"] for one in found)
    return {
        "fit": {
            "shards": len(found),
            "words": words,
            "wordpieces": pieces,
            "wordpieces_a_word": pieces / words,
            "unknown_share": unknown / pieces,
        }
    }


def ordered(bins: Mapping[str, int]) -> list[list[Any]]:
    """Bins such as "4-5" and "1024+", sorted by their lower ends."""

    def lower(name: str) -> int:
        digits = name.split("-")[0].rstrip("+")
        return int(digits) if digits.isdigit() else 0

    return [[name, bins[name]] for name in sorted(bins, key=lower)]


def cut(text: str) -> str:
    """The text, cut to at most 400 characters."""
    return text if len(text) <= MAX_SAMPLE_CHARACTERS else text[: MAX_SAMPLE_CHARACTERS - 1] + "…"


def _lost(figures: Mapping[str, Any]) -> list[list[Any]]:
    """What each rule dropped: its name, number, number before, unit, and share of the bytes.

    The corpus of an earlier version has only the number of lines.
    """
    if "lost" in figures:
        return [[one.get(name) for name in LOST_FIGURES] for one in figures["lost"]]
    return [[rule, number, None, "lines", None] for rule, number in _counts(figures.get("dropped"))]


def _counts(values: Mapping[str, int] | None) -> list[list[Any]]:
    """The counts that are not zero, the largest first."""
    found = [[name, count] for name, count in (values or {}).items() if count]
    return sorted(found, key=lambda one: (-one[1], one[0]))
