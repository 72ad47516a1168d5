"""Step 2: a text into shards, byte for byte as GNU `split -a 4 -l N -d data.txt shards/shard_` makes them."""

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
MOST_SHARDS = 10_000  # four digits, as `split -a 4`


def split(data: Path, folder: Path, config: SplitConfig, first_number: int | None = None) -> Manifest:
    """Split `data` into `folder/shard_0000` … of `config.shard_lines` lines each.

    Args:
        first_number: of the first shard, where `data` extends texts that were split before; an empty
            text then gives no shard.

    Returns:
        the manifest, written last, beside the folder (`shards/` → `shards.json`); its outputs are the
        shards in order.

    Raises:
        InputError: `data` is missing or empty, or would give more than 10,000 shards.
    """
    source = FileRecord.of(data)
    if not source.bytes and first_number is None:
        raise InputError("the file is empty", where=data, do="Check what was collected into it")
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
            # A shard is as large as its lines; the lines are passed on as they are read.
            chunk = islice(file, config.shard_lines)
            first = next(chunk, None)
            if first is None:
                break
            if number >= MOST_SHARDS:
                raise InputError(
                    f"more than {MOST_SHARDS:,} shards of {config.shard_lines:,} lines",
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
    _remove_strangers(folder, {Path(record.name).name for record in records})
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


def _remove_strangers(folder: Path, own: set[str]) -> None:
    """Remove shards of an earlier split of other text or other size: they would be trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if is_shard_file(path.name) and path.name not in own:
            log.warning("%s: left over from another split, removed", path)
            path.unlink()
