"""JSON in its forms: a record per line, lists, records on several lines, tables of pandas, tweets.

Covers qarib_tasks/corpus/reading/json_lines.py and qarib_tasks/corpus/reading/json_records.py.
"""

from __future__ import annotations

import json
import tracemalloc
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.reading.json_lines import text_of
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import LONGEST_RECORD
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of, zipped


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("j3-array-pretty.json", 6),
        ("j4-array-line.json", 6),
        ("j5-concatenated.jsonl", 6),
        ("e9-bom.jsonl", 12),
        ("w8-bom-in-the-middle.jsonl", 6),
    ],
)
def test_forms_of_json_with_sentences(name: str, count: int) -> None:
    assert lines_of(CASES / name) == SENTENCES[:count]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("j2-pandas.json", {}, r"json:1: a table in the form 'columns' of pandas.*orient='records', lines=T"),
        ("j7-list.jsonl", {}, r"jsonl:1: a list instead of text in field 'text'"),
        ("j8-oscar.jsonl", {}, r"no field 'text'\. Use one of these fields: content, warc_headers\.warc-r"),
        ("j8-oscar.jsonl", {"field": ["a", "metadata"]}, "an object instead of text in field 'a' or 'meta"),
        ("j1-tweets.jsonl", {}, r"jsonl:7: no field 'text'\. Correct the record, or raise skip_at_most$"),
    ],
)
def test_records_without_text_say_what_to_do(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines_of(CASES / name, **settings)


def test_a_field_of_a_record_of_oscar() -> None:
    assert lines_of(CASES / "j8-oscar.jsonl", field=["text", "content"]) == SENTENCES[:2]


def test_ends_of_lines_and_odd_characters_inside_a_text() -> None:
    texts = lines_of(CASES / "j6-odd.jsonl")
    assert [text[:10] for text in texts] == [SENTENCES[i][:10] for i in (0, 2, 4, 5, 0)]


@pytest.mark.parametrize("name", ["j1-tweets.jsonl", "j1b-tweets-clean.jsonl"])
def test_a_tweet_that_is_cut_short_has_its_full_text(name: str) -> None:
    counts: Counter[str] = Counter()
    texts = lines_of(CASES / name, counts, skip_at_most=2)
    assert len(texts) == 3
    assert texts[1].endswith(SENTENCES[4])
    assert counts["skipped"] == (2 if name == "j1-tweets.jsonl" else 0)


@pytest.mark.parametrize(
    ("record", "names", "expected"),
    [
        ({"text": "a…", "truncated": True, "extended_tweet": {"full_text": "ab"}}, ("text",), "ab"),
        ({"text": "a", "truncated": False, "extended_tweet": {"full_text": "ab"}}, ("text",), "a"),
        ({"text": "a…", "truncated": True, "extended_tweet": {}}, ("text",), "a…"),
        (
            {"rt": {"text": "a…", "truncated": True, "extended_tweet": {"full_text": "ab"}}},
            ("rt.text",),
            "ab",
        ),
        ({"full_text": "ab"}, ("text",), "ab"),
        ({"full_text": "ab", "text": "a"}, ("text",), "a"),
        ({"full_text": "ab"}, ("body", "text"), None),
        ({"full_text": "ab", "text": "a"}, ("full_text", "text"), "ab"),
        ({"full_text": None, "text": "a"}, ("full_text", "text"), "a"),
        ({"a.b": "x", "a": {"b": "y"}}, ("a.b",), "x"),
    ],
)
def test_the_field_that_is_preferred(
    record: dict[str, Any], names: tuple[str, ...], expected: str | None
) -> None:
    assert text_of(record, names) == expected


def pretty(count: int) -> str:
    records = [
        {"n": n, "text": f"{SENTENCES[n % 12]} {n} " * 100, "in": [1, {"a": None}]} for n in range(count)
    ]
    return json.dumps(records, ensure_ascii=False, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "a"},\n {"text": "b"}]\n',
        '\n\ufeff [\n{"text": "a"}\n,\n{"text": "b"}\n]\n\n',
        '{\n "text": "a"\n}\n{\n "text": "b"\n}',
        '{"text":\n"a"}\n{"text": "b"}',
        '{"text": "a"} {"text": "b"}',
        '{"text": "a"}\r{"text": "b"}\r',
        '{"text": "a"}\n{"text": "b"}',
        '{"n": 1, "text": "a"}\n\ufeff\n{"text": "b"}{"text": ""}',
        '[{"text": "a"}]\n[{"text": "b"}]\n[]',
    ],
)
def test_records_in_any_order_of_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8", newline="")
    assert lines_of(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"text": "a"},\n{"text": "b"}\n', r"a\.json:4: the file ends inside a list"),
        ('[\n{"text": "a"}\n{"text": "b"}\n]', r"a\.json:3: invalid JSON: Expecting ','"),
        ('[\n{"text": "a"},\n{"text" "b"}\n]', r"a\.json:3: invalid JSON"),
        ('[\n{"text": "a"},\n\n{"text": "b', r"a\.json:4: invalid JSON: Unterminated"),
        ('[{"text": "a"},\n]', r"a\.json:2: invalid JSON"),
        ('["a", "b"]', r"a\.json:1: a string instead of an object with f.*jq -c '\.\. \| strings [^,]*$"),
        ("['a', 'b']", r"a\.json:1: invalid JSON"),
        (
            '{"n": 2, "data": [{"text": "a"}]}',
            r"json:1: no field 'text', but the list 'data' of .*data.\]",
        ),
        ('{"a": {"text": "b"}, "c": {"text": "d"}}', r"json:1: no field 'text', but an object in each field"),
        ('{"cells": [], "nbformat": 4}', r"json:1: a Jupyter notebook.*leave it out$"),
        ('{"text": ["a", "b"]}', r"json:1: a list instead of text in field 'text'\. Join the list"),
        ('[\n{"text": "a"},\n{\n"text": null}]', r"a\.json:3: no text in field 'text': it is null"),
        ("{\n" * 3, r"a\.json:2: invalid JSON"),
        ("[" * 100_000, r"a\.json:1: invalid JSON: too deep"),
        ('{"columns": ["text"], "index": [0], "data": [["a"]]}', r"form 'split' of pandas"),
        ('{"schema": {"fields": []}, "data": [{"text": "a"}]}', r"form 'table' of pandas"),
        ('{"0": {"text": "a"}, "1": {"text": "b"}}', r"form 'index' of pandas"),
        ('{\n"text": {\n"0": "a"\n}\n}', r"a\.json:1: a table in the form 'columns' of pandas"),
        ('{"text": "a"}\n{"text": "b"},\n', r"a\.json:2: invalid JSON: Expecting value at column 14"),
    ],
)
def test_invalid_or_other_json_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        lines_of(path)


