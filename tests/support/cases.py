"""Inputs made after public bug reports of tools of this kind, and what they hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.reading.read import read

CASES = Path(__file__).parents[1] / "data" / "cases"
# Every file of twelve sentences has these, in its encoding or format.
SENTENCES = (CASES / "e5-utf8-bom-crlf.txt").read_text(encoding="utf-8-sig").splitlines()


def lines(path: Path, counts: Counter[str] | None = None, **settings: Any) -> list[str]:
    """The lines that the source gives, without those that are empty."""
    source = from_dict(SourceConfig, {"name": "s", "path": str(path), **settings})
    counts = Counter() if counts is None else counts
    return [line for batch in read(source, path, str(path), counts) for line in batch if line]
