"""Texts that are searched for in documents: what is found, what is not, and that no cut hides a text.

Covers qarib_tasks/labelled/letters.py.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.labelled.letters import END, Letters
from qarib_tasks.labelled.search import MOST_LETTERS, Index, blocks, search

STORY = (
    "ذهب سامي صباحا إلى السوق القديم واشترى خبزا طازجا وتفاحا أحمر ثم عاد مسرعا قبل المطر وجلس يقرأ "
    "كتابا عن البحر وسفنه وموانئه البعيدة حتى غلبه النعاس فنام تحت الشجرة وحلم أنه يطير فوق الجبال"
)
WORDS = STORY.split()
MEDIUM = " ".join(WORDS[:7])  # is searched for inside documents, but not for near repeats
LONG = " ".join(WORDS[:20])


def found(texts: list[str], documents: list[str], tmp_path: Path) -> set[tuple[int, int]]:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    index = Index([[text] for text in texts])
    return {
        (block.first + document, text)
        for block, numbers, some in search(index, path)
        for document, text in zip(numbers.tolist(), some.tolist(), strict=True)
    }


def is_found(text: str, document: str, tmp_path: Path) -> bool:
    return found([text], [document], tmp_path) == {(0, 0)}


@pytest.mark.parametrize(
    "document",
    [
        MEDIUM,
        f"قال {MEDIUM} ثم سكت",
        MEDIUM.replace(" ", " ، ") + " !!!",
        MEDIUM.replace(" ", "."),
        f"«{MEDIUM}»…",
        MEDIUM.replace(" ", "\n"),
        MEDIUM.replace("سامي", "سَامِـــي"),
        MEDIUM.replace("سامي", "سا ُ مي"),
        f"@fulan_1 {MEDIUM}",
        f"RT @USER: {MEDIUM}",
        MEDIUM.replace("إلى", "@fulan إلى"),
        MEDIUM.replace("إلى", "URL إلى"),
        MEDIUM.replace("إلى", "https://t.co/AbC-1 إلى"),
        f"{MEDIUM} www.example.com/مصر",
        f"{MEDIUM} #صباح_الخير",
        MEDIUM.replace("إلى", "#مصر إلى"),
        MEDIUM.replace("إلى", "😂 إلى") + "🇸🇦",
        f"السطر الأول\n{MEDIUM}\nالسطر الأخير",
    ],
)
def test_a_text_is_found_however_it_is_written(document: str, tmp_path: Path) -> None:
    assert is_found(MEDIUM, document, tmp_path)


@pytest.mark.parametrize(
    "text", [f"RT @USER: {MEDIUM} URL", f'"{MEDIUM} 😂😂', f"@a @b {MEDIUM} https://t.co/x"]
)
def test_what_was_added_to_a_text_need_not_be_in_the_document(text: str, tmp_path: Path) -> None:
    assert is_found(text, f"قبله {MEDIUM} بعده", tmp_path)


@pytest.mark.parametrize(
    "document",
    [
        " ".join(WORDS[:6]),
        " ".join(reversed(WORDS[:7])),
        MEDIUM[1:],
        f"و{MEDIUM}",  # the first word is another one
        f"{MEDIUM}ات",
        MEDIUM.replace("إلى", "نحو"),
        f"{' '.join(WORDS[:4])}\n\n{' '.join(WORDS[4:7])}",  # in two documents
    ],
)
def test_another_text_is_not_found(document: str, tmp_path: Path) -> None:
    assert not is_found(MEDIUM, document, tmp_path)


@pytest.mark.parametrize("text", ["مصر", "يا رب", "صباح الخير يا مصر", "ه" * 300])
def test_a_short_text_is_only_found_as_a_document(text: str, tmp_path: Path) -> None:
    documents = [
        f"{text}!",
        f"@USER {text} URL",
        f"في {text} اليوم",
        f"{text} 🌹",
        f"#{text}",
        f"{text}\n{text}",
    ]
    assert found([text], documents, tmp_path) == {(0, 0), (1, 0), (4, 0)}
    assert Index([[text], [LONG]]).short.tolist() == [True, False]


def test_texts_without_letters_are_found_nowhere(tmp_path: Path) -> None:
    texts = ["😂😂", "...", "@USER URL", ""]
    assert found([*texts, LONG], ["😂😂", "...", "@USER URL", LONG], tmp_path) == {(3, 4)}
    assert found(texts, ["😂😂", "...", "@USER URL"], tmp_path) == set()
    index = Index([[text] for text in texts] + [[]])
    assert index.empty.all()
    assert index.short.all()


@pytest.mark.parametrize(
    ("document", "near"),
    [
        (LONG.replace("خبزا", "تمرا"), True),
        (LONG.replace("خبزا ", ""), True),
        (LONG.replace("خبزا", "خبزا ساخنا"), True),
        (f"نقلت لكم ما يلي: {LONG.replace('خبزا', 'تمرا')} والسلام", True),
        (" ".join(WORDS[:18]), True),
        (" ".join(WORDS[:10]), False),
        (" ".join(WORDS[:8] + WORDS[20:28]), False),
        (" ".join([*WORDS[10:20], "غير", *WORDS[:9]]), False),  # in another order
    ],
)
def test_near_repeats_of_long_texts(document: str, near: bool, tmp_path: Path) -> None:
    assert is_found(LONG, document, tmp_path) == near
    # Also in a document that is far longer.
    assert is_found(LONG, " ".join([*WORDS[20:]] * 30 + [document] + WORDS[20:] * 30), tmp_path) == near


def test_a_repeated_phrase_is_no_long_text(tmp_path: Path) -> None:
    phrase = "لا حول ولا قوة إلا بالله"
    assert not is_found(f"{phrase} {phrase} {phrase}", f"قال {phrase} ثم مضى", tmp_path)


def test_several_texts_with_the_same_beginning_and_spellings(tmp_path: Path) -> None:
    texts = [MEDIUM, f"{MEDIUM} وعاد", MEDIUM + "!"]
    assert found(texts, [f"قال {MEDIUM} وعاد", MEDIUM], tmp_path) == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)}
    index = Index([["شيء آخر لا يوجد في أي وثيقة هنا", MEDIUM], [LONG]])
    documents, which = index.found(Letters(f"{LONG}{END}{MEDIUM}"))
    assert sorted(zip(documents.tolist(), which.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("size", [7, 100, 333, 5000])
def test_no_cut_of_a_block_hides_a_text(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(size)
    documents, wanted = [], set()
    texts = [" ".join(chance.choices(WORDS, k=chance.choice([1, 7, 12]))) for _ in range(30)]
    for number in range(60):
        lines = [" ".join(chance.choices(WORDS, k=8)) for _ in range(chance.choice([1, 2, 60]))]
        if number % 3 == 0:
            place, text = chance.randrange(len(lines)), chance.randrange(30)
            lines[place] = texts[text].replace(" ", "\n")
            if len(texts[text].split()) > 4 or len(lines) == 1:
                wanted.add((number, text))
        documents.append("\n".join(lines))
    complete = found(texts, documents, tmp_path)
    assert wanted <= complete
    assert len(complete) < len(wanted) + 10
    monkeypatch.setattr("qarib_tasks.labelled.search.BLOCK", size)
    assert found(texts, documents, tmp_path) == complete


def test_documents_of_blocks_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qarib_tasks.labelled.search.BLOCK", 20)
    path = tmp_path / "text.txt"
    path.write_text("a\nb\n\n" + "c\n" * 40 + "\nd\n", encoding="utf-8")
    seen: dict[int, str] = {}
    for block in blocks(path):
        for number, text in enumerate(block.documents):
            seen[block.first + number] = seen.get(block.first + number, "") + text
    assert [seen[number].split() for number in sorted(seen)] == [["a", "b"], ["c"] * 40, ["d"]]
    assert sum(block.bytes for block in blocks(path)) == path.stat().st_size
    (tmp_path / "empty.txt").touch()
    assert list(blocks(tmp_path / "empty.txt")) == []


def test_the_last_document_is_not_cut(tmp_path: Path) -> None:
    """A short text is searched for as a document: a line of one is none."""
    path = tmp_path / "a.txt"
    for text in ("سلام\nمرحبا", "سلام\nمرحبا\n", "عليكم\n\nسلام\nمرحبا\n"):
        path.write_text(text, encoding="utf-8")
        documents = [document for block in blocks(path) for document in block.documents]
        assert documents[-1].split() == ["سلام", "مرحبا"]
        assert not any(block.is_cut for block in blocks(path))


def test_of_an_extremely_long_text_the_beginning_decides(tmp_path: Path) -> None:
    chance = random.Random(5)
    text = " ".join(chance.choices(WORDS, k=3000))
    assert len(Letters(text)) > 2 * MOST_LETTERS
    words = text.split()
    assert is_found(text, " ".join(words[:2000]), tmp_path)
    assert not is_found(text, " ".join(words[600:]), tmp_path)


def test_hashes_tell_runs_of_letters_apart() -> None:
    letters = Letters("abcabcabd")
    assert len(set(letters.hashes(np.arange(7), 3).tolist())) == 4
    assert letters.hashes(np.array([0]), 3) == letters.hashes(np.array([3]), 3)
    assert letters.hashes(np.array([0]), 3) == Letters("xxabc").hashes(np.array([2]), 3)
