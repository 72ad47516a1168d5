"""Examples of what the rules changed and dropped, in the manifest of a corpus."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.corpus import DEFAULT_CLEANING, CollectConfig, SourceConfig
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.corpus.collect import collect, collect_source
from qarib_tasks.corpus.reading.examples import (
    BEFORE,
    MOST,
    MOST_CHANGED,
    MOST_CHARACTERS,
    MOST_DROPPED,
    WINDOW,
    Examples,
    changes,
    joined,
)
from qarib_tasks.storage.manifest import Manifest, manifest_of

RULES = (*DEFAULT_CLEANING[:-3], "sentences", *DEFAULT_CLEANING[-3:])


def write(folder: Path, name: str, *documents: str) -> SourceConfig:
    path = folder / f"{name}.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return SourceConfig(name=name, path=str(path))


def collected(out: Path, config: CollectConfig, **more: Any) -> Manifest:
    return collect(config, out, heldout=None, random_seed=1, **more)


def test_what_each_rule_changed_and_dropped(tmp_path: Path) -> None:
    tweets = write(
        tmp_path,
        "tweets",
        "جميييييل جدا https://t.co/a1",
        "قال زيد. وذهب",
        "hello there",
        "قال زيد. وذهب",
        "ا",
    )
    news = write(tmp_path, "news", "خبـــر اليوم", "hello world", "قال زيد وذهب")
    config = CollectConfig(sources=(tweets, news), cleaning=RULES, minimum_characters=2)
    figures = collected(tmp_path / "data.txt", config).statistics
    assert figures["changed_texts"] == {
        "elongation": [["tweets", "جميييييل جدا https://t.co/a1", "جمييل جدا https://t.co/a1"]],
        "urls": [["tweets", "جمييل جدا https://t.co/a1", "جمييل جدا URL"]],
        "sentences": [["tweets", "قال زيد. وذهب", "قال زيد. ⏎ وذهب"]] * 2,
        "tatweel": [["news", "خبـــر اليوم", "خبر اليوم"]],
    }
    assert figures["dropped_texts"] == {
        "arabic_share": [["tweets", "hello there"], ["news", "hello world"]],
        "minimum_length": [["tweets", "ا"]],
        "duplicates": [["tweets", "قال زيد. ⏎ وذهب"], ["news", "قال زيد وذهب"]],
    }
    assert not any("changed_texts" in source for source in figures["sources"].values())
    assert figures["dropped"] == {"arabic_share": 2, "minimum_length": 1}


def test_many_processes_keep_the_same(tmp_path: Path) -> None:
    chance = random.Random(3)
    words = ["جميييل", "hello", "قـال", "https://t.co/x", "😂😂", "في", "&amp;", "."]
    lines = [" ".join(chance.choices(words, k=1 + chance.randrange(6))) for _ in range(500)]
    sources = tuple(write(tmp_path, f"s{n}", *lines[n * 100 : (n + 2) * 100]) for n in range(3))
    config = CollectConfig(sources=sources, cleaning=DEFAULT_CLEANING)
    (one := tmp_path / "one").mkdir()
    alone = collected(one / "data.txt", config)
    (many := tmp_path / "many").mkdir()
    for source in reversed(sources):
        collect_source(config, source.name, many / "data.txt")
    together = collected(many / "data.txt", config)
    figures = [json.loads(json.dumps(one.statistics)) for one in (together, alone)]
    assert figures[0] == figures[1]
    assert together.outputs == alone.outputs
    for texts in (*alone.statistics["changed_texts"].values(), *alone.statistics["dropped_texts"].values()):
        assert 1 < len(texts) <= MOST
        assert len({source for source, *_ in texts}) > 1
    assert len(json.dumps(alone.statistics["changed_texts"])) < 40_000


def test_a_source_that_an_earlier_version_collected(tmp_path: Path) -> None:
    """Its manifest has no examples, and is used as it is."""
    source = write(tmp_path, "a", "قـال زيد وذهب", "hello")
    config = CollectConfig(sources=(source,))
    out = tmp_path / "data.txt"
    collect_source(config, "a", out)
    (path,) = tmp_path.rglob("a.txt.manifest.json")
    manifest = Manifest.read(path)
    figures = {key: value for key, value in manifest.statistics.items() if not key.endswith("_texts")}
    assert len(figures) == len(manifest.statistics) - 2
    replace(manifest, statistics=figures).write(path)
    collected(out, config)
    found = Manifest.read(manifest_of(out)).statistics
    assert (found["changed_texts"], found["dropped_texts"]) == ({}, {})
    assert found["dropped"] == {"arabic_share": 1}


def test_dropped_texts_are_chosen_by_hash_wherever_they_are() -> None:
    texts = [f"text {number}" for number in range(1000)]
    found = []
    for size in (1, 4):
        examples = Examples()
        for start in range(0, 1000, size):
            examples.dropped("rule", texts[start : start + size])
        found.append(examples.figures()["dropped_texts"]["rule"])
    assert found[0] == found[1]
    assert len(found[0]) == len(set(found[0])) == MOST_DROPPED
    assert max(texts.index(text) for text in found[0]) > 300
    examples = Examples()
    examples.dropped("rule", ["x" * 1000, "\ud83d"])
    assert sorted(map(len, examples.figures()["dropped_texts"]["rule"])) == [1, MOST_CHARACTERS]


@pytest.mark.parametrize("where", [0, 1, BEFORE, BEFORE + 1, WINDOW - 1, WINDOW, WINDOW + 1, 5000])
def test_the_first_difference_of_lines_is_shown(where: int) -> None:
    for before, after in (("\u0640b", "b"), ("b", "cb"), ("bb\u0640", "bb")):
        rest = "x" * 600
        lines = ["same", "ا" * where + before + rest, "", "second " + before, "same again" * 100]
        changed = ["same", "ا" * where + after + rest, "", "second " + after, "same again" * 100]
        (first, second) = changes("\n".join(lines), "\n".join(changed))
        assert second == ("second " + before, "second " + after)
        # At most the start of the change is where both are equal.
        common = len(next(iter(_common(before, after))))
        cut = where + common > BEFORE
        start = max(0, where + common - BEFORE)
        for shown, line in zip(first, (lines[1], changed[1]), strict=True):
            assert shown == "…" * cut + line[start : start + MOST_CHARACTERS]
    assert list(changes("", "")) == list(changes("a\nb", "a\nb")) == []


def _common(one: str, other: str) -> list[str]:
    return [one[:size] for size in range(len(one), -1, -1) if other.startswith(one[:size])]


def test_lines_that_differ_are_those_of_a_plain_comparison() -> None:
    chance = random.Random(5)
    for _ in range(300):
        lines = [
            "".join(chance.choices("ab ", k=chance.choice([0, 3, 60]))) for _ in range(chance.randrange(30))
        ]
        after = [line.replace("a", "", chance.randrange(2)) for line in lines]
        found = [pair for pair in zip(lines, after, strict=True) if pair[0] != pair[1]]
        assert list(changes("\n".join(lines), "\n".join(after))) == found


def test_only_the_first_change_of_a_line_and_few_lines_of_a_source() -> None:
    """Text that is encoded twice is cleaned twice."""
    examples = Examples()
    Cleaner(CollectConfig(cleaning=("html_entities",)), examples).clean(["في &amp;amp; من", "", "من"])
    assert examples.figures()["changed_texts"] == {"html_entities": [["في &amp;amp; من", "في &amp; من"]]}
    Cleaner(CollectConfig(cleaning=("html_entities",)), examples).clean([f"{n} &amp;" for n in range(9)])
    assert len(examples.figures()["changed_texts"]["html_entities"]) == MOST_CHANGED


def test_sources_take_turns() -> None:
    parts = {name: {"rule": [f"{name}{n}" for n in range(6)]} for name in ("a", "b", "c")}
    found = joined(parts | {"d": {}})["rule"]
    assert found == [
        ["a", "a0"],
        ["b", "b0"],
        ["c", "c0"],
        ["a", "a1"],
        ["b", "b1"],
        ["c", "c1"],
        ["a", "a2"],
        ["b", "b2"],
    ]
