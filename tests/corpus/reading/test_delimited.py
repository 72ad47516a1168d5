"""CSV and TSV: every row is a document, or is named with its line.

Covers qarib_tasks/corpus/reading/dialect.py and qarib_tasks/corpus/reading/columns.py.
"""

from __future__ import annotations

import logging
import tracemalloc
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import LONGEST_RECORD
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of

A, B, C = SENTENCES[:3]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("c4-semicolon.csv", {}, SENTENCES),
        ("c4-semicolon.csv", {"delimiter": ";", "quoting": "double"}, SENTENCES),
        ("c10-trailing-comma.csv", {}, [A, B]),
        ("c11-header-spaces.csv", {}, [A, B]),
        ("c12-no-header.tsv", {"header": False, "field": 3}, SENTENCES),
        ("c14-one-column.csv", {}, [A, B]),
        ("c20-mac.csv", {}, [A, B, C]),
        ("c22-sep-line.csv", {}, [A, B, C]),
        ("c22-sep-line.csv", {"delimiter": ","}, [A, B, C]),
        ("c24-excel-tabs-as-csv.csv", {}, [A, B, C]),
        ("c24-excel-tabs-as-csv.csv", {"delimiter": "tab"}, [A, B, C]),
        ("c24-excel-tabs-as-csv.csv", {"format": "tsv"}, [A, B, C]),
        ("c5-backslash.csv", {}, [A, f'قال "{B}", ثم مضى', C]),
        ("c5-backslash.csv", {"escape": "\\", "quoting": "double"}, [A, f'قال "{B}", ثم مضى', C]),
        ("c6-empty-cells.csv", {}, [A, "NA", "NULL", B]),
        ("c7-dup-column.csv", {"field": 1}, [A, B]),
        ("c7-dup-column.csv", {"field": "2"}, ["x", "y"]),
        ("c8-header-only.csv", {}, []),
        ("c23-mixed-rows.csv", {"skip_at_most": 1}, [A, B, C]),
        ("e10-bom.csv", {}, SENTENCES),
    ],
)
def test_published_forms_are_read(name: str, settings: dict[str, Any], expected: list[str]) -> None:
    assert lines_of(CASES / name, **settings) == expected


