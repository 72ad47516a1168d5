"""A preview as plain text, for a terminal and a log."""

from __future__ import annotations

import re

from qarib_tasks.corpus.characters import isolated
from qarib_tasks.corpus.losses import percent
from qarib_tasks.corpus.preview.preview import Document, Preview
from qarib_tasks.counting import counted

# Controls of a terminal, and marks of direction that would reach beyond their text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MOST_NAMED = 5
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


def title(preview: Preview) -> str:
    """Return the name of a source, its path, and the number and size of its files, as a line."""
    files = counted(preview.files, "file")
    size = "size unknown" if preview.bytes is None else _size(preview.bytes)
    return f"{preview.source}: {shown(preview.path)}: {files}, {size}"


def text_of(preview: Preview) -> list[str]:
    """Return what a preview shows, without its title and warnings, as lines."""
    read = preview.files_read
    of = f" ({read:,} of {preview.files:,} files read)" if read < preview.files else ""
    encodings = f"; encoding {_some(preview.encodings)}" if preview.encodings else ""
    lines = [f"  format     {_some(preview.formats) or 'none'}{encodings}{of}"]
    if preview.dialect:
        lines.append(f"  dialect    {shown(preview.dialect)}")
    for number, column in enumerate(preview.columns):
        mark = "*" if column.name == preview.column else " "
        head = "  columns  " if not number else " " * 11
        lines.append(f"{head}{mark} {shown(column.name)} = {isolated(shown(column.example))}")
    for number, document in enumerate(preview.documents, start=1):
        lines += _document(number, document)
    sample = counted(preview.sample_lines, "line") + (" (all)" if preview.complete else " of a sample")
    if preview.sample_lines:
        kept = f"{percent(preview.kept_lines)} of {sample}, {percent(preview.kept_bytes)} of their bytes"
        lines.append(f"  kept       {kept}")
    if preview.losses:
        lines.append(f"  lost       {preview.losses}")
    lines.append(f"  estimate   {_estimate(preview)}")
    return lines


def _document(number: int, document: Document) -> list[str]:
    before, after = shown(document.before), shown(document.after)
    if not after:
        after = f"(dropped: {', '.join(document.dropped) or 'no text'})"
    elif after == before:
        return [f"  document {number} {isolated(before)}", "    cleaned  (the same)"]
    else:
        after = isolated(after)
    return [f"  document {number} {isolated(before)}", f"    cleaned  {after}"]


def _estimate(preview: Preview) -> str:
    if preview.lines is None or preview.words is None or preview.seconds is None:
        return "none: the size or what is read of it is unknown"
    lines, words, about = preview.lines, preview.words, ""
    if not preview.complete:
        lines, words, about = _round(lines), _round(words), "about "
    size = f"{counted(lines, 'line')}, {counted(words, 'word')}"
    return f"{about}{size}; {_duration(preview.seconds)} to read and clean"


def _round(number: int) -> int:
    """Return the number with two digits that count."""
    return round(number, 2 - len(str(number)))


def _duration(seconds: float) -> str:
    for unit, name in _TIMES:
        if seconds >= 2 * unit:
            return f"about {seconds / unit:.0f} {name}"
    return f"about {seconds:.0f} seconds" if seconds >= 2 else "under 2 seconds"


def _size(number: int) -> str:
    return next((f"{number / unit:.1f} {name}" for unit, name in _UNITS if number >= unit), f"{number} bytes")


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def shown(text: str) -> str:
    """Return text without control characters."""
    return _CONTROLS.sub("\ufffd", text)
