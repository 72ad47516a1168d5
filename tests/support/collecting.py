"""Collecting from a few files, previews, the inputs of `tests/data/cases`, and archives in memory."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.preview.preview import Preview, preview
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


_WORDS = " ".join(SENTENCES).split()


def seen(
    path: Path | str,
    allowed: AllowedSources | None = None,
    *,
    seconds: float = 30,
    cleaning: dict[str, Any] | None = None,
    **settings: Any,
) -> Preview:
    values = {"sources": [{"name": "s", "path": str(path), **settings}], **(cleaning or {})}
    config = from_dict(CollectConfig, values)
    return preview(config, config.sources[0], allowed, seconds=seconds)


def sentences(count: int, seed: int = 7) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=chance.randint(3, 25))) for _ in range(count)]


def as_text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def as_json(lines: list[str]) -> bytes:
    return "".join(json.dumps({"id": 7, "text": line}) + "\n" for line in lines).encode()


def as_parquet(lines: list[str]) -> bytes:
    out = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table({"id": range(len(lines)), "text": lines}), out, row_group_size=5000)
    return out.getvalue().to_pybytes()


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def zst(data: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(data)


ARCHIVES: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {"zip": zipped, "tar": tar}