@pytest.mark.parametrize("settings", [{}, {"quoting": "none"}])
def test_quotes_that_are_text(settings: dict[str, Any]) -> None:
    texts = lines_of(CASES / "c3-quotes.tsv", **settings)
    assert [text.replace('"', "") for text in texts] == SENTENCES[:9]
    assert [text.count('"') for text in texts] == [0, 1, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("c3-quotes.tsv", {"quoting": "double"}, r"tsv:7: the quote that opens here does not close.*quoting"),
        ("c4-semicolon.csv", {"delimiter": ","}, r"no column 'text'.*columns: id;text.*set `delimiter`"),
        ("c5-backslash.csv", {"quoting": "double"}, r"csv:3: text follows the quote.*`quoting` or `escape`"),
        ("c7-dup-column.csv", {}, r"csv: 2 columns have the name 'text'\. Set `field` to .*: 1 or 2$"),
        ("c12-no-header.tsv", {}, r"no column 'text'.*: 0, ara.*set `header: false`, and `field` to the n"),
        ("c12-no-header.tsv", {"header": False}, r"without a header, no column has the name 'text'.*1 to 3"),
        ("c12-no-header.tsv", {"header": False, "field": 4}, r"no column '4'.*from 1 to 3"),
        ("c12-no-header.tsv", {"field": "00"}, r"no column '00'"),
        (
            "c23-mixed-rows.csv",
            {},
            r"csv:6: the row has 3 columns, expected 2.*`delimiter`, `quoting` or `escape`",
        ),
        ("c6-empty-cells.csv", {"document": "group", "group": "user"}, r"no column 'user'.*id, text"),
    ],
)
def test_a_wrong_setting_or_guess_says_which_setting(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        lines_of(CASES / name, **settings)
    assert "\n" not in str(error.value)


def test_an_empty_cell_is_counted_as_an_empty_document() -> None:
    counts: Counter[str] = Counter()
    lines_of(CASES / "c6-empty-cells.csv", counts)
    assert (counts["empty_records"], counts["skipped"], counts["lines_read"]) == (1, 0, 5)


def test_the_type_of_a_column_that_is_not_asked_for_does_not_matter(written: Any) -> None:
    rows = "".join(f"{number},{A} {number}\n" for number in range(12_000))
    assert len(lines_of(written(f"id,text\n{rows}TW-77,{B}\n"))) == 12_001


def test_a_large_cell(written: Any) -> None:
    cell = "\n".join(f"{A} {number}" for number in range(60_000))
    texts = lines_of(written(f'id,text\n1,{A}\n2,"{cell}"\n3,{B}\n'))
    assert (len(texts), texts[-2:]) == (60_002, [f"{A} 59999", B])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_that_does_not_close_is_an_error_in_the_line_where_it_opens(written: Any, end: str) -> None:
    rows = ["id,text,label", '1,"two', 'lines",x', '2,"a ""b"" c","the', "other", f"3,{A},x"]
    path = written(end.join(rows) + end)
    with pytest.raises(InputError, match=r"a\.csv:4: the quote that opens here does not close\."):
        lines_of(path, quoting="double")
    path = written(end.join([*rows, '4,"later",y', "5,z,y"]) + end)
    with pytest.raises(InputError, match=r"a\.csv:4: .* closes in line 7, in front of other text"):
        lines_of(path, quoting="double", skip_at_most=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'1,"{A}\n' + f"{B}\n" * 90, r"csv:2: the quote that opens here does not close"),
        (f'1,{A}\n2,"{B}\n3,{A}\n', r"csv:3: the quote that opens here does not close.*`quoting: none`"),
        (f'1,{A}\n2,"{B}\n', r"csv:3: the quote that opens here does not close"),
        (
            f'1,"{A}"\n2,"{B}\n3,"{A}"\n',
            r"csv:3: .* closes in line 4, in front of other text.*`quoting: none`",
        ),
    ],
)
def test_a_quote_that_does_not_close_is_no_guess(written: Any, text: str, message: str) -> None:
    """In CSV: in TSV, quotes often are text."""
    with pytest.raises(InputError, match=message):
        lines_of(written(f"id,text\n{text}"))
    path = written("id\ttext\n" + text.replace(",", "\t"), "a.tsv")
    if text.count(",") == text.count("\n"):
        assert len(lines_of(path)) == text.count("\n")
    else:
        with pytest.raises(InputError, match=message.replace("csv", "tsv")):
            lines_of(path)


def test_a_quote_that_does_not_close_is_found_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write('id,text\n1,x\n\n2,"a\n')
        for number in range(40):
            file.write("".join(f"{number},{A}\n" for _ in range(20_000)))
    assert path.stat().st_size > 2 * LONGEST_RECORD
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.csv:4: .* does not close within 16,777,216 characters"):
        lines_of(path, quoting="double")
    # csv takes up to eight bytes for a character.
    assert tracemalloc.get_traced_memory()[1] < 14 * LONGEST_RECORD
    tracemalloc.stop()


