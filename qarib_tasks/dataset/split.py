"""Step 2: split a text into shards, with the same bytes as `split -a 4 -l N -d data.txt shards/shard_`."""

from __future__ import annotations

import logging
from itertools import count, islice
from pathlib import Path

from qarib_tasks.config.conversion import SplitConfig
from qarib_tasks.config.identity import named_settings
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError
from qarib_tasks.layout import is_shard_file, shard_file
from qarib_tasks.progress import progress
from qarib_tasks.storage.checked_file import CheckedFile
from qarib_tasks.storage.files import CHUNK
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, manifest_of
from qarib_tasks.storage.ownership import Staged, check_outputs, owned, recorded_name

log = logging.getLogger(__name__)
MAX_SHARDS = 10_000  # four digits, as `split -a 4`


def split(
    data: Path, folder: Path, config: SplitConfig, first_number: int | None = None, *, adopt: bool = False
) -> Manifest:
    """Split `data` into `folder/shard_0000` … with `config.shard_lines` lines each.

    Args:
        first_number: number of the first shard if `data` extends texts that were split before; an empty text
            then results in no shard.
        adopt: see `ownership.owned`.

    Returns:
        the manifest, written last, next to the folder (`shards/` → `shards.manifest.json`). Its outputs are
        the shards in order.

    Raises:
        InputError: `data` is missing or empty, would give more than 10,000 shards, or is one of the shards;
            or the folder has a file with a shard's name that is not ours.
    """
    if folder.name in ("", ".."):
        folder = folder.resolve()
    manifest_path = manifest_of(folder)
    check_outputs([folder / shard_file(0), manifest_path], [data])
    present = sorted(path for path in folder.glob("*") if is_shard_file(path.name))
    check_outputs([*present, manifest_path], [data])
    owned("shards", manifest_path, present, adopt=adopt)
    from qarib_tasks.corpus.content.plain import require_plain_text

    source = FileRecord.of(data)
    require_plain_text(data)
    if not source.bytes and first_number is None:
        raise InputError("the file is empty", where=data, do="Check the sources that were collected into it")
    settings = named_settings(config)
    if first_number is not None:
        settings["first_number"] = first_number

    def lists(manifest: Manifest) -> bool:
        """Whether the shards are those of the text, in order."""
        found = [record.name for record in manifest.outputs]
        paths = (folder / shard_file(number) for number, _ in enumerate(found, first_number or 0))
        return found == [recorded_name(path, manifest_path) for path in paths]

    if done := finished(manifest_path, kind="shards", config=settings, inputs=[source], lists=lists):
        log.info("%s: already split into %s", data, counted(len(done.outputs), "shard"))
        return done
    records, lines = [], 0
    with (
        Staged(manifest_path) as staged,
        CheckedFile(data) as checked,
        checked.stream(CHUNK) as file,
        progress(f"split {data.name}", source.bytes, "bytes") as advance,
    ):
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
            with staged.path(path).open("wb") as out:
                out.write(first)
                for line in chunk:
                    out.write(line)
                    written += 1
            records.append(staged.record(path))
            lines += written
            advance(records[-1].bytes)
        if checked.finish() != source.checksums:
            raise InputError("the file changed while it was read", where=data, do="Run the step again")
        manifest = Manifest(
            kind="shards",
            id=folder.name,
            config=settings,
            inputs=[source],
            outputs=records,
            statistics={"lines": lines, "shards": len(records)},
        )
        # Shards of an earlier split of another text or size would otherwise be trained on.
        new = {folder.parent / record.name for record in records}
        folder.mkdir(parents=True, exist_ok=True)
        return staged.commit(
            manifest, keep_changed=not adopt, stale=[path for path in present if path not in new]
        )
