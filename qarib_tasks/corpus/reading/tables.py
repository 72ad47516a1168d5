"""Tables in columns: Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from qarib_tasks.corpus.reading.records import Batches, Documents, Reading
from qarib_tasks.errors import InputError

ROWS = 1000  # rows of a table that are read at once


def wanted_columns(reading: Reading, columns: list[str]) -> list[str]:
    fields = reading.source.fields
    field = next((name for name in fields if name in columns), fields[0])
    wanted = [name for name in (field, reading.source.group) if name]
    for name in wanted:
        if name not in columns:
            raise InputError(
                f"no column {name!r}",
                where=reading.where,
                do=f"Use one of these columns: {', '.join(columns)}",
            )
    return wanted


def lines_of_rows(reading: Reading, batches: Iterator[Any], wanted: list[str]) -> Batches:
    """Yield the lines of pyarrow's record batches."""
    documents, number = Documents(reading), 0
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in wanted]
        lines: list[str] = []
        for text, *group in zip(*columns, strict=True):
            number += 1
            lines += documents.lines(text, group[0] if group else None, number)
        reading.counts["line"] = number
        yield lines


def read_parquet(reading: Reading, raw: IO[bytes]) -> Batches:
    import pyarrow.parquet

    # Without pre-buffering and with a small buffer, pyarrow holds no row group in memory.
    with pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as table:
        wanted = wanted_columns(reading, table.schema_arrow.names)
        yield from lines_of_rows(reading, table.iter_batches(ROWS, columns=wanted, use_threads=False), wanted)