def test_a_line_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"id,text\n1,x\n2," + b"x" * (1 << 20))
        file.seek(1 << 36)
        file.write(b"\n")
    with pytest.raises(InputError, match=r"a\.csv:3: the line is longer than"):
        lines_of(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Quotes in front of a sentence and after another enclose complete rows: they are text.
        ('id,text\n1,x\n2,"abc\n3,def\n4,ghi"\n', ["x", '"abc', "def", 'ghi"']),
        ('text,label\na,no\nb,yes\nx,no\n"c,no\nd,no\ne",yes\n', ["a", "b", "x", '"c', "d", 'e"']),
        # Lines of a cell that merely have as many commas are a cell.
        ('id,text\n1,"قال، نعم\nثم, لا"\n', ["قال، نعم", "ثم, لا"]),
        ('id,text\n1,"a, b\nc, d\ne, f"\n2,g\n', ["a, b", "c, d", "e, f", "g"]),
        ("id,text\n1,'a, b'\n2,'it''s'\n", ["a, b", "it's"]),
        ("id,text\n1,'a'\n2,'b'\n", ["a", "b"]),
        ("id,text\n1,'a' b\n2,don't\n", ["'a' b", "don't"]),
        ('id, text\n1, "a, b"\n2, c\n', ["a, b", "c"]),
        ('text\n"a, b"\nc\n', ["a, b", "c"]),
        ("id|text\n1|a, b\n2|c; d\n", ["a, b", "c; d"]),
        ('"sep=;"\r\nid;text\r\n1;a, b\r\n', ["a, b"]),
        ('id,text\r1,"a\nb"\r2,c\r', ["a", "b", "c"]),
        ('id,text\n1,a\rb\n2,"c\rd"\n', ["a", "b", "c", "d"]),
        ("\n\nid,text\n1,a\n   \n2,b", ["a", "b"]),
        ("id,text,\n1,a,\n2,b,\n", ["a", "b"]),
        ('id,text\n1,"a ""b"" c"\n2,5" wide\n', ['a "b" c', '5" wide']),
    ],
)
def test_a_guess_from_the_first_rows(written: Any, text: str, expected: list[str]) -> None:
    assert lines_of(written(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"text","n"\n"1","abc",5\n"2","def",6\n', r"csv:2: the row has 3 columns, expected 2"),
        ("text\na, b\nc\n", r"csv:2: the row has 2 columns, expected 1 \(guessed delimiter ','"),
        ('id,text\r\n1,"a\r\nb"\r\n2,c,d\r\n', r"csv:4: the row has 3 columns"),
        ('id,text\n1,"a"b\n2,"y, z"\n', r"csv:2: text follows the quote"),
        ('sep=;\nid;text\n1;"a\nb"\n2;c\n3;d;e\n', r"csv:6: the row has 3 columns"),
    ],
)
def test_rows_that_no_guess_makes_equal(written: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines_of(written(text))


def test_quotes_that_enclose_rows_after_the_first_ones(written: Any) -> None:
    rows = f"1,{A}\n" * 9000
    path = written(f'id,text\n{rows}2,"abc\n3,def\n4,ghi"\n5,abc\n')
    with pytest.raises(
        InputError, match=r"csv:9002: .*encloses complete rows.*`quoting: none`.*`quoting: double`"
    ):
        lines_of(path)
    assert len(lines_of(path, quoting="none")) == 9004
    assert lines_of(path, quoting="double")[9000:] == ["abc", "3,def", "4,ghi", "abc"]


def test_a_row_is_skipped_and_the_lines_after_it_keep_their_numbers(written: Any) -> None:
    path = written('id,text\n1,"a\nb"\n2\n3,"c"d\n4,e\n5,f,g\n')
    counts: Counter[str] = Counter()
    assert lines_of(path, counts, skip_at_most=3, quoting="double") == ["a", "b", "e"]
    assert counts["skipped"] == 3
    with pytest.raises(InputError, match=r"csv:7: the row has 3 columns, .* after 2 skipped records"):
        lines_of(path, skip_at_most=2, quoting="double")


def test_escapes_of_a_database_without_quotes(written: Any) -> None:
    path = written("1\ta\\tb\\nc\n2\tx\\\\n\\\ny\n3\t\\N\n", "a.tsv")
    settings = {"header": False, "field": 2, "quoting": "none", "escape": "\\"}
    assert lines_of(path, **settings) == ["a\tb", "c", "x\\n", "y"]


def test_the_first_of_several_columns_that_is_not_empty(written: Any) -> None:
    path = written("full,text\nA,a\n,b\n")
    assert lines_of(path, field=["nothing", "full", "text"]) == ["A", "b"]


def test_a_column_by_number_with_a_header_and_groups_without_one(written: Any) -> None:
    path = written("g;text\n1;a\n1;b\n2;c\n")
    assert lines_of(path, field=2) == ["a", "b", "c"]
    source = from_dict(
        SourceConfig,
        {"name": "s", "path": "a", "document": "group", "group": "1", "field": 2, "header": False},
    )
    batches = list(read(source, path, "a.csv", Counter()))
    assert [line for batch in batches for line in batch] == ["", "text", "", "a", "b", "", "c"]


def test_the_log_says_the_guess_once_and_warns_of_a_header_that_may_be_text(
    written: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines_of(CASES / "c4-semicolon.csv")
    assert [record.getMessage() for record in caplog.records] == [
        f"{CASES / 'c4-semicolon.csv'}: guessed delimiter ';', quoting double, columns id, text"
    ]
    caplog.clear()
    lines_of(CASES / "c12-no-header.tsv", field=3)
    assert "If it is text, set `header: false`" in caplog.records[0].getMessage()
    assert caplog.records[0].levelno == logging.WARNING


def test_delimiters_in_the_text_of_a_file_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "".join(f"{sentence}, ثم\n" for sentence in SENTENCES), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a\.csv:2: .*If each line is one text, set `delimiter: tab`; if not, c"
    ):
        lines_of(path)
    assert lines_of(path, delimiter="tab") == [f"{sentence}, ثم" for sentence in SENTENCES]


@pytest.mark.parametrize("mark", ["\u200f", "\u200b", "\u202b", "\xa0", "\ufeff"])
def test_a_name_of_a_column_with_an_invisible_character(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([f"id,{mark}text{mark}", *(f"7,{s}" for s in SENTENCES)]), encoding="utf-8")
    assert lines_of(path) == SENTENCES


def test_rows_above_the_names_of_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for above, message in (
        (
            "# exported",
            r"Use one of these columns: # exported\..*If a later row has the names, remove the rows",
        ),
        (",", r"Set `field` to the number of a column, from 1 to 2\. If a later row has the names"),
    ):
        path.write_text(f"{above}\nid,text\n7,{SENTENCES[0]}\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            lines_of(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"id,text\r\n1,{A}\r2,{B}\r\n3,{C}\r\n", 2),
        (f"id,text\r\n1,{A}\r\n2,{B}\r3,{C}", 3),
        (f"id,text\n1,{A}\r2,{B}\r3,{C}\r", 2),
        (f'id,text\r\n1,"{A}"\r2,"{B}"\r\n', 2),
        (f'"id","text"\n"1","{A}"\r"2","{B}"\r', 2),
        (f"id\ttext\r\n1\t{A}\r\n2\t{B}\r3\t{C}\r\n", 3),
    ],
)
def test_rows_joined_by_a_carriage_return(written: Any, text: str, line: int) -> None:
    path = written(text)
    with pytest.raises(
        InputError, match=rf"a\.csv:{line}: .*carriage return \(CR\).*tr '\\r' '\\n' .*raise skip_at_most"
    ):
        lines_of(path)
    repaired = lines_of(written(text.replace("\r", "\n")))
    assert repaired == [A, B, C][: len(repaired)]
    assert len(repaired) >= 2


