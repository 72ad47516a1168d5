"""Small files that unpack to more than memory holds, or that never end, are errors before they take it.

Covers qarib_tasks/corpus/content/arrow_messages.py, qarib_tasks/corpus/content/parquet_pages.py,
qarib_tasks/corpus/reading/tables/arrow.py, qarib_tasks/corpus/reading/tables/parquet.py,
qarib_tasks/corpus/reading/tables/read.py, qarib_tasks/corpus/reading/tables/rows.py.
"""

from __future__ import annotations

import io
import resource
import struct
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.content import decompression
from qarib_tasks.corpus.content.arrow_messages import batches_of
from qarib_tasks.corpus.content.parquet_pages import pages_of
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.errors import InputError
from tests.support.collecting import lines_of, seen, sentences, zipped

LONG = "نص " * 50_000  # 250 kB
EXPANDS = r"unpacks to more than 200 times"
MEMORY = 600 << 20  # bytes that a reader may take, beside what it has when it starts


def parquet(table: pa.Table, **options: object) -> bytes:
    out = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, out, **options)
    return out.getvalue().to_pybytes()


def arrow(batch: pa.RecordBatch, compression: str | None = None, *, is_file: bool = True) -> bytes:
    out = pa.BufferOutputStream()
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(out, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    return out.getvalue().to_pybytes()


def dictionary(rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([LONG]))


def long_list() -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 21_000_000], pa.int32()), pa.nulls(21_000_000, pa.int8()))


def views(rows: int) -> pa.Array:
    """Rows that are all the same bytes of a buffer."""
    data = LONG.encode()
    view = struct.pack("<i4sii", len(data), data[:4], 0, 0)
    buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


def batch(values: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([values], ["text"])


def overlapping_zip() -> bytes:
    """A thousand members that are the same bytes of the file."""
    whole = zipped({"a.txt": b"a\n" * 50_000})
    directory = whole.rindex(b"PK\x01\x02")
    end = whole.rindex(b"PK\x05\x06")
    entries = b"".join(
        whole[directory : directory + 46] + f"{i:05}".encode() + whole[directory + 51 : end]
        for i in range(1000)
    )
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), directory, 0)
    return whole[:directory] + entries + tail


def tar_header(size: int, kind: bytes = tarfile.REGTYPE, name: str = "a.txt") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


SMALL: dict[str, tuple[Callable[[], bytes], str]] = {
    "dictionary.parquet": (
        lambda: parquet(pa.table({"text": dictionary(2000)}), compression="zstd"),
        EXPANDS,
    ),
    "plain.parquet": (
        lambda: parquet(pa.table({"text": ["a" * 10_000_000] * 2}), compression="zstd", use_dictionary=False),
        EXPANDS,
    ),
    "delta.parquet": (
        lambda: parquet(
            pa.table({"text": ["a" * 2_000_000] * 10}),
            compression="zstd",
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY"},
        ),
        EXPANDS,
    ),
    "rows.parquet": (
        lambda: parquet(pa.table({"text": pa.nulls(1_100_000, pa.string())}), compression="zstd"),
        EXPANDS,
    ),
    "lists.parquet": (
        lambda: parquet(pa.table({"text": long_list()}), compression="zstd"),
        "lists of 21,000,000 values",
    ),
    "zstd.arrow": (lambda: arrow(batch(pa.array([LONG] * 80)), "zstd"), EXPANDS),
    "lz4.arrows": (lambda: arrow(batch(pa.array([LONG] * 80)), "lz4", is_file=False), EXPANDS),
    "dictionary.arrow": (lambda: arrow(batch(dictionary(20_000))), EXPANDS),
    "nulls.arrow": (lambda: arrow(batch(pa.nulls(1_100_000))), EXPANDS),
    "ends.arrow": (
        lambda: arrow(batch(pa.RunEndEncodedArray.from_arrays([2_000_000], [LONG]))),
        EXPANDS,
    ),
    "views.arrow": (
        lambda: arrow(batch(views(20_000))),
        EXPANDS,
    ),
    "overlapping.zip": (overlapping_zip, "overlaps another one"),
    # To skip a member, tarfile counts to its end.
    "endless.tar": (lambda: tar_header(1 << 60, name=".hidden") + bytes(1024), EXPANDS),
    "name.tar": (lambda: tar_header(1 << 40, tarfile.GNUTYPE_LONGNAME), "a header has"),
    "facts.tar": (lambda: tar_header(1 << 40, tarfile.XHDTYPE), "a header has"),
}


def offsets_outside() -> bytes:
    """An Arrow file whose texts are not in its buffers."""
    values = pa.array(["abc"] * 100)
    data = arrow(batch(values))
    start = data.index(struct.pack("<4i", 0, 3, 6, 9))
    return data[: start + 8] + struct.pack("<i", 1 << 30) + data[start + 12 :]


SMALL["offsets.arrow"] = (offsets_outside, "cannot be read")


