"""`python -m qarib_tasks.conversion.compile_ahead`: compile all code now and store it next to the sources.

Run it when you build an image, whose folders are read-only later, or after an installation, so that the first
conversion does not have to wait.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from qarib_tasks.conversion.compiled import PREPARED, cache_folder, source_stamp
from qarib_tasks.errors import StorageError
from qarib_tasks.layout import TFRECORD
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS


def main() -> None:
    """Run a tiny conversion of each kind and verify it, which compiles all functions that they call.

    Raises:
        StorageError: the folder of the sources is not writable.
    """
    from qarib_tasks.conversion.verify import verify_file

    os.environ.pop("NUMBA_CACHE_DIR", None)
    started = time.monotonic()
    folder = PREPARED / f"compiled-{source_stamp()}"
    if cache_folder() != str(folder):
        raise StorageError(
            "cannot be written", where=PREPARED, do="Run this as the owner of the installation"
        )
    with tempfile.TemporaryDirectory() as name:
        for out in convert_tiny(Path(name)):
            verify_file(out)
    (folder / "complete").touch()
    print(f"{folder}: compiled in {time.monotonic() - started:.1f} s")


def convert_tiny(folder: Path) -> Iterator[Path]:
    """Run a tiny conversion of each kind, which loads the compiled code; yields the TFRecord files."""
    from qarib_tasks.config.conversion import ConvertConfig
    from qarib_tasks.conversion.convert import convert_shard

    shard, vocab, out = (folder / file for file in ("shard", "vocab", f"shard{TFRECORD}"))
    shard.write_text("a b c\na b\n\nc a b\n", encoding="utf-8")
    vocab.write_text("\n".join([*SPECIAL_TOKENS, "a", "b", "##b"]) + "\n", encoding="utf-8")
    kinds = ConvertConfig(), ConvertConfig(do_whole_word_mask=True), ConvertConfig(format="packed")
    for config in kinds:
        convert_shard(shard, vocab, out, config)
        yield out


if __name__ == "__main__":
    main()
