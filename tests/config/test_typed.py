"""Numbers and lists of sources as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.typed import listed, number, source_names


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2,000,000", 2_000_000),
        ("2 000 000", 2_000_000),
        ("2\u202f000\u202f000", 2_000_000),
        ("2_000_000", 2_000_000),
        ("2'000", 2_000),
        ("-5", -5),
        ("\u22125", -5),
        ("+7", 7),
        ("1e5", 100_000),
        ("1E+5", 100_000),
        ("1.5e6", 1_500_000),
        ("8e-6", 8e-6),
        (".0001", 1e-4),
        ("-.5", -0.5),
        ("1.", 1),
        ("0.125", 0.125),
        ("1,000.5", 1000.5),
        (" 64\t", 64),
        ("0012", 12),
        ("٢٬٠٠٠٬٠٠٠", 2_000_000),
        ("٢،٠٠٠", 2_000),
        ("\u200f٢٬٠٠٠\u200f", 2_000),
        ("\u200e -5", -5),
        ("٠٫١٥", 0.15),
        ("۶۴", 64),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    read = number(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", ".", "e5", "1e", "abc", "1x", "nan", "inf", "0x10", "1e100", "- 5", "1/2", "50%", "²"),
        *("2,5", "1,0000", "1234,567", "1,000,00", "2,000 000", "2.000.000", "1,,000", ",5", "٢،٥", "\u200f"),
    ],
)
def test_what_is_no_number_or_two_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number that can be read in one way\. Write it as"):
        number(text)


def test_a_point_that_could_group_digits_is_refused_in_an_integer() -> None:
    assert number("2.000") == 2
    assert number("2.0e3", integer=True) == 2_000
    assert number("2,000", integer=True) == 2_000
    with pytest.raises(ValueError, match=r"'2\.000' is not a number that can be read in one way"):
        number("2.000", integer=True)


def test_sources_are_paths_one_a_line() -> None:
    text = "\n/data/tweets/*.txt.gz\n  gs://a-bucket/my books/  \n\n# later:\n[ab]/*.txt\nC:\\x.txt\n*.csv\n"
    assert listed(text) == [
        {"name": "tweets", "path": "/data/tweets/*.txt.gz"},
        {"name": "my_books", "path": "gs://a-bucket/my books/"},
        {"name": "text", "path": "[ab]/*.txt"},
        {"name": "C_x", "path": "C:\\x.txt"},
        {"name": "text-2", "path": "*.csv"},
    ]
    assert listed(" \n") == []


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "t", "path": "/d/t.txt", "document": "line"}]',
        '{"name": "t", "path": "/d/t.txt", "document": "line"}',
        "- name: t\n  path: /d/t.txt\n  document: line\n",
        "name: t\npath: /d/t.txt\ndocument: line",
        "t:\n  path: /d/t.txt\n  document: line\n",
        "# of today\n-\n  {name: t, path: /d/t.txt, document: line}\n",
    ],
)
def test_sources_are_yaml_or_json(text: str) -> None:
    assert listed(text) == [{"name": "t", "path": "/d/t.txt", "document": "line"}]


def test_sources_are_names_with_paths_or_paths() -> None:
    assert listed("tweets: /d/t.txt\nbooks: /d/b") == [
        {"name": "tweets", "path": "/d/t.txt"},
        {"name": "books", "path": "/d/b"},
    ]
    assert listed("- /d/t.txt\n- /e/t.txt\n") == [
        {"name": "t", "path": "/d/t.txt"},
        {"name": "t-2", "path": "/e/t.txt"},
    ]


@pytest.mark.parametrize("text", ["- name: [", "a: b: c", "- " + "[" * 20_000 + "]" * 20_000])
def test_yaml_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML"):
        listed(text)


def test_yaml_that_grows_is_refused() -> None:
    levels = "".join(f"  x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(ValueError, match="aliases"):
        listed(f"- name: &x0 [lol]\n{levels}")


def test_many_files_of_one_name_are_named_at_once() -> None:
    """Each name is found without trying those of all earlier ones."""
    names = source_names(["a/tweets.txt"] * 50_000)
    assert (names[0], names[-1], len(set(names))) == ("tweets", "tweets-50000", 50_000)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["tweets.jsonl.gz"], ["tweets"]),
        (["2023/tweets.jsonl", "2024/tweets.jsonl.gz", "TWEETS.txt"], ["tweets", "tweets-2", "TWEETS-3"]),
        (["tweets.2023.txt", "w3-ar_EG-en.txt.zip"], ["tweets.2023", "w3-ar_EG-en"]),
        (["books/*.txt", "books/", "data-*.csv", "[ab]/*"], ["books", "books-2", "data", "text"]),
        (["كتب/قصص الأنبياء.txt", "حَدَّثَنا.txt"], ["قصص_الأنبياء", "ح_د_ث_نا"]),
        (["https://[1/a.txt", "HTTPS://host.example", "https://h/?a/b.txt"], ["a", "text", "text-2"]),
        (["https://host.example/a/file.txt?v=1.gz", "gs://bucket/x/*.jsonl"], ["file", "x"]),
        (["-", "...", "½.txt", "a" * 300 + ".txt"], ["stdin", "text", "text-2", "a" * 60]),
    ],
)
def test_sources_are_named_after_their_files(paths: list[str], names: list[str]) -> None:
    assert source_names(paths) == names
    for name in names:
        SourceConfig(name=name, path="any")


def test_a_file_that_exists_keeps_what_is_in_its_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book [2013].txt").touch()
    assert source_names(["book [2013].txt", "book [2014].txt"]) == ["book_2013", "book"]
    assert source_names(["."]) == [tmp_path.name]