def test_a_carriage_return_inside_a_row_of_the_right_width(written: Any) -> None:
    assert lines_of(written(f"id,text\r\n1,{A}\r{B}\r\n2,{C}\r\n")) == [A, B, C]
    with pytest.raises(InputError, match=r"a\.csv:2: the row has 3 columns, expected 2 \(.*\)\. Correct"):
        lines_of(written(f"id,text\n1,{A},x\n2,{B}\n"))


@pytest.mark.parametrize("names", [["id", "text"], ["text"]], ids=len)
@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_header_that_lacks_a_name(
    written: Any, name: str, delimiter: str, quote: str, names: list[str]
) -> None:
    if delimiter == ";":  # Such rows below a single name are texts.
        names = ["id", "text"]
    rows = [names, *(["7", *["x"] * (len(names) - 1), text] for text in SENTENCES[:3])]
    text = "\n".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    said = rf"{name}:2: the row has {len(names) + 1} columns, expected {len(names)} \(.*lacks a name"
    with pytest.raises(InputError, match=rf"{said}.*`header: false`, and `field`"):
        lines_of(written(text, name), skip_at_most=99)
    assert lines_of(written(f"row{delimiter}{text}", name)) == SENTENCES[:3]
    rest = text.partition("\n")[2]
    assert lines_of(written(rest, name), header=False, field=len(names) + 1) == SENTENCES[:3]


def test_a_name_that_only_looks_the_same(written: Any) -> None:
    """The error said that there is no column 'آراء', and to use آراء."""
    composed, parted = "آراء", unicodedata.normalize("NFD", "آراء")
    assert lines_of(written(f"id,{parted}\n1,{A}\n2,{B}\n"), field=composed) == [A, B]
    assert lines_of(written(f"id,{composed}\n1,{A}\n2,{B}\n"), field=parted) == [A, B]
    assert lines_of(written(f"{parted},{composed}\n1,{A}\n2,{B}\n"), field=composed) == [A, B]
    with pytest.raises(InputError, match=r"2 columns have the name .* Set `field` to the number"):
        lines_of(written(f"أ{parted},أ{parted},id\n{A},{B},1\n"), field=f"أ{composed}")
