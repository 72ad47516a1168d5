"""Documents that are there before, here or in an earlier dataset."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus.collect import collect
from qarib_tasks.errors import InputError, NothingNewError
from qarib_tasks.storage.manifest import Manifest
from tests.support.collecting import collected, config


def test_repeats_are_dropped_over_all_sources_and_the_first_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("قال الرجل\nنعم\n\nHello\n\nمرحبا\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text(
        "جديد\n\nقَالَ الرَّجُل، نعم!\n\nhello.\n\nمرحبا بك\n\nجديد\n", encoding="utf-8"
    )
    paths = tmp_path / "a.txt", tmp_path / "b.txt"
    text = collected(config(*paths), tmp_path)
    assert text == "قال الرجل\nنعم\n\nHello\n\nمرحبا\n\nجديد\n\nمرحبا بك\n"
    figures = Manifest.read(tmp_path / "out" / "data.txt.manifest.json").statistics
    assert (figures["duplicates"], figures["sources"]["source1"]["duplicates"]) == (3, 3)
    assert figures["documents"] == 5
    assert figures["words"] == len(text.split())
    assert figures["lines"] == len(text.replace("\n\n", "\n").splitlines())
    assert figures["bytes"] == len(text.encode()) - 4  # but the blank lines
    kept = collected(config(*paths, deduplicate=False), tmp_path)
    assert kept.count("\n\n") + 1 == 8


def test_repeats_are_found_whatever_the_number_of_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [random.Random(2).randrange(2000) for _ in range(3000)]
    (tmp_path / "a.txt").write_text("\n\n".join(f"text {n}" for n in numbers))
    expected = "\n\n".join(f"text {n}" for n in dict.fromkeys(numbers)) + "\n"
    assert collected(config(tmp_path / "a.txt"), tmp_path) == expected
    monkeypatch.setattr("qarib_tasks.corpus.deduplication.PARTITION_BYTES", 1000)
    shutil.rmtree(tmp_path / "out")
    assert collected(config(tmp_path / "a.txt"), tmp_path) == expected


@pytest.mark.parametrize(
    ("share", "error", "message"),
    [
        (1.0, NothingNewError, "all 40 documents are already in the datasets"),
        (0.5, InputError, "no documents remain"),
    ],
)
def test_nothing_but_repeats_of_earlier_texts(
    tmp_path: Path, share: float, error: type[Exception], message: str
) -> None:
    """If a share leaves documents out, it is not known whether all documents were collected before."""
    text = "\n\n".join(f"text {number}" for number in range(40))
    for name in ("old.txt", "new.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    values = {
        "sources": [{"name": "text", "path": str(tmp_path / "new.txt"), "share": share}],
        "cleaning": [],
    }
    earlier = {"demo-0": [tmp_path / "old.txt"]}
    out = tmp_path / "out" / "data.txt"
    with pytest.raises(InputError, match=message) as found:
        collect(from_dict(CollectConfig, values), out, heldout=None, random_seed=1, earlier=earlier)
    assert type(found.value) is error


def test_near_duplicates_are_left_out_when_asked(tmp_path: Path) -> None:
    words = [f"كلمة{i}" for i in range(40)]
    text = " ".join(words)
    almost = text.replace("كلمة7 ", "شيء ")
    other = " ".join(f"غير{i * i}" for i in range(40))
    (tmp_path / "a.txt").write_text(f"{text}\n\n{other}\n\n{almost}\n\n{text}.\n\nا\n", encoding="utf-8")
    settings = config(tmp_path / "a.txt", near_duplicates=0.7)
    assert collected(settings, tmp_path) == f"{text}\n\n{other}\n\nا\n"
    figures = Manifest.read(tmp_path / "out" / "data.txt.manifest.json").statistics
    assert (figures["duplicates"], figures["near_duplicates"]) == (1, 1)
    assert almost in collected(config(tmp_path / "a.txt"), tmp_path)
