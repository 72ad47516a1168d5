"""Rows of tables in columns as lines, in parts that are not too large."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qarib_tasks.corpus.content.decoding import decoded
from qarib_tasks.corpus.reading.columns import places_of
from qarib_tasks.corpus.reading.encoding import encoding_of_cells
from qarib_tasks.corpus.reading.records import Batches, Documents, Reading

ROWS = 1000  # rows of a table that are read at once
AT_ONCE = 64 << 20  # bytes of texts that are read at once, except of one row
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


def wanted_columns(reading: Reading, schema: Any) -> tuple[list[_Column], _Column | None]:
    columns = _columns(schema)
    places, group = places_of(reading, [column.path for column in columns])
    return [columns[place] for place in places], None if group is None else columns[group]


def lines_of_batches(
    reading: Reading, batches: Iterable[Any], wanted: list[_Column], group: _Column | None, rows: int = 0
) -> Batches:
    """Yield the lines of pyarrow's record batches.

    Args:
        rows: in all of them; 0 if that is unknown.
    """
    documents, cells, number = Documents(reading), _Cells(reading), 0
    for batch in batches:
        columns = [column.of(batch) for column in wanted]
        labels = group.of(batch) if group else None
        for start, count in _parts([*columns, *([labels] if group else [])], batch.num_rows):
            texts = [_dense(column.slice(start, count)) for column in columns]
            size = sum(map(_bytes, texts))
            if reading.allowance:
                reading.allowance.add_rows(count)
                reading.allowance.take(size)
            groups: list[Any] = [None] * count
            if labels is not None:
                groups = _values(_dense(labels.slice(start, count)))
            firsts = [
                next((each for each in row if each is not None), None)
                for row in zip(*map(_texts, texts), strict=True)
            ]
            firsts = cells.decoded(firsts, size)
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


def _parts(columns: Sequence[Any], rows: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a batch that are read at once: the first row of each, and the number of rows."""
    for start in range(0, rows, ROWS):
        yield from _divided(columns, start, min(ROWS, rows - start))


def _divided(columns: Sequence[Any], start: int, count: int) -> Iterator[tuple[int, int]]:
    if count == 1 or sum(_most_bytes(column.slice(start, count)) for column in columns) <= AT_ONCE:
        yield start, count
        return
    half = count // 2
    yield from _divided(columns, start, half)
    yield from _divided(columns, start + half, count - half)


def _most_bytes(array: Any) -> int:
    """Return how many bytes the texts of an array have at most. Many rows can have the same long text."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        whole = len(array) * int(array.dictionary.nbytes)
        if whole <= AT_ONCE or not _is_text(array.type.value_type):
            return whole
        lengths = compute.binary_length(array.dictionary)
        return int(compute.sum(compute.take(lengths, array.indices)).as_py() or 0)
    if types.is_run_end_encoded(array.type):
        return len(array) * int(array.values.nbytes)
    return _bytes(array) if _is_view(array.type) else int(array.nbytes)


def _dense(array: Any) -> Any:
    import pyarrow

    return array.dictionary_decode() if pyarrow.types.is_dictionary(array.type) else array


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _texts(array: Any) -> list[Any]:
    """Return the values of texts. Lists are no texts; they can have any length, and are given empty."""
    import pyarrow

    if pyarrow.types.is_nested(array.type) and not pyarrow.types.is_struct(array.type):
        return [[] if valid else None for valid in array.is_valid().to_pylist()]
    return _values(array)


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


def _is_view(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string_view(kind) or types.is_binary_view(kind))


def _bytes_of_views(array: Any) -> int:
    """Return the sum of the lengths: the first of the four integers of each row. pyarrow cannot."""
    import numpy as np

    integers = np.frombuffer(array.buffers()[1] or b"", "<i4")
    lengths = integers[4 * array.offset : 4 * (array.offset + len(array)) : 4]
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return int(lengths[valid].sum(dtype=np.int64))


def _text_if_possible(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _bytes(array: Any) -> int:
    """Return the number of bytes of the texts in a pyarrow array; about, of a type that has no length."""
    import pyarrow

    if _is_view(array.type):
        return _bytes_of_views(array)
    try:
        return pyarrow.compute.sum(pyarrow.compute.binary_length(array)).as_py() or 0
    except pyarrow.ArrowNotImplementedError:
        return int(array.nbytes)


def show_first(reading: Reading, batches: Iterable[Any], schema: Any, hidden: Collection[str] = ()) -> None:
    """Set the reading's examples.

    Args:
        hidden: the paths of columns that are not shown.
    """
    if batch := next((batch for batch in batches if batch.num_rows), None):
        first = batch.slice(0, 1)
        reading.examples = [_example(column, first, hidden) for column in _columns(schema)]


def _example(column: _Column, batch: Any, hidden: Collection[str]) -> Any:
    if column.path in hidden or column.name not in batch.schema.names:
        return ""
    values = column.of(batch)
    return _values(_dense(values))[0] if _most_bytes(values) <= AT_ONCE else ""
