"""Tasks from the held-out part: their texts, labels and parts, and when there is none."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from qarib_tasks.config.evaluation import EMOJI, SOURCE
from qarib_tasks.labelled import free
from qarib_tasks.labelled.free import free_tasks
from qarib_tasks.labelled.task import LabelledPart, LabelledTask

Document = Sequence[str]
HEART, TEARS, ROSE, FLAG, THUMB = "❤", "😂", "🌹", "🇶🇦", "👍"


def documents(source: str, count: int, lines: int = 1, tail: str = "") -> list[Document]:
    return [
        [f"{source} نص {number} سطر {line} {tail}".strip() for line in range(lines)]
        for number in range(count)
    ]


def write(folder: Path, *some: list[Document]) -> Path:
    path = folder / "data.txt"
    path.write_text("\n\n".join("\n".join(one) for group in some for one in group) + "\n", encoding="utf-8")
    return path


def made(path: Path, **sources: int) -> dict[str, LabelledTask]:
    return {task.name: task for task in free_tasks(path, sources)}


def labelled(task: LabelledTask, part: LabelledPart) -> list[tuple[str, str]]:
    return [(task.labels[label], text) for label, text in zip(part.labels, part.texts, strict=True)]


def test_each_line_has_its_source_and_no_document_is_in_both_parts(tmp_path: Path) -> None:
    some = [documents("ب", 30, 4), documents("ا", 40, 3), documents("ج", 2, 60)]
    task = made(write(tmp_path, *some), ب=30, empty=0, ا=40, ج=2)[SOURCE]
    assert task.labels == ("ا", "ب", "ج")
    train, test = labelled(task, task.train), labelled(task, task.test)
    assert all(label == text[0] for label, text in (*train, *test))
    of_train, of_test = ({tuple(text.split()[:3]) for _, text in part} for part in (train, test))
    assert not of_train & of_test
    assert len(train) + len(test) == 360
    assert task.counts(task.train) == {"ا": 78, "ب": 80, "ج": 60}
    assert task.counts(task.test) == {"ا": 42, "ب": 40, "ج": 60}


def test_a_source_of_two_documents_has_one_in_each_part(tmp_path: Path) -> None:
    """Also where the test document has less than a test part's share of the lines."""
    sizes = {"a": (40, 160), "b": (160, 40), "c": (40, 160), "d": (160, 40)}
    some = [
        [documents(f"{source}{number}", 1, lines)[0] for number, lines in enumerate(pair)]
        for source, pair in sizes.items()
    ]
    task = made(write(tmp_path, *some), a=2, b=2, c=2, d=2)[SOURCE]
    assert task.labels == ("a", "b", "c", "d")
    for label, source in enumerate(sizes):
        parts = [
            {text[:2] for text, one in zip(part.texts, part.labels, strict=True) if one == label}
            for part in (task.train, task.test)
        ]
        assert sorted(map(len, parts)) == [1, 1]
        assert set.union(*parts) == {f"{source}0", f"{source}1"}


def test_the_first_texts_are_a_sample_of_all_labels(tmp_path: Path) -> None:
    """Also where one source has so many lines that only those with the smallest hashes are kept."""
    path = write(tmp_path, documents("a", 4000), documents("b", 300))
    task = made(path, a=4000, b=300)[SOURCE]
    counts = Counter(task.train.first(200).labels)
    assert task.counts(task.train)["a"] == 4 * task.counts(task.train)["b"]
    assert counts[0] == pytest.approx(160, abs=20)


def test_the_number_of_texts_is_limited_and_balanced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, documents("a", 900), documents("b", 500), documents("c", 60))
    sources = {"a": 900, "b": 500, "c": 60}
    task = made(path, **sources)[SOURCE]
    assert task.counts(task.train) == {"a": 160, "b": 160, "c": 40}
    assert task.counts(task.test) == {"a": 80, "b": 80, "c": 20}
    monkeypatch.setattr(free, "MOST_TEXTS", 180)
    task = made(path, **sources)[SOURCE]
    assert task.counts(task.train) == {"a": 40, "b": 40, "c": 40}
    assert task.counts(task.test) == {"a": 20, "b": 20, "c": 20}


def test_the_same_held_out_part_gives_the_same_tasks(tmp_path: Path) -> None:
    path = write(tmp_path, documents("a", 300), documents("b", 200, tail=TEARS))
    assert made(path, a=300, b=200) == made(path, a=300, b=200)


def test_a_source_with_too_few_lines_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(
        tmp_path, documents("a", 80), documents("b", 80), documents("few", 20), documents("one", 1, 90)
    )
    with caplog.at_level(logging.INFO):
        task = made(path, a=80, b=80, few=20, one=1)[SOURCE]
    assert task.labels == ("a", "b")
    assert "leaves out labels that do not have at least 30 training and 15 test texts" in caplog.text
    assert "'one' (90), 'few' (20)" in caplog.text
    assert "task source@corpus: 2 labels, 106 training texts" in caplog.text