@pytest.mark.parametrize("name", SMALL)
def test_a_small_file_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make, message = SMALL[name]
    if name.startswith(("rows", "nulls")):  # Each counts as a byte: fewer are faster.
        monkeypatch.setattr(decompression, "FREE_EXPANSION", 1 << 20)
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 8 << 20
    source = from_dict(SourceConfig, {"name": "s", "path": str(path), "skip_at_most": 1 << 40})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message) as raised:
        for _ in read(source, path, str(path), Counter()):
            pass
    assert name in str(raised.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY >> 10


def test_limits_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({f"{i}.txt": "سطر\n".encode() for i in range(3)}))
    assert lines_of(path, most_members=3) == ["سطر"] * 3
    with pytest.raises(InputError, match=r"more than 2 members.*raise `most_members`"):
        lines_of(path, most_members=2)
    with pytest.raises(InputError, match=r"more than 20 bytes.*raise `most_bytes`"):
        lines_of(path, most_bytes=20)
    path.write_bytes(parquet(pa.table({"text": [LONG] * 100})))
    with pytest.raises(InputError, match=r"more than 50 rows.*raise `most_rows`"):
        lines_of(path, most_rows=50, skip_at_most=1000)
    assert len(lines_of(path, most_expansion=1_000_000, skip_at_most=1000)) in (0, 100)


def test_tables_of_every_layout_give_their_texts(tmp_path: Path) -> None:
    """What is checked before it is read stays the same: pages, encodings, codecs, and types of texts."""
    texts = sentences(3000) + ["طويل " * 20_000] * 3
    path = tmp_path / "a"
    for options in (
        {"compression": "snappy"},
        {"compression": "gzip", "row_group_size": 500},
        {"compression": "brotli", "data_page_version": "2.0"},
        {"compression": "lz4"},
        {"compression": "none", "use_dictionary": False, "data_page_size": 4000},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
    ):
        path.write_bytes(parquet(pa.table({"id": range(len(texts)), "text": texts}), **options))
        assert lines_of(path) == [text.strip() for text in texts], options
    kinds = (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.binary(),
    )
    for kind in kinds:
        for compression in (None, "lz4", "zstd"):
            for is_file in (True, False):
                values = (
                    pa.array(texts).cast(kind)
                    if kind != pa.binary()
                    else pa.array([t.encode() for t in texts])
                )
                path.write_bytes(arrow(batch(values), compression, is_file=is_file))
                assert lines_of(path) == [text.strip() for text in texts], (kind, compression, is_file)


def test_large_cells_are_read_in_small_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{number} " + LONG * 6 for number in range(60)]
    path.write_bytes(parquet(pa.table({"text": texts}), compression="none"))
    source = from_dict(SourceConfig, {"name": "s", "path": str(path), "skip_at_most": 1 << 40})
    sizes = [sum(map(len, lines)) for lines in read(source, path, str(path), Counter())]
    assert max(sizes) < 64 << 20
    assert len(sizes) > 1


def test_the_sizes_that_headers_say(tmp_path: Path) -> None:
    texts = sentences(1000)
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(pa.table({"text": texts}), use_dictionary=False, data_page_size=4000))
    with path.open("rb") as file, pyarrow.parquet.ParquetFile(path) as table:
        chunk = table.metadata.row_group(0).column(0)
        pages = pages_of(file, [chunk])
    assert pages.values == 1000
    assert sum(len(text.encode()) + 4 for text in texts) <= pages.bytes <= chunk.total_uncompressed_size
    data = arrow(batch(pa.array(texts)), "zstd")
    (found,) = batches_of(io.BytesIO(data))
    assert (found.rows, found.dictionary) == (1000, False)
    assert found.unpacked > sum(len(text.encode()) for text in texts) > found.body


def test_a_preview_shows_no_column_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "text": ["نص صغير"] * 2,
            "list": pa.concat_arrays([long_list(), pa.array([[]], pa.list_(pa.int8()))]),
        }
    )
    path.write_bytes(parquet(table, compression="zstd"))
    found = seen(path)
    assert {column.name: column.example for column in found.columns}["text"] == "نص صغير"


@pytest.mark.parametrize("name", ["zstd.arrow", "plain.parquet"])
def test_damaged_metadata_is_one_clear_error(tmp_path: Path, name: str) -> None:
    texts = pa.array(sentences(200))
    whole = arrow(batch(texts), "zstd") if name.endswith("arrow") else parquet(pa.table({"text": texts}))
    path = tmp_path / name
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        for value in (0x00, 0xFF, 0x7F):
            path.write_bytes(whole[:place] + bytes([value]) * 4 + whole[place + 4 :])
            try:
                lines_of(path, skip_at_most=1000, encoding_errors="replace")
            except InputError as error:
                assert name in str(error)  # noqa: PT017


def test_the_memory_of_unpacking_xz(tmp_path: Path) -> None:
    import lzma

    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 30}]
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(b"text\n", filters=filters))
    # The dictionary that the header claims is not taken.
    with pytest.raises(InputError, match="cannot be read: Memory usage limit"):
        lines_of(path)
