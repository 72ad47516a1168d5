"""Collecting from a few files, and the inputs of `tests/data/cases`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.reading.read import read

HELDOUT_SHARE = 0.3
# Made after public bug reports of tools of this kind.
CASES = Path(__file__).parents[1] / "data" / "cases"
# Every file of twelve sentences has these, in its encoding or format.
SENTENCES = (CASES / "e5-utf8-bom-crlf.txt").read_text(encoding="utf-8-sig").splitlines()


def config(
    *paths: Path | str, share: float = HELDOUT_SHARE, source: object = (), **settings: object
) -> CollectConfig:
    sources = [{"name": f"source{i}", "path": str(path), **dict(source)} for i, path in enumerate(paths)]  # type: ignore[call-overload]
    return from_dict(CollectConfig, {"sources": sources, "heldout_share": share, "cleaning": [], **settings})


def collected(settings: CollectConfig, tmp_path: Path) -> str:
    out = tmp_path / "out" / "data.txt"
    collect(settings, out, heldout=None, random_seed=34)
    return out.read_text(encoding="utf-8")


def held_out(text: str, tmp_path: Path, name: str) -> tuple[set[str], set[str]]:
    source, out = tmp_path / f"{name}.txt", tmp_path / name / "data.txt"
    source.write_text(text, encoding="utf-8")
    heldout = out.parent / "heldout" / "data.txt"
    collect(config(source), out, heldout=heldout, random_seed=34)
    parts = [path.read_text().split("\n\n") for path in (out, heldout)]
    return {d.strip() for d in parts[0]}, {d.strip() for d in parts[1]}


def lines_of(path: Path, counts: Counter[str] | None = None, **settings: Any) -> list[str]:
    """The lines that the source gives, without those that are empty."""
    source = from_dict(SourceConfig, {"name": "s", "path": str(path), **settings})
    counts = Counter() if counts is None else counts
    return [line for batch in read(source, path, str(path), counts) for line in batch if line]
