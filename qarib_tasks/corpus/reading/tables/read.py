"""Reads the texts of a table, a Parquet or Arrow file."""

from __future__ import annotations

from typing import IO

from qarib_tasks.corpus.reading.records import Batches, Reading


def read_table(reading: Reading, stream: IO[bytes], *, is_seekable: bool) -> Batches:
    """Return the lines of a table.

    Args:
        is_seekable: whether the stream can be read in any order; otherwise it is copied.
    """
    if not is_seekable:
        from qarib_tasks.corpus.content.archives import seekable

        stream = seekable(stream)
    if reading.form == "parquet":
        from qarib_tasks.corpus.reading.tables.parquet import read_parquet

        return read_parquet(reading, stream)
    from qarib_tasks.corpus.reading.tables.arrow import read_arrow

    return read_arrow(reading, stream)
