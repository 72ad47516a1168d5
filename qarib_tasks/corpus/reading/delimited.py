"""Delimited text: CSV and TSV."""

from __future__ import annotations

from typing import IO, Any

from qarib_tasks.corpus.reading.decompression import BLOCK
from qarib_tasks.corpus.reading.records import Batches, Reading
from qarib_tasks.corpus.reading.tables import lines_of_rows, wanted_columns
from qarib_tasks.errors import InputError


def read_csv(reading: Reading, stream: IO[bytes]) -> Batches:
    import pyarrow
    from pyarrow import csv

    def on_row(row: Any) -> str:
        what = f"the row has {row.actual_columns} columns, expected {row.expected_columns}"
        try:
            reading.unreadable(what, row.number or reading.counts["line"] + 1)
        except InputError as error:
            failed.append(error)
            return "error"
        return "skip"

    failed: list[InputError] = []
    names = [*reading.source.fields, reading.source.group]
    try:
        with csv.open_csv(
            stream,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(
                delimiter="\t" if reading.form == "tsv" else ",",
                newlines_in_values=True,
                invalid_row_handler=on_row,
            ),
            # As bytes, because this module replaces and counts invalid UTF-8.
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.binary())),
        ) as table:
            yield from lines_of_rows(reading, iter(table), wanted_columns(reading, table.schema.names))
    except pyarrow.ArrowInvalid:
        if failed:
            raise failed[0] from None
        raise
