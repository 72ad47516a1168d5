"""`python -m qarib_tasks.conversion.compile_ahead`: compile everything now and keep it beside the sources.

For building images, where the folder is read-only later, and for the first minutes of an installation.
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
    """Run a tiny conversion of each kind and a verification, so that all that they call is compiled.

    Raises:
        StorageError: the folder of the sources cannot be written.
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
    """A tiny conversion of each kind, so that all that they call is in this process: the TFRecords."""
    from qarib_tasks.config.conversion import ConvertConfig
    from qarib_tasks.conversion.convert import convert_shard

    shard, vocab, out = (folder / file for file in ("shard", "vocab", f"shard{TFRECORD}"))
    shard.write_text("a b c\na b\n\nc a b\n", encoding="utf-8")
    vocab.write_text("\n".join([*SPECIAL_TOKENS, "a", "b", "##b"]) + "\n", encoding="utf-8")
    for whole_words in (False, True):
        convert_shard(shard, vocab, out, ConvertConfig(do_whole_word_mask=whole_words))
        yield out


if __name__ == "__main__":
    main()
