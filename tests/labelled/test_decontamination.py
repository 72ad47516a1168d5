"""Test texts are kept out of a corpus, and counted where they were not.

Covers qarib_tasks/labelled/decontamination.py, qarib_tasks/corpus/joining.py.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import DEFAULT_CLEANING, CollectConfig
from qarib_tasks.corpus.collect import WITHOUT, collect
from qarib_tasks.corpus.losses import lines
from qarib_tasks.errors import InputError, NothingNewError
from qarib_tasks.labelled.decontamination import TaskTexts, contamination, digest_of
from qarib_tasks.storage.manifest import Manifest, manifest_of
from tests.support.collecting import config

LETTERS = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"


def made_up(count: int, seed: int, words: tuple[int, int] = (3, 25)) -> list[str]:
    """Texts of words that no other text has."""
    chance = random.Random(seed)
    return [
        " ".join(
            "".join(chance.sample(LETTERS, k=chance.randint(2, 7))) for _ in range(chance.randint(*words))
        )
        for _ in range(count)
    ]


TESTED, OTHERS = made_up(300, 1), made_up(5000, 2)
LONG = made_up(1, 4, (12, 12))[0]


def settings(path: Path, **more: Any) -> CollectConfig:
    more = {"cleaning": list(DEFAULT_CLEANING)} | more
    return config(path, share=0.03, source={"document": "line"}, **more)


def written(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(f"{document}\n" for document in documents), encoding="utf-8")
    return path


def parts(out: Path) -> tuple[set[str], set[str]]:
    texts = (out, out.with_name("held.txt"))
    one, other = (set(path.read_text(encoding="utf-8").strip("\n").split("\n\n")) for path in texts)
    return one, other


def made(source: CollectConfig, out: Path, texts: TaskTexts | None, **more: Any) -> Manifest:
    return collect(source, out, heldout=out.with_name("held.txt"), random_seed=34, without=texts, **more)


WAYS = [
    lambda text: text,
    lambda text: " ، ".join(text.split()) + " !!",
    lambda text: f"@fulan_7 {text}",
    lambda text: f"RT @fulan: {text} https://t.co/Ab1Cd",
    lambda text: text.replace(" ", " @fulan ", 1),
    lambda text: text[:3] + "ـــ" + text[3:] + "ُ",
]


@pytest.mark.parametrize(
    "cleaning", [DEFAULT_CLEANING, (), ("published",), ("remove_diacritics", "sentences")]
)
def test_seeded_texts_are_left_out_and_no_others(cleaning: tuple[str, ...], tmp_path: Path) -> None:
    # This rule leaves nothing of a name but the letters.
    ways = WAYS[:2] if "published" in cleaning else WAYS
    seeds = [ways[number % len(ways)](text) for number, text in enumerate(TESTED[:50])]
    seeds += [f"😂{text}😂 #صباح_الخير" for text in TESTED[:50] if len(text.split()) > 4][:10]
    documents = OTHERS + seeds
    random.Random(3).shuffle(documents)
    source = settings(written(tmp_path / "a.txt", documents), cleaning=list(cleaning), deduplicate=False)
    plain = made(source, tmp_path / "plain" / "data.txt", None)
    manifest = made(source, tmp_path / "out" / "data.txt", TaskTexts({"mood": tuple(TESTED)}))
    figures = manifest.statistics
    assert figures["test_texts"] == figures["tasks"]["mood"]["documents"] == 60
    before, after = parts(tmp_path / "plain" / "data.txt"), parts(tmp_path / "out" / "data.txt")
    assert after[0] < before[0]
    assert after[1] <= before[1]
    assert sum(map(len, before)) - sum(map(len, after)) == 60
    assert after[0] | after[1] == set(OTHERS)
    assert plain.statistics["documents"] + plain.statistics["heldout_documents"] == 5060


def test_what_is_told(tmp_path: Path) -> None:
    short = "مساء الخير"
    tasks = {"mood": (*TESTED[:10], short), "topic": tuple(TESTED[5:20])}
    documents = [*OTHERS[:100], *TESTED[:15], f"{TESTED[0]} مرة أخرى", "مساء الخير يا سامي", short]
    out = tmp_path / "out" / "data.txt"
    figures = made(settings(written(tmp_path / "a.txt", documents)), out, TaskTexts(tasks)).statistics
    few = sum(len(text.split()) < 5 for text in TESTED[:10])
    assert figures["tasks"]["mood"] == {
        "digest": digest_of(tasks["mood"]),
        "texts": 11,
        "short": few + 1,
        "documents": 12,
    }
    assert figures["tasks"]["topic"]["documents"] == 10
    assert figures["test_texts"] == 17
    assert figures["sources"]["source0"]["test_texts"] == 17
    # The text that most documents contain comes first; each document once.
    assert figures["tested"][0] == ["mood", TESTED[0], TESTED[0], 2]
    assert len({document for _, _, document, _ in figures["tested"]}) == len(figures["tested"]) == 10
    summary, *_ = lines(figures, {})
    assert "17 of 118 documents (" in summary
    assert " left out because they contain test texts; " in summary
    assert f"task mood: 12 documents with test texts ({few + 1} of 11 test texts are too short" in summary
    report = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
    for told in (
        "Test texts of labelled tasks",
        TESTED[0],
        "<td>topic<td>10<td>15",
        "contain test texts<td>17",
    ):
        assert told in report
    assert "مساء الخير يا سامي" in parts(out)[0]


def test_a_common_phrase_is_warned_of(tmp_path: Path) -> None:
    phrase = "هذه جملة شائعة في كل مكان"
    documents = [*OTHERS[:200], *(f"{phrase} {text}" for text in OTHERS[200:260])]
    source = settings(written(tmp_path / "a.txt", documents))
    figures = made(source, tmp_path / "out" / "data.txt", TaskTexts({"mood": (phrase,)})).statistics
    assert figures["test_texts"] == 60
    assert figures["tested"] == [["mood", phrase, documents[200], 60]]
    (warning,) = figures["warnings"]
    assert warning.startswith("test_texts dropped ")
    assert "if a text is a common phrase, remove it from the task" in warning


def test_repeats_of_left_out_documents_are_left_out_for_the_same_reason(tmp_path: Path) -> None:
    documents = [*OTHERS[:20], TESTED[0], f"{TESTED[0]}!", OTHERS[0]]
    source = config(written(tmp_path / "a.txt", documents), source={"document": "line", "share": 0.999999})
    figures = made(source, tmp_path / "out" / "data.txt", TaskTexts({"mood": (TESTED[0],)})).statistics
    assert (figures["test_texts"], figures["duplicates"]) == (2, 1)


def test_new_documents_that_all_contain_test_texts_are_nothing_new(tmp_path: Path) -> None:
    first, out = tmp_path / "first" / "data.txt", tmp_path / "out" / "data.txt"
    made(settings(written(tmp_path / "a.txt", OTHERS[:200])), first, None)
    source = settings(written(tmp_path / "b.txt", [LONG]))
    with pytest.raises(NothingNewError, match=r"all 1 documents are already .* or contain test texts"):
        made(source, out, TaskTexts({"mood": (LONG,)}), earlier={"first": [first]})
    assert made(source, out, None, earlier={"first": [first]}).statistics["documents"] == 1


def test_if_nothing_remains_the_error_says_what_to_set(tmp_path: Path) -> None:
    source = config(written(tmp_path / "a.txt", [*OTHERS[:20], LONG]))  # one document
    with pytest.raises(InputError, match=r"1 contain test texts of labelled tasks\. Set `document: line`"):
        made(source, tmp_path / "out" / "data.txt", TaskTexts({"mood": (LONG,)}))
    assert not (tmp_path / "out" / "data.txt").exists()


def test_without_tasks_every_byte_stays(tmp_path: Path) -> None:
    source = settings(written(tmp_path / "a.txt", OTHERS[:200]))
    manifest = made(source, tmp_path / "out" / "data.txt", None)
    text = manifest_of(tmp_path / "out" / "data.txt").read_text(encoding="utf-8")
    report = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
    assert WITHOUT not in manifest.config
    assert "test" not in text.replace(str(tmp_path), "")
    assert "test" not in report


def test_a_command_collects_again_and_a_run_never_does(tmp_path: Path) -> None:
    source = settings(written(tmp_path / "a.txt", [*OTHERS[:200], LONG]))
    out = tmp_path / "out" / "data.txt"
    texts = TaskTexts({"mood": (LONG,)})
    made(source, out, None)
    first = Manifest.read(manifest_of(out))
    # A run: the dataset's name is the same, so its text is.
    kept = made(source, out, texts, adopt=True)
    assert kept == first
    # A command: the user asked for another text.
    made(source, out, texts)
    again = Manifest.read(manifest_of(out))
    assert again.config[WITHOUT] == texts.digests
    assert again.statistics["test_texts"] == 1
    inode = out.stat().st_ino
    assert made(source, out, texts) == again
    assert made(source, out, None, adopt=True) == again
    assert made(source, out, TaskTexts({"mood": (TESTED[3],)}), adopt=True) == again
    assert out.stat().st_ino == inode
    assert made(source, out, None).statistics.get("test_texts") is None


def test_texts_that_stayed_are_counted(tmp_path: Path) -> None:
    seeds = [f"{text} @fulan" for text in TESTED[:20]]
    source = settings(written(tmp_path / "a.txt", [*OTHERS[:100], *seeds]))
    out = tmp_path / "out" / "data.txt"
    made(source, out, None)
    trained = {text.removesuffix(" @USER") for text in parts(out)[0]} & set(TESTED)
    figures = contamination(TaskTexts({"mood": tuple(TESTED[:30]), "no": tuple(TESTED[40:])}), source, out)
    assert figures["tasks"]["mood"]["documents"] == len(trained)
    assert figures["tasks"]["no"]["documents"] == 0


def test_a_digest_is_of_the_texts_in_any_order() -> None:
    assert digest_of(["a", "b"]) == digest_of(["b", "a", "a"])
    assert len({digest_of(some) for some in (["a", "b"], ["ab"], ["a"], ["a b"], ["a\nb"], [])}) == 6


def test_texts_are_found_as_the_cleaning_leaves_them(tmp_path: Path) -> None:
    text = "وااااااو هذا &amp; ذاك ﻣﺼﺮ شيء رائع جدا جدا ﷺ قال"
    source = settings(written(tmp_path / "a.txt", [*OTHERS[:200], text]))
    out = tmp_path / "out" / "data.txt"
    assert made(source, out, TaskTexts({"mood": (text,)})).statistics["test_texts"] == 1
    foreign = "only latin letters are in this text which arabic_share drops"
    assert made(source, out, TaskTexts({"mood": (foreign,)})).statistics["test_texts"] == 0
