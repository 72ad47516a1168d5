"""Recognizes what was downloaded instead of weights."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.corpus.content.detection import PEEK, text_name
from qarib_tasks.errors import CorruptError


def refuse_text(path: Path) -> None:
    """Refuse a file of weights that is a text, such as a page to log in or a Git LFS pointer.

    Raises:
        CorruptError: the file is a text.
    """
    with path.open("rb") as file:
        if name := text_name(file.read(PEEK), plain=True):
            raise CorruptError(f"no weights, but {name}", where=path, do="Download the file again")
