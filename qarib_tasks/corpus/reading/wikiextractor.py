"""Articles of Wikipedia as the program WikiExtractor writes them: `<doc …>`, title and text, `</doc>`."""

from __future__ import annotations

import re
from typing import IO

from qarib_tasks.corpus.reading.records import LONGEST_LINE, Batches, Reading
from qarib_tasks.corpus.reading.text import raw_lines
from qarib_tasks.errors import InputError

_OPENS = re.compile(r"<doc\b[^>]*>")
_CLOSES = "</doc>"


def read_articles(reading: Reading, stream: IO[bytes]) -> Batches:
    """Yield the lines of each article, without its tags. The lines of an article are one document.

    Raises:
        InputError: the file ends in an article, or has text that is in none.
    """
    document = reading.source.document
    inside = False
    for data in raw_lines(reading, stream, LONGEST_LINE):
        lines: list[str] = []
        for number, raw in enumerate(reading.text(data).split("\n"), reading.counts["line"] + 1):
            line = raw.strip()
            if not inside and _OPENS.match(line):
                inside, line = True, _OPENS.sub("", line, count=1).strip()
            elif line and not inside:
                raise InputError(
                    "the text is in no <doc …>",
                    where=f"{reading.where}:{number}",
                    do="Correct the file, or set `format: text`",
                )
            ends = inside and line.endswith(_CLOSES)
            if ends:
                inside, line = False, line.removesuffix(_CLOSES).strip()
            if line:
                lines += [line, ""] if document == "line" else [line]
                reading.counts["lines_read"] += 1
            if ends and document != "file":
                lines.append("")
        yield lines
    if inside:
        raise InputError("the last article has no end", where=reading.where, do="Download the file again")
