"""Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

from qarib_tasks.corpus.content.parquet_pages import Pages, added_pages, pages_of
from qarib_tasks.corpus.reading.records import Batches, Reading
from qarib_tasks.corpus.reading.tables.rows import (
    AT_ONCE,
    ROWS,
    lines_of_batches,
    show_first,
    wanted_columns,
)
from qarib_tasks.errors import InputError

_MOST_METADATA = 16 << 20  # bytes of a Parquet file's footer
_MOST_VALUES = 20_000_000  # in the lists of a row group
_MOST_OF_STEP = 1 << 30  # bytes of the texts of a batch
_ROWS_OF_GROUPS = 100 * ROWS  # rows of small row groups that are read together


def read_parquet(reading: Reading, raw: IO[bytes]) -> Batches:
    import pyarrow.parquet

    _check_footer(reading, raw)
    # Without pre-buffering and with a small buffer, pyarrow holds no row group in memory.
    with pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as table:
        wanted, group = wanted_columns(reading, table.schema_arrow)
        names = [column.path for column in (*wanted, *filter(None, [group]))]
        if reading.detailed:
            _show_parquet(reading, raw, table)
        # All headers of a remote file that only a preview reads would be most of the file.
        made = _step_by_step if reading.detailed else _parquet_batches
        batches = made(reading, raw, table, names)
        yield from lines_of_batches(reading, batches, wanted, group, table.metadata.num_rows)


def _check_footer(reading: Reading, raw: IO[bytes]) -> None:
    """Refuse a footer that is very large: pyarrow makes many times as much of it.

    Raises:
        InputError: it is.
    """
    place = raw.tell()
    raw.seek(-8, io.SEEK_END)
    end = raw.read(8)
    raw.seek(place)
    length = int.from_bytes(end[:4], "little")
    if end.endswith(b"PAR1") and length > _MOST_METADATA:
        what = f"the footer of the table has {length:,} bytes"
        raise InputError(what, where=reading.where, do="Write the table again, with larger row groups")


def _leaves(table: Any, names: Sequence[str]) -> list[int]:
    """Return the numbers of the columns below these paths."""
    paths = [table.metadata.schema.column(number).path for number in range(table.metadata.num_columns)]
    starts = tuple(f"{name}." for name in names)
    return [number for number, path in enumerate(paths) if path in names or path.startswith(starts)]


def _parquet_batches(reading: Reading, raw: IO[bytes], table: Any, names: list[str]) -> Iterator[Any]:
    """Yield the record batches of row groups, with fewer rows where these are large.

    Raises:
        InputError: a row group unpacks to more than the file may.
    """
    metadata, leaves, has_lists = _wanted_leaves(table, names)
    groups: list[int] = []
    rows, at_once = 0, ROWS

    def batches() -> Iterator[Any]:
        yield from table.iter_batches(at_once, row_groups=groups, columns=names, use_threads=False)

    for number in range(metadata.num_row_groups):
        row_group = metadata.row_group(number)
        pages = pages_of(raw, [row_group.column(leaf) for leaf in leaves])
        if reading.allowance:
            reading.allowance.require(pages.bytes)
        if has_lists and pages.values > _MOST_VALUES:
            what = f"a row group has lists of {pages.values:,} values"
            raise InputError(what, where=reading.where, do="Write the table again, with smaller row groups")
        few = _rows_at_once(pages)
        if groups and (few != at_once or rows >= _ROWS_OF_GROUPS):
            yield from batches()
            groups, rows = [], 0
        at_once = few
        groups.append(number)
        rows += row_group.num_rows
    if groups:
        yield from batches()


def _wanted_leaves(table: Any, names: list[str]) -> tuple[Any, list[int], bool]:
    """Return the table's metadata, the numbers of the columns, and whether any has lists."""
    metadata, leaves = table.metadata, _leaves(table, names)
    return metadata, leaves, any(metadata.schema.column(leaf).max_repetition_level for leaf in leaves)


def _rows_at_once(pages: Pages) -> int:
    return max(1, min(ROWS, AT_ONCE // max(1, pages.longest, pages.row)))


def _step_by_step(reading: Reading, raw: IO[bytes], table: Any, names: list[str]) -> Iterator[Any]:
    """Yield the record batches, each after the headers of the pages that it is in, and of the next pages.

    Raises:
        InputError: a row group, up to there, unpacks to more than the file may, or a page to much more than
            those before it.
    """
    metadata, leaves, has_lists = _wanted_leaves(table, names)
    if has_lists:
        yield from _parquet_batches(reading, raw, table, names)
        return
    for number in range(metadata.num_row_groups):
        row_group, pages = metadata.row_group(number), Pages()
        chunks = [added_pages(pages, raw, row_group.column(leaf)) for leaf in leaves]
        # At first a page of data each: before it, there can be a dictionary.
        known = [next(filter(None, chunk), row_group.num_rows) for chunk in chunks]
        few, done = _rows_at_once(pages), 0
        batches = table.iter_batches(few, row_groups=[number], columns=names, use_threads=False)
        while done < row_group.num_rows:
            for place, chunk in enumerate(chunks):
                while known[place] <= min(done + few, row_group.num_rows - 1):
                    known[place] = next(chunk, row_group.num_rows)
            if reading.allowance:
                reading.allowance.require(pages.bytes)
            if few * pages.longest > _MOST_OF_STEP:
                what = f"a page has texts of {pages.longest:,} bytes"
                raise InputError(what, where=reading.where, do="Write the table again, with smaller pages")
            batch = next(batches, None)
            if batch is None:
                break
            done += batch.num_rows
            yield batch


def _show_parquet(reading: Reading, raw: IO[bytes], table: Any) -> None:
    """Set the reading's examples, without columns that could be large."""
    metadata = table.metadata
    first = next((i for i in range(metadata.num_row_groups) if metadata.row_group(i).num_rows), None)
    if first is None:
        return
    shown, hidden = [], set()
    for leaf in range(metadata.num_columns):
        column = metadata.schema.column(leaf)
        pages, chunk = Pages(), metadata.row_group(first).column(leaf)
        for values in added_pages(pages, raw, chunk):
            if values > 1 and not column.max_repetition_level:
                break  # The first row is in the pages up to here.
        too_long = column.max_repetition_level and pages.values > _MOST_VALUES
        if too_long or max(pages.longest, pages.row) > AT_ONCE:
            hidden.add(column.path)
        else:
            shown.append(column.path)
    if shown:
        batches = table.iter_batches(1, row_groups=[first], columns=shown, use_threads=False)
        show_first(reading, batches, table.schema_arrow, hidden)
