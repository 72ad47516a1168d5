"""Tables in columns: Parquet and Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from qarib_tasks.corpus.reading.columns import places_of
from qarib_tasks.corpus.reading.records import Batches, Documents, Reading

ROWS = 1000  # rows of a table that are read at once
_FILE_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class _Column:
    """A column, or a field inside a column of objects.

    Attributes:
        place: of the column, from 0.
        name: of the column.
        nth: how many columns before it have the same name.
        inside: the names from the column to the field.
    """

    place: int
    name: str
    nth: int
    inside: tuple[str, ...]

    @property
    def path(self) -> str:
        return ".".join((self.name, *self.inside))

    def of(self, batch: Any) -> Any:
        """Return its values in a record batch, which may lack other columns."""
        import pyarrow.compute

        places = [place for place, name in enumerate(batch.schema.names) if name == self.name]
        values = batch.column(places[self.nth])
        for name in self.inside:
            values = pyarrow.compute.struct_field(values, name)
        return values


def _columns(schema: Any) -> list[_Column]:
    import pyarrow

    def fields(of: Any) -> Iterator[tuple[str, ...]]:
        if not pyarrow.types.is_struct(of):
            yield ()
            return
        for field in of:
            yield from ((field.name, *inside) for inside in fields(field.type))

    names = schema.names
    return [
        _Column(place, field.name, names[:place].count(field.name), inside)
        for place, field in enumerate(schema)
        for inside in fields(field.type)
    ]


def _wanted(reading: Reading, schema: Any) -> tuple[list[_Column], _Column | None]:
    columns = _columns(schema)
    places, group = places_of(reading, [column.path for column in columns])
    return [columns[place] for place in places], None if group is None else columns[group]


def _lines_of_batches(
    reading: Reading, batches: Iterable[Any], wanted: list[_Column], group: _Column | None, rows: int = 0
) -> Batches:
    """Yield the lines of pyarrow's record batches.

    Args:
        rows: in all of them; 0 if that is unknown.
    """
    documents, number = Documents(reading), 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            part = batch.slice(start, ROWS)
            texts = [column.of(part).to_pylist() for column in wanted]
            groups = group.of(part).to_pylist() if group else [None] * part.num_rows
            lines: list[str] = []
            for each, row in zip(groups, zip(*texts, strict=True), strict=True):
                number += 1
                text = next((value for value in row if value is not None), None)
                lines += documents.lines(text, each, number)
            reading.counts["line"] = number
            reading.share = number / rows if rows else None
            yield lines


def _show_first(reading: Reading, batches: Iterable[Any], schema: Any) -> None:
    if batch := next((batch for batch in batches if batch.num_rows), None):
        reading.examples = [column.of(batch.slice(0, 1))[0].as_py() for column in _columns(schema)]


def read_parquet(reading: Reading, raw: IO[bytes]) -> Batches:
    import pyarrow.parquet

    # Without pre-buffering and with a small buffer, pyarrow holds no row group in memory.
    with pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as table:
        wanted, group = _wanted(reading, table.schema_arrow)
        names = [column.path for column in (*wanted, *filter(None, [group]))]
        if reading.detailed:
            _show_first(reading, table.iter_batches(1, use_threads=False), table.schema_arrow)
        batches = table.iter_batches(ROWS, columns=names, use_threads=False)
        yield from _lines_of_batches(reading, batches, wanted, group, table.metadata.num_rows)


def read_arrow(reading: Reading, raw: IO[bytes]) -> Batches:
    """Yield the lines of the texts in an Arrow file or stream, which the library datasets writes.

    A record batch is in memory; of a file that is not compressed, only the pages that are used.
    """
    import pyarrow.ipc

    with _opened(raw) as stream:
        is_file = stream.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        stream.seek(0)
        opened = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
        with opened(stream) as table:
            wanted, group = _wanted(reading, table.schema)
            names = {column.name for column in (*wanted, *filter(None, [group]))}
            used = [place for place, name in enumerate(table.schema.names) if name in names]
            if reading.detailed:
                some = map(table.get_batch, range(table.num_record_batches)) if is_file else table
                _show_first(reading, some, table.schema)
        stream.seek(0)
        with opened(stream, options=pyarrow.ipc.IpcReadOptions(included_fields=used)) as table:
            batches = map(table.get_batch, range(table.num_record_batches)) if is_file else table
            yield from _lines_of_batches(reading, batches, wanted, group)


def _opened(raw: IO[bytes]) -> Any:
    import pyarrow

    name = getattr(raw, "name", None)
    if isinstance(name, str):
        return pyarrow.memory_map(name)
    return pyarrow.PythonFile(raw, mode="r")