@pytest.mark.parametrize(
    ("some", "sources", "said"),
    [
        ([documents("a", 200)], {"a": 200}, "it needs 2 labels .*; 1 have them. .* 'a' \\(200\\)"),
        ([documents("a", 200), documents("b", 9)], {"a": 200, "b": 9}, "1 have them. .*, 'b' \\(9\\)"),
        ([documents("a", 200), documents("b", 200)], {"a": 200, "b": 199}, "does not say which source"),
        ([documents("a", 200), documents("b", 200)], {}, "does not say which source"),
        ([], {}, "0 have them. .* none"),
    ],
    ids=["one source", "one with few lines", "other documents", "unknown", "empty"],
)
def test_no_task_of_sources_and_why(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    some: list[list[Document]],
    sources: dict[str, int],
    said: str,
) -> None:
    path = write(tmp_path, *some)
    with caplog.at_level(logging.INFO):
        assert made(path, **sources) == {}
    (line,) = [r.getMessage() for r in caplog.records if "no task source@corpus" in r.getMessage()]
    assert line.startswith(str(path))
    assert re.search(said, line)


def test_the_emoji_is_the_label_and_is_not_in_the_text(tmp_path: Path) -> None:
    tails = (f"{HEART} {HEART}", TEARS, FLAG, f"{THUMB} 🏻", f"{THUMB}🏿 {THUMB}")
    some = [[one] for tail in tails for (one,) in documents(f"س{tails.index(tail)}", 80, tail=tail)]
    some += [[f"{TEARS} و {HEART} نص {number}"] for number in range(80)]  # which of the two?
    some += [[f"{TEARS} كلمتان {number}"] for number in range(80)]  # too few words
    task = made(write(tmp_path, some), all=len(some))[EMOJI]
    assert set(task.labels) == {HEART, TEARS, FLAG, THUMB}
    for part in (task.train, task.test):
        for label, text in labelled(task, part):
            first = text.split()[0]
            assert label == (HEART, TEARS, FLAG, THUMB, THUMB)[int(first[1:])]
            assert text.isprintable()
            assert not set(text) & {*HEART, *TEARS, *FLAG, *THUMB, "🏻", "🏿"}
    assert sum(task.counts(task.train).values()) + sum(task.counts(task.test).values()) == 400


def test_emoji_also_where_the_sources_are_not_known(tmp_path: Path) -> None:
    some = [documents(f"a{number}", 70, tail=tail) for number, tail in enumerate((HEART, TEARS, ROSE))]
    assert list(made(write(tmp_path, *some))) == [EMOJI]
    assert list(made(write(tmp_path, *some), a=210)) == [EMOJI]
    assert list(made(write(tmp_path, *some), a=140, b=70)) == [SOURCE, EMOJI]


def test_the_most_frequent_emoji_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(free.MOST_LABELS, EMOJI, 3)
    tails = {HEART: 90, TEARS: 70, ROSE: 100, THUMB: 80}
    some = [documents(f"a{count}", count, tail=tail) for tail, count in tails.items()]
    assert set(made(write(tmp_path, *some))[EMOJI].labels) == {ROSE, HEART, THUMB}


def test_two_emoji_are_no_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = [documents(f"a{number}", 70, tail=tail) for number, tail in enumerate((HEART, TEARS))]
    with caplog.at_level(logging.INFO):
        assert EMOJI not in made(write(tmp_path, *some, documents("b", 20, tail=ROSE)))
    assert "no task emoji@corpus: it needs 3 labels" in caplog.text
    assert "2 have them" in caplog.text


def test_a_text_is_in_one_part_and_has_one_label(tmp_path: Path) -> None:
    """Also a text that differs by diacritics and punctuation."""
    shared = [["النص نفسه في المصدرين"]] * 20
    again = [[f"تكرار السطر نفسه {number % 3}"] for number in range(40)]
    again += [[f"تَكرار، السطر نفسه {number % 3}!"] for number in range(40)]
    some = [documents("a", 80) + shared + again, shared + documents("b", 80)]
    task = made(write(tmp_path, *some), a=len(some[0]), b=len(some[1]))[SOURCE]
    texts = [*task.train.texts, *task.test.texts]
    assert not [text for text in texts if text.startswith("النص")]
    assert len([text for text in texts if "السطر" in text]) == 3


def test_of_a_long_line_the_start_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, documents("a", 80, tail="طويل " * 5000), documents("b", 80))
    task = made(path, a=80, b=80)[SOURCE]
    assert max(map(len, task.train.texts)) == 1000
