"""Labelled tasks from the user's files: what is read, what is left out, and what is refused.

Covers qarib_tasks/labelled/labels.py.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.labelled.reading import read_task, read_tasks
from qarib_tasks.labelled.task import LabelledTask

Rows = list[tuple[Any, Any]]


def rows(count: int = 40, labels: Sequence[str] = ("POS", "NEG"), word: str = "نص") -> Rows:
    return [(f"{word} رقم {number}", labels[number % len(labels)]) for number in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def written(path: Path, some: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("tweet", "mood"), *some])
    return path


def task(path: Path | str, **settings: Any) -> LabelledTask:
    values = {"name": "mood", "train": str(path), "text": "tweet", "label": "mood"} | settings
    return read_task(from_dict(TaskConfig, values), Path("/nowhere"))


def pairs(found: LabelledTask, part: str = "train") -> set[tuple[str, str]]:
    some = getattr(found, part)
    return {(text, found.labels[label]) for text, label in zip(some.texts, some.labels, strict=True)}


def test_equal_texts_with_different_labels_are_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    twice = [("هذا جميل!", "POS"), ("هذا جميل", "neg"), ("هذا جميل", "NEG"), ("ذاك", "POS"), ("ذاك", "pos ")]
    found = task(written(folder / "a.csv", [*rows(400), *twice]))
    assert len(found.train) + len(found.test) == 405
    (said,) = [record.message for record in caplog.records if "different labels" in record.message]
    assert said.startswith("task mood: 1 text with different labels, for example 'هذا جميل")
    assert said.endswith("('NEG', 'POS')")


def test_a_share_is_held_out_by_a_hash(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        found = task(written(folder / "a.csv", rows(400)))
    assert pairs(found) | pairs(found, "test") == set(rows(400))
    assert not pairs(found) & pairs(found, "test")
    assert 60 <= len(found.test) <= 100
    assert found.labels == ("NEG", "POS")
    assert "task mood: 2 labels, 3" in caplog.text
    assert "smallest class" in caplog.text
    more = task(written(folder / "a.csv", rows(500)))
    assert pairs(found, "test") <= pairs(more, "test"), "more texts must not move those that were held out"


def test_the_order_is_random_and_does_not_depend_on_the_files(folder: Path) -> None:
    one = task(written(folder / "a.csv", sorted(rows(200), key=lambda row: row[1])))
    for number, half in enumerate((rows(200)[:100], rows(200)[100:])):
        written(folder / f"part-{1 - number}.csv", half)
    assert task(folder / "part-*.csv") == one
    assert 30 <= sum(one.train.labels[:80]) <= 50


def test_what_shows_nothing_is_no_text_and_no_label(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    blank = [("\u200b \u200f", "POS"), ("\u2800", "NEG"), ("نص آخر", "\ufeff")] * 10
    found = task(written(folder / "a.csv", rows(100) + blank))
    assert pairs(found) | pairs(found, "test") == set(rows(100))
    assert "20 of 130 records (15.4%) have no text" in caplog.text
    assert "10 of 130 records (7.7%) have no label" in caplog.text


@pytest.mark.parametrize("more", ["\ufe0f", "\u034f", "\u3164", "\u2800", "\u200f", " "])
def test_labels_that_look_the_same_are_one(more: str, folder: Path) -> None:
    some = [(text, label + more * (number % 2)) for number, (text, label) in enumerate(rows(100))]
    assert len(task(written(folder / "a.csv", some)).labels) == 2


@pytest.mark.parametrize("change", ["@user {} https://t.co/x 😂", "{}!", "nfd", "RT @user: {}"])
def test_test_texts_are_found_among_the_training_texts(change: str, folder: Path) -> None:
    some = rows(60, word="أكل آدم الخبز مؤخرا في")
    changed = [
        (unicodedata.normalize("NFD", text) if change == "nfd" else change.format(text), label)
        for text, label in some
    ]
    train = written(folder / "train.csv", changed + rows(40))
    found = task(train, test=str(written(folder / "test.csv", some)))
    assert (len(found.train), found.left_out) == (40, {"in_test": 60})


def test_texts_that_differ_only_in_punctuation_are_in_one_part(folder: Path) -> None:
    twice = [row for text, label in rows(200) for row in ((text, label), (f"«{text}»!!", label))]
    found = task(written(folder / "a.csv", twice))
    for part in (found.train, found.test):
        assert sum(text.startswith("«") for text in part.texts) * 2 == len(part)


def test_test_texts_of_their_own(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = written(folder / "train.csv", rows(40))
    test = written(folder / "test.csv", [*rows(10, word="آخر"), ("نَصّ رقم 3 !", "NEG")])
    found = task(train, test=str(test))
    assert (len(found.train), len(found.test)) == (39, 11)
    assert found.left_out == {"in_test": 1}
    assert "1 training texts are test texts too" in caplog.text
    with pytest.raises(InputError, match="no training texts are left"):
        task(train, test=str(train))


@pytest.mark.parametrize("form", ["jsonl", "json", "tsv", "parquet", "arrow"])
def test_other_formats(folder: Path, form: str) -> None:
    path = folder / f"a.{form}"
    records = [{"tweet": text, "mood": label, "id": 1} for text, label in rows()]
    if form == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif form == "json":
        path.write_text(json.dumps(records, indent=2))
    elif form == "tsv":
        path.write_text("id\ttweet\tmood\n" + "".join(f"1\t{text}\t{label}\n" for text, label in rows()))
    else:
        table = pyarrow.Table.from_pylist(records)
        if form == "parquet":
            pyarrow.parquet.write_table(table, path)
        else:
            with pyarrow.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
    assert task(path) == task(written(folder / "a.csv", rows()))


def test_the_settings_of_sources(folder: Path) -> None:
    path = folder / "a.txt"
    path.write_bytes("".join(f"{label};{text}\n" for text, label in rows()).encode("cp1256"))
    settings = {"encoding": "windows-1256", "delimiter": ";", "header": False, "text": 2, "label": 1}
    assert task(path, format="csv", **settings) == task(written(folder / "a.csv", rows()))


def test_labels_that_are_not_text(folder: Path) -> None:
    path = folder / "a.jsonl"
    values = (1, 0.0, True, 2.5)
    records = [{"tweet": f"نص {n}", "mood": values[n % 4]} for n in range(80)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert task(path).labels == ("0", "1", "2.5", "true")
    path.write_text(json.dumps({"tweet": "نص", "mood": ["a", "b"]}) + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl:1: a list instead of a label in field 'mood'"):
        task(path)


def test_labels_that_differ_only_by_spaces_or_case_are_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = rows(80)
    spellings = ("pos", " POS ", "P OS", "POS\u200f", "ＰＯＳ")
    some += [(f"غير {number}", label) for number, label in enumerate(spellings)]
    found = task(written(folder / "a.csv", some))
    assert found.labels == ("NEG", "POS")
    assert len(found.train) + len(found.test) == 85
    assert "differ only by spaces or case, and are read as 'POS'" in caplog.text
    assert "'P OS' (1)" in caplog.text


def test_a_class_with_one_text(folder: Path) -> None:
    path = written(folder / "a.csv", [*rows(), ("وحيد", "NEUTRAL")])
    with pytest.raises(
        InputError, match=r"a\.csv, task mood: labels with one training text.*'NEUTRAL' \(1\)"
    ):
        task(path, test=str(written(folder / "test.csv", rows(10, word="آخر"))))
    with pytest.raises(
        InputError, match=r"one training text|no training text has the label.*'NEUTRAL' \(1\)"
    ):
        task(path)


def test_a_test_label_that_no_training_text_has(folder: Path) -> None:
    test = written(folder / "test.csv", [*rows(9, word="آخر"), ("غيره", "MIXED"), ("غيرهم", "MIXED")])
    with pytest.raises(InputError, match=r"test\.csv, task mood: no training text has .*'MIXED' \(2\)"):
        task(written(folder / "a.csv", rows()), test=str(test))


def test_a_label_without_test_texts_is_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    test = written(folder / "test.csv", rows(10, ["POS"], word="آخر"))
    found = task(written(folder / "a.csv", rows()), test=str(test))
    assert found.counts(found.test) == {"NEG": 0, "POS": 10}
    assert "no test text has the label of these training texts: 'NEG' (20)" in caplog.text


def test_empty_texts_and_labels_are_left_out_with_their_share(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some: Rows = [("  " if number % 5 < 2 else text, label) for number, (text, label) in enumerate(rows(100))]
    found = task(written(folder / "a.csv", [*some, ("بلا تصنيف", " ")]))
    assert found.left_out == {"empty": 40, "unlabelled": 1}
    assert "40 of 101 records (39.6%) have no text in field 'tweet', and are left out" in caplog.text
    assert "1 of 101 records (1.0%) have no label in field 'mood'" in caplog.text
    records = [{"tweet": text.strip() or None, "mood": label} for text, label in some]
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert task(path).left_out == {"empty": 40}


@pytest.mark.parametrize(
    ("some", "fault"),
    [
        ([("", "a"), (" ", "b")], "none of 2 records has a text in field 'tweet'. Correct `text`"),
        ([("نص", ""), ("آخر", "")], "none of 2 records has a label in field 'mood'. Correct `label`"),
        ([("نص", ""), ("", "a")], "none of 2 records has both a text and a label"),
        ([], "no records"),
        (rows(50, ["POS"]), "all training texts have the label 'POS'"),
    ],
)
def test_nothing_to_learn_from(folder: Path, some: Rows, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        task(written(folder / "a.csv", some))


def test_too_few_texts_to_hold_some_out(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no test texts\. Add texts, raise `test_share`, or set `test`"):
        task(written(folder / "a.csv", rows(20)), test_share=0.001)


def test_the_labels_of_the_metric(folder: Path) -> None:
    path = written(folder / "a.csv", rows())
    found = task(path, metric="f1_pn", positive="pos", negative=" Neg")
    assert (found.positive, found.negative) == ("POS", "NEG")
    with pytest.raises(ConfigError, match=r"the label 'good'\. Set `positive` and `negative`.*'POS'"):
        task(path, metric="f1_pn", positive="good", negative="NEG")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"text": "tweat"}, r"no column 'tweat'\. Use one of these columns: tweet, mood"),
        ({"label": "moood"}, "no column 'moood'"),
        ({"header": False}, "Set `text` to the number of a column"),
        ({"header": False, "text": 1}, "Set `label` to the number of a column"),
        ({"format": "text"}, "labelled texts must be records with fields. Use JSON Lines"),
        ({"format": "moses"}, "labelled texts must be records with fields"),
    ],
)
def test_messages_name_the_settings_of_a_task(folder: Path, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(QaribError, match=fault) as error:
        task(written(folder / "a.csv", rows()), **settings)
    assert str(folder / "a.csv") in str(error.value)


def test_a_limit_takes_the_first_of_the_random_order(folder: Path) -> None:
    path = written(folder / "a.csv", rows(400))
    found, limited = task(path), task(path, limit=50)
    assert (limited.train, limited.test) == (found.train.first(50), found.test.first(50))


def test_half_a_character_of_json(folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"tweet": t + "\ud83d", "mood": m}) + "\n" for t, m in rows()))
    assert all(text.endswith("?") for text in task(path).train.texts)


def test_the_problems_of_all_tasks_at_once(folder: Path) -> None:
    written(folder / "a.csv", [*rows(), ("وحيد", "X")])
    written(folder / "test.csv", [*rows(9, word="آخر"), ("غيره", "Y")])
    values: list[dict[str, Any]] = [
        {"name": "one", "train": f"{folder}/a.csv", "test": f"{folder}/test.csv"},
        {"name": "two", "train": f"{folder}/none.csv", "test": f"{folder}/neither.csv"},
        {"name": "three", "train": "/etc/passwd"},
    ]
    tasks = [from_dict(TaskConfig, one | {"text": "tweet", "label": "mood"}) for one in values]
    told = r"(?s)found 5 problems:.*test\.csv.*'Y'.*a\.csv.*'X'.*none\.csv.*neither\.csv.*/etc/passwd"
    with pytest.raises(QaribError, match=told):
        read_tasks(tasks, folder / "cache", AllowedSources.of([str(folder)]))
