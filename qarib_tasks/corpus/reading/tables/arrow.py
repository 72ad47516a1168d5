"""Arrow files and streams."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Any

from qarib_tasks.corpus.content.arrow_messages import Batch, batches_of
from qarib_tasks.corpus.reading.records import Batches, Reading
from qarib_tasks.corpus.reading.tables.rows import lines_of_batches, show_first, wanted_columns
from qarib_tasks.errors import InputError

_FILE_MAGIC = b"ARROW1"
_MOST_OF_BATCH = 1 << 30  # bytes of a record batch of Arrow in memory
_FIRST = 4  # batches of an Arrow file that show how large they are


def read_arrow(reading: Reading, raw: IO[bytes]) -> Batches:
    """Yield the lines of the texts in an Arrow file or stream, which the library datasets writes.

    A record batch is in memory. Of one that is very large, and not compressed, only the pages that are used.
    """
    import pyarrow.ipc

    is_file = raw.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    raw.seek(0)
    stream = _opened(raw)
    opened = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
    about = _checked_sizes(reading, raw)
    first = next(about, None)  # The dictionaries of a file are before its batches.
    with opened(stream) as table:
        wanted, group = wanted_columns(reading, table.schema)
        names = {column.name for column in (*wanted, *filter(None, [group]))}
        used = [place for place, name in enumerate(table.schema.names) if name in names]
        if reading.detailed and first:
            show_first(reading, map(_valid, _record_batches(table, is_file)), table.schema)
    stream.seek(0)
    sizes = chain([first] if first else [], about)
    with opened(stream, options=pyarrow.ipc.IpcReadOptions(included_fields=used)) as table:
        batches = map(_valid, _as_many(_record_batches(table, is_file), sizes))
        yield from lines_of_batches(reading, batches, wanted, group)


def _record_batches(table: Any, is_file: bool) -> Iterator[Any]:
    yield from map(table.get_batch, range(table.num_record_batches)) if is_file else table


def _checked_sizes(reading: Reading, raw: IO[bytes]) -> Iterator[Batch]:
    """Yield the sizes of the record batches, each before it is read.

    Raises:
        InputError: a batch unpacks to more than the file may.
    """
    dictionaries = 0
    for batch in batches_of(raw):
        if reading.allowance:
            reading.allowance.require(batch.unpacked)
        dictionaries += batch.unpacked if batch.dictionary else 0
        packed = batch.unpacked > 2 * batch.body
        if dictionaries > _MOST_OF_BATCH or (packed and batch.unpacked > _MOST_OF_BATCH):
            what = f"a record batch unpacks to {max(dictionaries, batch.unpacked):,} bytes"
            raise InputError(what, where=reading.where, do="Write the file again, with smaller batches")
        if not batch.dictionary:
            yield batch


def _as_many(batches: Iterator[Any], sizes: Iterator[Batch]) -> Iterator[Any]:
    """Yield the record batches, each after its size.

    Raises:
        ValueError: there are more batches than sizes.
    """
    for _ in sizes:
        if (batch := next(batches, None)) is None:
            return
        yield batch
    if next(batches, None) is not None:
        raise ValueError("the metadata of the Arrow file is damaged")


def _valid(batch: Any) -> Any:
    """Return the record batch; the library does not check what a file says about its texts.

    Raises:
        ValueError: they are not in the file.
    """
    for column in batch.columns:
        _validate(column)
    return batch


def _validate(array: Any) -> None:
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(array.type):
        _validate(array.dictionary)
        pyarrow.DictionaryArray.from_arrays(array.indices, array.dictionary.slice(0), safe=True)
    elif types.is_struct(array.type):
        for number in range(array.type.num_fields):
            _validate(array.field(number))
    elif types.is_string(array.type):
        array.view(pyarrow.binary()).validate(full=True)
    elif types.is_large_string(array.type):
        array.view(pyarrow.large_binary()).validate(full=True)
    elif not types.is_nested(array.type):
        array.validate(full=True)
    else:
        array.validate()


def _opened(raw: IO[bytes]) -> Any:
    import pyarrow

    name = getattr(raw, "name", None)
    sizes = [batch.body for batch in islice(batches_of(raw), _FIRST)]
    if isinstance(name, str) and max(sizes, default=0) > _MOST_OF_BATCH:
        return pyarrow.memory_map(name)
    return pyarrow.PythonFile(raw, mode="r")
