"""Step 2: split a text into shards, with the same bytes as `split -a 4 -l N -d data.txt shards/shard_`."""

from __future__ import annotations

import logging
from itertools import count, islice
from pathlib import Path

from qarib_tasks.config.conversion import SplitConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.errors import InputError
from qarib_tasks.layout import is_shard_file, shard_file
from qarib_tasks.progress import progress
from qarib_tasks.storage.files import atomic_path
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, manifest_of

log = logging.getLogger(__name__)
MAX_SHARDS = 10_000  # four digits, as `split -a 4`


def split(data: Path, folder: Path, config: SplitConfig, first_number: int | None = None) -> Manifest:
    """Split `data` into `folder/shard_0000` … with `config.shard_lines` lines each.

    Args:
        first_number: number of the first shard if `data` extends texts that were split before; an empty text
            then results in no shard.

    Returns:
        the manifest, written last, next to the folder (`shards/` → `shards.json`). Its outputs are the shards
        in order.

    Raises:
        InputError: `data` is missing or empty, or would give more than 10,000 shards.
    """
    source = FileRecord.of(data)
    if not source.bytes and first_number is None:
        raise InputError("the file is empty", where=data, do="Check the sources that were collected into it")
    manifest_path = manifest_of(folder)
    settings = named_settings(config)
    if first_number is not None:
        settings["first_number"] = first_number
    if done := finished(manifest_path, config=settings, inputs=[source]):
        log.info("%s: already split into %d shards", data, len(done.outputs))
        return done
    manifest_path.unlink(missing_ok=True)
    records, lines = [], 0
    with data.open("rb") as file, progress(f"split {data.name}", source.bytes, "bytes") as advance:
        for number in count(first_number or 0):
            # Lines are written as they are read: a shard does not have to fit into memory.
            chunk = islice(file, config.shard_lines)
            first = next(chunk, None)
            if first is None:
                break
            if number >= MAX_SHARDS:
                raise InputError(
                    f"more than {MAX_SHARDS:,} shards of {config.shard_lines:,} lines",
                    where=data,
                    do="Raise shard_lines",
                )
            path = folder / shard_file(number)
            written = 1
            with atomic_path(path) as temporary, temporary.open("wb") as out:
                out.write(first)
                for line in chunk:
                    out.write(line)
                    written += 1
            records.append(FileRecord.of(path, f"{folder.name}/{path.name}"))
            lines += written
            advance(records[-1].bytes)
    _remove_stale_shards(folder, {Path(record.name).name for record in records})
    manifest = Manifest(
        kind="shards",
        id=folder.name,
        config=settings,
        inputs=[source],
        outputs=records,
        statistics={"lines": lines, "shards": len(records)},
    )
    manifest.write(manifest_path)
    return manifest


def _remove_stale_shards(folder: Path, own: set[str]) -> None:
    """Remove the shards of an earlier split of another text or size, which would otherwise be trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if is_shard_file(path.name) and path.name not in own:
            log.warning("%s: removed, it is from an earlier split", path)
            path.unlink()
