"""What people write about a run: the note that Airflow keeps of it, as a name, tags, and a text."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_NAME = 100  # characters: a longer first line is a text
# The first characters of what the listener `qarib_run_note` writes at the end of a run's note: why it failed,
# and what else its tasks have to say.
MARK, REMARK = "× ", "⚠ "
# A tag has a letter: #12 is a number of something.
TAG = re.compile(r"#(?=[\w-]*[^\W\d_])([\w-]+)")


@dataclass(frozen=True)
class Note:
    """A run's note. The first line is the name; `#words` in it, or alone on a line, are tags.

    Attributes:
        tags: without `#`, each once.
        text: the other lines.
        failure: what `qarib_run_note` has written below them.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    text: str = ""
    failure: str = ""


def parse_note(content: str | None) -> Note:
    """Divide a note, which can be any text."""
    lines = (content or "").replace("\r\n", "\n").replace("\0", "").split("\n")
    own = next((number for number, line in enumerate(lines) if line.startswith((MARK, REMARK))), len(lines))
    lines, failure = lines[:own] or [""], "\n".join(lines[own:])
    first, rest = lines[0], lines[1:]
    if len(first.strip()) > MOST_NAME:
        first, rest = "", lines
    tags = dict.fromkeys(word[1:] for word in first.split() if TAG.fullmatch(word))
    name = " ".join(word for word in first.split() if not TAG.fullmatch(word))
    text = []
    for line in rest:
        words = line.split()
        if words and all(map(TAG.fullmatch, words)):
            tags |= dict.fromkeys(word[1:] for word in words)
        else:
            text.append(line)
    return Note(name, tuple(tags), "\n".join(text).strip(), failure)
