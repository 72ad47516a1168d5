"""Collecting from a few files."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect

HELDOUT_SHARE = 0.3


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
