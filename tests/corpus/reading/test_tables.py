"""Parquet and Arrow: columns of every type of text, and fields inside columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import LabelledSource
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import LABEL_END, Findings
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("p1-dictionary.parquet", "text"),
        ("p2-large-string.parquet", "text"),
        ("p2b-string-view.parquet", "text"),
        ("p3-binary.parquet", "text"),
        ("p4-struct.parquet", "doc.body"),
        ("p4-struct.parquet", "1"),
        ("p7-pandas-index.parquet", "text"),
        ("p8-categorical.parquet", "text"),
        ("p10-zstd.parquet", "text"),
        ("p11-dotted.parquet", "text"),
        ("p11-dotted.parquet", "a.b"),
        ("b1-data-00000-of-00001.arrow", "text"),
    ],
)
def test_six_sentences_of_every_type(name: str, field: str) -> None:
    assert lines_of(CASES / name, field=field) == SENTENCES[:6]


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("p4-struct.parquet", "text", r"no column 'text'\. Use one of these columns: doc\.body, doc\.n$"),
        ("p4-struct.parquet", "doc", r"no column 'doc'\. Use one of these columns: doc\.body, doc\.n$"),
        ("p4-struct.parquet", "doc.n", r"a number instead of text in field 'doc\.n'"),
        ("p5-list.parquet", "sentences", r"a list instead of text in field 'sentences'"),
        ("p6-null.parquet", "text", r"parquet:2: no text in field 'text'.*raise skip_at_most$"),
        ("b1-data-00000-of-00001.arrow", "body", r"no column 'body'\. Use one of these columns: text, url$"),
    ],
)
def test_columns_without_text(name: str, field: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines_of(CASES / name, field=field)


def test_nulls_are_counted() -> None:
    counts: Counter[str] = Counter()
    assert lines_of(CASES / "p6-null.parquet", counts, skip_at_most=1) == [SENTENCES[0], SENTENCES[1]]
    assert counts["skipped"] == 1


def table() -> Any:
    rows = [
        {"a": {"n": n // 2, "x": {"text": None if n == 3 else f"نص {n}"}}, "b": "آخر", "a.n": "غيره"}
        for n in range(5)
    ]
    return pyarrow.Table.from_pylist(rows)


def written(path: Path, data: Any) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(data, path)
        return path
    opened = pyarrow.ipc.new_file if path.name == "file.arrow" else pyarrow.ipc.new_stream
    with opened(str(path), data.schema) as writer:
        writer.write_table(data, max_chunksize=2)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
def test_fields_inside_fields_groups_and_the_first_that_is_not_null(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, table())
    assert lines_of(path, field=["c", "a.x.text", "b"]) == ["نص 0", "نص 1", "نص 2", "آخر", "نص 4"]
    source = from_dict(
        SourceConfig,
        {"name": "s", "path": "a", "field": "b", "document": "group", "group": "1"},
    )
    batches = read(source, path, path.name, Counter())
    assert [line for batch in batches for line in batch].count("") == 3
    with pytest.raises(InputError, match=r"2 columns have the name 'a\.n'.*: 1 or 4"):
        lines_of(path, field="a.n")
    assert lines_of(path, field=4) == ["غيره"] * 5


@pytest.mark.parametrize("name", ["file.arrow", "stream.arrow"])
def test_an_arrow_file_cut_short_is_an_error(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, table())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read"):
        lines_of(path, field="b")


@pytest.mark.parametrize("name", ["file.arrow", "stream.arrow"])
def test_the_second_column_of_a_name_by_its_number(tmp_path: Path, name: str) -> None:
    data = pyarrow.table([["نعم"], ["لا"], ["ربما"]], names=["text", "id", "text"])
    path = written(tmp_path / name, data)
    assert lines_of(path, field=3) == ["ربما"]
    assert lines_of(path, field=1) == ["نعم"]


def of_bytes(kind: Any, cells: list[bytes | None]) -> Any:
    """Return a column whose type says that it holds text, and whose bytes nothing checked."""
    if pyarrow.types.is_dictionary(kind):
        values = of_bytes(kind.value_type, cells)
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(range(len(cells)), pyarrow.int32()), values)
    binary = pyarrow.large_binary() if kind == pyarrow.large_string() else pyarrow.binary()
    data = pyarrow.array(cells, binary)
    if kind in (pyarrow.string(), pyarrow.large_string()):
        return pyarrow.Array.from_buffers(kind, len(cells), data.buffers())
    return data.cast(kind)


TEXTS = [
    pyarrow.string(),
    pyarrow.large_string(),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    pyarrow.binary(),
    pyarrow.large_binary(),
    pyarrow.binary_view(),
]


@pytest.mark.parametrize("kind", TEXTS, ids=str)
@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
def test_undecodable_bytes_in_a_text_of_every_type(tmp_path: Path, name: str, kind: Any) -> None:
    if name == "a.parquet" and kind == pyarrow.binary_view():
        kind = pyarrow.binary()  # Parquet does not know it.
    cells = [f"{SENTENCES[0]} {n}".encode() for n in range(3000)]
    cells[1500] += b"\xff"
    path = written(tmp_path / name, pyarrow.table({"text": of_bytes(kind, cells)}))
    findings = Findings(readings=[])
    source = SourceConfig(name="s", path=str(path))
    lines = [line for batch in read(source, path, name, Counter(), findings) for line in batch if line]
    assert lines == [f"{SENTENCES[0]} {n}" + "\ufffd" * (n == 1500) for n in range(3000)]
    assert (findings.undecodable, findings.warnings) == ({name: 1}, {})
    few = cells[1498:1502] if pyarrow.types.is_dictionary(kind) else [*cells[1498:1502], None]
    path = written(tmp_path / name, pyarrow.table({"text": of_bytes(kind, few)}))
    with pytest.raises(InputError, match=r"1 byte \(0\.\d\d%\) is not UTF-8; the file is damaged"):
        lines_of(path, skip_at_most=1)


@pytest.mark.parametrize("kind", TEXTS[:4], ids=str)
@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow"])
def test_cells_in_another_encoding(tmp_path: Path, name: str, kind: Any) -> None:
    path, cells = tmp_path / name, [text.encode("cp1256") for text in SENTENCES[:6]]
    written(path, pyarrow.table({"text": of_bytes(kind, cells)}))
    with pytest.raises(InputError, match=r"\(8\d\.\d\d%\) are not UTF-8; .* `encoding: windows-1256`"):
        lines_of(path)
    assert lines_of(path, encoding="windows-1256") == SENTENCES[:6]
    mixed = [*(text.encode() for text in SENTENCES[:6] * 2), cells[0]]
    written(path, pyarrow.table({"text": of_bytes(kind, mixed)}))
    with pytest.raises(
        InputError, match=r"\([2-6]\.\d\d%\) .*some of its lines are UTF-8, others .*windows-1256"
    ):
        lines_of(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_binary_cells_of_several_bytes_per_character(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.parquet"
    cells = [text.encode(encoding) for text in SENTENCES[:6]]
    written(path, pyarrow.table({"text": cells}))
    with pytest.raises(InputError, match=f"not UTF-8; the encoding is probably {encoding}"):
        lines_of(path)
    assert lines_of(path, encoding=encoding) == SENTENCES[:6]
    marked = [f"\ufeff{text}".encode(encoding) for text in SENTENCES[:6]]
    assert lines_of(written(path, pyarrow.table({"text": marked}))) == SENTENCES[:6]


def test_binary_cells_that_are_no_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", pyarrow.table({"text": [bytes(range(256)) * 4] * 20}))
    with pytest.raises(InputError, match="not text"):
        lines_of(path)


def test_the_share_of_undecodable_bytes_is_not_that_of_the_compressed_file(
    tmp_path: Path,
) -> None:
    cells = [b"\xff" * 20, *[SENTENCES[0].encode()] * 5000]
    path = written(tmp_path / "a.parquet", pyarrow.table({"text": cells}))
    assert path.stat().st_size < 5000
    assert lines_of(path)[1:] == [SENTENCES[0]] * 5000


def test_binary_texts_with_binary_labels(tmp_path: Path) -> None:
    columns = {"text": [SENTENCES[0].encode("cp1256")] * 2, "label": ["نعم".encode("cp1256"), None]}
    path = written(tmp_path / "a.parquet", pyarrow.table(columns))
    source = from_dict(
        LabelledSource,
        {
            "name": "s",
            "path": str(path),
            "field": "text",
            "document": "group",
            "group": "label",
            "encoding": "windows-1256",
        },
    )
    assert [line for batch in read(source, path, path.name, Counter()) for line in batch] == [
        f"نعم{LABEL_END}{SENTENCES[0]}",
        f"{LABEL_END}{SENTENCES[0]}",
    ]
