"""Writes a page about a collected corpus: one HTML file without scripts or external resources."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from qarib_tasks.corpus.losses import TESTED, losses, percent, summary, warnings

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{padding:.2rem .6rem;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}tr+tr{border-top:1px solid #ddd}
td.text{direction:rtl;text-align:right;width:50%}td i{background:#4a7;display:block;height:.8rem}
td.bar{width:55%}.warning{background:#fdf0d9;border-left:3px solid #8a5200;padding:.4rem .8rem}
"""
_COLUMNS = {
    "files": "files",
    "bytes_read": "bytes read",
    "lines_read": "lines read",
    "left_out_files": "files left out",
    "undecodable_bytes": "undecodable bytes replaced",
    "skipped": "records skipped",
    "empty_records": "records without text",
    "documents_read": "documents cleaned",
    "duplicates": "duplicates",
    "near_duplicates": "near-duplicates",
    "documents": "documents",
    "lines": "lines",
    "words": "words",
    "bytes": "bytes",
    "heldout_documents": "held out",
}


def report(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        figures: the statistics in the corpus's manifest.
        settings: the configuration in the corpus's manifest.
    """
    sources: Mapping[str, Mapping[str, Any]] = figures["sources"]
    columns = _COLUMNS | ({TESTED: "contain test texts"} if "tasks" in figures else {})
    rows = [
        [label, *(_number(source.get(key, 0)) for source in sources.values()), _number(figures.get(key, 0))]
        for key, label in columns.items()
    ]
    changed = [[name, _number(count)] for name, count in figures["changed"].items() if count]
    lost = [
        [
            loss.rule,
            loss.of_total(),
            "" if loss.share is None else percent(loss.share),
        ]
        for loss in losses(figures)
    ]
    told = summary(figures)
    parts = [
        "<h1>Corpus</h1>",
        *(f"<p class=warning>Warning: {html.escape(line)}" for line in warnings(figures, settings)),
        f"<p>{html.escape(told)}." if told else "<p>Nothing was dropped.",
        _table(["", *sources, "all"], rows),
        *_files("Undecodable bytes", "bytes replaced", sources, "undecodable"),
        *_files("Files left out", "reason", sources, "left_out"),
        *_tested(figures),
        "<h2>Documents by source</h2>",
        _bars({name: source.get("documents", 0) for name, source in sources.items()}),
        "<h2>Words per line, before deduplication</h2>",
        _bars(_ordered(figures["line_words"])),
        "<h2>Lines per document</h2>",
        _bars(_ordered(figures["document_lines"])),
        "<h2>Cleaning</h2>",
        f"<p>Rules in order: {html.escape(', '.join(settings['cleaning'])) or 'none'}.</p>",
        _table(["rule", "places changed"], changed),
        _table(["rule", "dropped", "of the bytes"], lost),
    ]
    for name, source in sources.items():
        parts.append(f"<h2>Lines of {html.escape(name)}, before and after cleaning</h2>")
        pairs = [[before, after or "(dropped)"] for before, after in source["samples"]]
        parts.append(_table(["before", "after"], pairs, text=True))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Corpus</title>'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def _files(title: str, what: str, sources: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
    """Return a table of what is said about files, if anything is."""
    rows = [
        [where, str(value)] for source in sources.values() for where, value in source.get(key, {}).items()
    ]
    return [f"<h2>{title}</h2>", _table(["file", what], rows)] if rows else []


def _tested(figures: Mapping[str, Any]) -> list[str]:
    """Return tables of the documents that were left out because they contain test texts."""
    if "tasks" not in figures:
        return []
    rows = [
        [name, *(_number(task[key]) for key in ("documents", "texts", "short"))]
        for name, task in figures["tasks"].items()
    ]
    found = [[task, text, document, _number(count)] for task, text, document, count in figures["tested"]]
    return [
        "<h2>Test texts of labelled tasks</h2>",
        "<p>Documents that contain a test text, or nearly so, were left out, of the held-out part too. A "
        "short test text is searched for only as a complete document.",
        _table(["task", "documents left out", "test texts", "short ones"], rows),
        _table(["task", "test text", "one document", "documents"], found, text=True) if found else "",
    ]


def _number(value: Any) -> str:
    return f"{value:,}"


def _ordered(bins: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(bins.items(), key=lambda item: int(item[0].split("-")[0].rstrip("+"))))


def _bars(values: Mapping[str, int]) -> str:
    """Return a table with a bar for each value; the longest bar has the full width."""
    most = max(values.values(), default=0) or 1
    rows = [
        f"<tr><td>{html.escape(name)}<td>{value:,}<td class=bar>"
        f'<i style="width:{100 * value / most:.1f}%"></i>'
        for name, value in values.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, text: bool = False) -> str:
    mark = ' class="text" dir="auto"' if text else ""
    lines = "".join("<tr>" + "".join(f"<td{mark}>{html.escape(cell)}" for cell in row) + "\n" for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(name)}' for name in head)}\n{lines}</table>"