def test_an_invalid_first_line_can_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "cut sho\n{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    counts: Counter[str] = Counter()
    assert lines_of(path, counts, skip_at_most=1) == ["a", "b"]
    assert counts["skipped"] == 1


def test_a_list_is_read_in_bounded_memory_with_the_lines_of_its_records(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    count = 4000
    text = pretty(count)
    bad = text.index(f'"n": {count - 1}')
    path.write_text(text[:bad] + text[bad:].replace('"text"', '"other"'), encoding="utf-8")
    assert path.stat().st_size > 36 * BLOCK
    counts: Counter[str] = Counter()
    tracemalloc.start()
    source = from_dict(SourceConfig, {"name": "s", "path": "a", "skip_at_most": 1})
    batches = read(source, path, path.name, counts)
    assert sum(1 for batch in batches for line in batch if line) == count - 1
    assert tracemalloc.get_traced_memory()[1] < 14 * BLOCK
    tracemalloc.stop()
    line = text[:bad].count("\n")
    with pytest.raises(InputError, match=rf"a\.json:{line}: no field 'text'"):
        lines_of(path)


def test_a_record_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.write(b'[{"text": "')
        file.write(b"\xd8\xa7 " * (LONGEST_RECORD // 2 + BLOCK))
        file.truncate(1 << 32)
    with pytest.raises(InputError, match=r"a\.json:1: .* a record longer than 16,777,216"):
        lines_of(path)


def test_a_list_in_an_object_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"n": 1, "data": [' + '{"text": "a"},' * (LONGEST_RECORD // 4) + "{}]}")
    with pytest.raises(InputError, match=r"""json:1: .* with the list 'data' of records\. .*\.\["data"\]"""):
        lines_of(path)


@pytest.mark.parametrize("indent", [None, 1])
def test_halves_of_pairs_of_surrogates_are_counted(
    tmp_path: Path, indent: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.json"
    records = [{"text": text} for text in ("نعم \ud83d", "\ude00\ude00", "\U0001f600")]
    path.write_text("\n".join(json.dumps(record, indent=indent) for record in records), encoding="utf-8")
    counts: Counter[str] = Counter()
    lines_of(path, counts)
    assert counts["replaced_characters"] == 3
    (warning,) = caplog.messages
    assert warning.startswith(f"{path}: halves of pairs of surrogates")


def test_advice_for_a_file_in_an_archive_does_not_depend_on_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.txt": b"a\n", "b.jsonl": b'{"body": "b"}\n'}))
    with pytest.raises(InputError, match=r"b\.jsonl:1: no field 'text'\. Use one of these fields: body"):
        lines_of(path)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_number_of_any_length_is_no_matter(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    record = json.dumps({"text": "نص", "id": 0}, indent=indent).replace(": 0", ": " + "9" * 6000)
    path.write_text(f"{record}\n{record}\n", encoding="utf-8")
    assert lines_of(path) == ["نص", "نص"]


def test_a_name_that_only_looks_the_same(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "آراء")
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": 1, name: SENTENCES[0]}) + "\n")
    with pytest.raises(InputError, match=f"no field 'آراء'; '{name}' only looks the same.* Copy the name"):
        lines_of(path, field="آراء")
