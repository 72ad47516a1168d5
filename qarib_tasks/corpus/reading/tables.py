"""Tables in columns: Parquet and Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from qarib_tasks.corpus.content.decoding import decoded
from qarib_tasks.corpus.reading.columns import places_of
from qarib_tasks.corpus.reading.encoding import encoding_of_cells
from qarib_tasks.corpus.reading.records import Batches, Documents, Reading

ROWS = 1000  # rows of a table that are read at once
_FILE_MAGIC = b"ARROW1"
_SHORT = 2000  # bytes of a cell that is kept to compare others with


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
        return values.dictionary_decode() if pyarrow.types.is_dictionary(values.type) else values


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
    documents, cells, number = Documents(reading), _Cells(reading), 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            part = batch.slice(start, ROWS)
            columns = [column.of(part) for column in wanted]
            texts = [_values(column) for column in columns]
            groups = _values(group.of(part)) if group else [None] * part.num_rows
            firsts = [
                next((each for each in row if each is not None), None) for row in zip(*texts, strict=True)
            ]
            firsts = cells.decoded(firsts, sum(map(_bytes, columns)))
            if documents.takes_empty:  # The groups are labels.
                groups = cells.decoded(groups, 0)
            lines: list[str] = []
            for each, text in zip(groups, firsts, strict=True):
                number += 1
                lines += documents.lines(text, each, number)
            reading.counts["line"] = number
            reading.share = number / rows if rows else None
            yield lines
    cells.close()


class _Cells:
    """Decodes cells that are bytes, in the file's encoding."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known = False
        self._first: list[Any] = []
        self._sample = b""
        # The size of a table, which is compressed, says nothing of that of its texts.
        reading.size = None

    def decoded(self, values: list[Any], size: int) -> list[Any]:
        """Return the values, with text for bytes.

        Args:
            size: bytes of the columns that they are from.

        Raises:
            InputError: more bytes are undecodable than the source allows.
        """
        reading = self._reading
        reading.passed += size
        if len(self._first) < ROWS:
            self._first += [
                value for value in values if isinstance(value, str | bytes) and len(value) <= _SHORT
            ]
        if not any(isinstance(value, bytes) for value in values):
            return values
        if not self._known:
            self._known = True
            encoding_of_cells(reading, [value for value in values if isinstance(value, bytes)])
        texts, undecodable = [], 0
        for value in values:
            text = value
            if isinstance(value, bytes):
                text, count = decoded(value, reading.encoding)
                text = text.removeprefix("\ufeff")
                undecodable += count
            texts.append(text)
        if undecodable:
            cells = [value.encode() if isinstance(value, str) else value for value in (*self._first, *values)]
            self._sample = self._sample or b"\n".join(cell for cell in cells if isinstance(cell, bytes))
            reading.undecodable(undecodable, self._sample)
        return texts

    def close(self) -> None:
        """Check how many bytes of all are undecodable."""
        self._reading.ended = True
        self._reading.undecodable(0, self._sample)


def _values(array: Any) -> list[Any]:
    """Return the values of a pyarrow array; bytes for a string that is not UTF-8, which no library checks."""
    try:
        values: list[Any] = array.to_pylist()
        return values
    except UnicodeDecodeError:
        import pyarrow

        return [_text_if_possible(value) for value in array.cast(pyarrow.large_binary()).to_pylist()]


def _text_if_possible(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _bytes(array: Any) -> int:
    """Return the number of bytes of the texts in a pyarrow array; about, of a type that has no length."""
    import pyarrow

    try:
        return pyarrow.compute.sum(pyarrow.compute.binary_length(array)).as_py() or 0
    except pyarrow.ArrowNotImplementedError:
        return int(array.nbytes)


def _show_first(reading: Reading, batches: Iterable[Any], schema: Any) -> None:
    if batch := next((batch for batch in batches if batch.num_rows), None):
        reading.examples = [_values(column.of(batch.slice(0, 1)))[0] for column in _columns(schema)]


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

    A record batch is in memory.
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
