"""Collecting: what is kept, what is held out, what is a repeat."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.corpus import collect as corpus
from qarib_tasks.corpus.collect import collect, collect_source
from qarib_tasks.errors import ConfigError, InputError, NothingNewError
from qarib_tasks.storage.manifest import Manifest, manifest_of

HELDOUT_SHARE = 0.3


def config(
    *paths: Path | str, share: float = HELDOUT_SHARE, source: object = (), **settings: object
) -> CollectConfig:
    sources = [{"name": f"source{i}", "path": str(path), **dict(source)} for i, path in enumerate(paths)]  # type: ignore[call-overload]
    return from_dict(CollectConfig, {"sources": sources, "heldout_share": share, "cleaning": [], **settings})


def collected(settings: CollectConfig, tmp_path: Path) -> str:
    out = tmp_path / "out" / "data.txt"
    collect(settings, out, heldout=None, random_seed=34)
    return out.read_text(encoding="utf-8")


def test_lines_are_stripped_and_blank_lines_become_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff\n\n  قال \r\nثم\r\n\n \t\n\nمرحبا".encode())
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "قال\nثم\n\nمرحبا\n"


def test_every_file_of_a_glob_in_order_and_every_source(tmp_path: Path) -> None:
    for name, text in {"b.txt": "second\n", "a.txt": "first\n", "c.dat": "third\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert collected(config(tmp_path / "*.txt", tmp_path / "c.dat"), tmp_path) == "first\n\nsecond\n\nthird\n"
    figures = Manifest.read(tmp_path / "out" / "data.json").statistics
    assert {name: figures["sources"][name]["files"] for name in ("source0", "source1")} == {
        "source0": 2,
        "source1": 1,
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [("line", "a\n\nb\n\nc\n"), ("file", "a\nb\nc\n"), ("blank_line", "a\nb\n\nc\n")],
)
def test_what_a_document_is(tmp_path: Path, document: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\nc\n", encoding="utf-8")
    assert collected(config(tmp_path / "a.txt", source={"document": document}), tmp_path) == expected


def test_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good \xff\xfe bad\n" + "\ufffd".encode())
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "good \ufffd\ufffd bad\n\ufffd\n"
    manifest = Manifest.read(tmp_path / "out" / "data.json")
    assert manifest.statistics["replaced_characters"] == 2


def held_out(text: str, tmp_path: Path, name: str) -> tuple[set[str], set[str]]:
    source, out = tmp_path / f"{name}.txt", tmp_path / name / "data.txt"
    source.write_text(text, encoding="utf-8")
    heldout = out.parent / "heldout" / "data.txt"
    collect(config(source), out, heldout=heldout, random_seed=34)
    parts = [path.read_text().split("\n\n") for path in (out, heldout)]
    return {d.strip() for d in parts[0]}, {d.strip() for d in parts[1]}


def test_a_document_stays_held_out_when_the_corpus_grows(tmp_path: Path) -> None:
    documents = [f"document {i}\nits second line {i}" for i in range(200)]
    kept, held = held_out("\n\n".join(documents[:100]), tmp_path, "small")
    more_kept, more_held = held_out("\n\n".join(reversed(documents)), tmp_path, "large")
    assert kept | held == set(documents[:100])
    assert more_kept | more_held == set(documents)
    assert held == more_held & set(documents[:100])
    assert 30 <= len(more_held) <= 90


def test_documents_cut_by_the_reader_s_blocks_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_words = random.Random(1)
    documents = [
        "\n".join(f"{i} {random_words.random()}" for _ in range(random_words.choice([1, 2, 30])))
        for i in range(60)
    ]
    whole = held_out("\n\n".join(documents), tmp_path, "whole")
    monkeypatch.setattr("qarib_tasks.corpus.formats.BLOCK", 50)
    monkeypatch.setattr("qarib_tasks.corpus.joining.RECORDS", 7)
    monkeypatch.setattr("qarib_tasks.corpus.joining.CHUNK", 11)
    cut = held_out("\n\n".join(documents), tmp_path, "cut")
    assert whole[0] | whole[1] == set(documents)
    assert cut == whole
    manifests = [Manifest.read(tmp_path / name / "data.json") for name in ("whole", "cut")]
    ignored = ("samples",)
    assert all(m.statistics["sources"]["source0"].pop(key) for m in manifests for key in ignored)
    assert manifests[0].statistics == manifests[1].statistics


def test_repeats_are_dropped_over_all_sources_and_the_first_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("قال الرجل\nنعم\n\nHello\n\nمرحبا\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text(
        "جديد\n\nقَالَ الرَّجُل، نعم!\n\nhello.\n\nمرحبا بك\n\nجديد\n", encoding="utf-8"
    )
    paths = tmp_path / "a.txt", tmp_path / "b.txt"
    text = collected(config(*paths), tmp_path)
    assert text == "قال الرجل\nنعم\n\nHello\n\nمرحبا\n\nجديد\n\nمرحبا بك\n"
    figures = Manifest.read(tmp_path / "out" / "data.json").statistics
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
    (tmp_path / "out" / "data.json").unlink()
    assert collected(config(tmp_path / "a.txt"), tmp_path) == expected


def test_limit_and_share(tmp_path: Path) -> None:
    documents = [f"text {i}\nmore {i}" for i in range(1000)]
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    settings = config(tmp_path / "a.txt", source={"limit": 10})
    assert collected(settings, tmp_path) == "\n\n".join(documents[:10]) + "\n"
    some = collected(config(tmp_path / "a.txt", source={"share": 0.25}), tmp_path).strip().split("\n\n")
    assert 200 <= len(some) <= 300
    assert some == [document for document in documents if document in set(some)]


def test_cleaning_is_in_the_manifest_and_on_the_page(tmp_path: Path) -> None:
    lines = ["مـرحبا بكم", "hello there", "<b> نعم https://a.b"]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = collected(config(tmp_path / "a.txt", cleaning=["tatweel", "urls", "arabic_share"]), tmp_path)
    assert text == "مرحبا بكم\n<b> نعم URL\n"
    manifest = Manifest.read(tmp_path / "out" / "data.json")
    assert manifest.statistics["changed"] == {"tatweel": 1, "urls": 1}
    assert manifest.statistics["dropped"] == {"arabic_share": 1}
    assert ["مـرحبا بكم", "مرحبا بكم"] in [
        list(pair) for pair in manifest.statistics["sources"]["source0"]["samples"]
    ]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "hello there" in page
    assert "(dropped)" in page
    assert "<b>" not in page
    assert "&lt;b&gt; نعم URL" in page


def test_collecting_again_does_nothing_until_an_input_changes(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out" / "data.txt"
    source.write_text("first\n", encoding="utf-8")
    collected(config(source), tmp_path)
    before = out.stat().st_ino
    collected(config(source), tmp_path)
    assert out.stat().st_ino == before
    source.write_text("second\n", encoding="utf-8")
    assert collected(config(source), tmp_path) == "second\n"
    assert not list(out.parent.glob("*.sources"))


def test_sources_collected_beforehand_are_used_and_a_damaged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"text of {name}\n", encoding="utf-8")
    settings = config(*(tmp_path / f"{name}.txt" for name in "abc"))
    out = tmp_path / "out" / "data.txt"
    for name in ("source2", "source0"):
        collect_source(settings, name, out)
    (tmp_path / "out" / "data.sources" / "source2.txt").write_text("damaged\n")
    read: list[str] = []
    real = corpus.read

    def watched(source: object, path: Path, *rest: object) -> object:
        read.append(path.name)
        return real(source, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus, "read", watched)
    assert collected(settings, tmp_path) == "text of a\n\ntext of b\n\ntext of c\n"
    assert read == ["b.txt", "c.txt"]
    collect_source(settings, "source1", out)
    assert read == ["b.txt", "c.txt"]
    with pytest.raises(ConfigError, match="no such source"):
        collect_source(settings, "source9", out)


def test_a_file_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first\n", encoding="utf-8")
    collected(config(tmp_path / "a.txt"), tmp_path)
    (tmp_path / "out" / "data.txt").write_text("fir")
    assert collected(config(tmp_path / "a.txt"), tmp_path) == "first\n"


@pytest.mark.parametrize(
    ("content", "cleaning"), [("", []), (" \n\n\t\n", []), ("hello\n", ["arabic_share"])]
)
def test_no_text_at_all_is_one_clear_error_and_leaves_no_corpus(
    tmp_path: Path, content: str, cleaning: list[str]
) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match="no text was found"):
        collected(config(tmp_path / "a.txt", cleaning=cleaning), tmp_path)
    assert not (tmp_path / "out" / "data.txt").exists()
    assert not manifest_of(tmp_path / "out" / "data.txt").exists()


def test_no_source_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no source"):
        collect(CollectConfig(), tmp_path / "data.txt", heldout=None, random_seed=34)
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        collected(config(tmp_path / "nowhere.txt"), tmp_path)


def test_a_part_that_stays_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    out, heldout = tmp_path / "o" / "d.txt", tmp_path / "o" / "h.txt"
    with pytest.raises(InputError, match="none of 2 documents fell to the held-out part"):
        collect(config(tmp_path / "a.txt", share=1e-9), out, heldout=heldout, random_seed=1)
    with pytest.raises(InputError, match="all 2 documents fell to the held-out part"):
        collect(config(tmp_path / "a.txt", share=1 - 1e-9), out, heldout=heldout, random_seed=1)


def test_near_duplicates_are_left_out_when_asked(tmp_path: Path) -> None:
    words = [f"كلمة{i}" for i in range(40)]
    text = " ".join(words)
    almost = text.replace("كلمة7 ", "شيء ")
    other = " ".join(f"غير{i * i}" for i in range(40))
    (tmp_path / "a.txt").write_text(f"{text}\n\n{other}\n\n{almost}\n\n{text}.\n\nا\n", encoding="utf-8")
    settings = config(tmp_path / "a.txt", near_duplicates=0.7)
    assert collected(settings, tmp_path) == f"{text}\n\n{other}\n\nا\n"
    figures = Manifest.read(tmp_path / "out" / "data.json").statistics
    assert (figures["duplicates"], figures["near_duplicates"]) == (1, 1)
    assert almost in collected(config(tmp_path / "a.txt"), tmp_path)


@pytest.mark.parametrize(
    ("share", "error", "message"),
    [(1.0, NothingNewError, "40 documents, all in the datasets"), (0.5, InputError, "nothing is left")],
)
def test_nothing_but_repeats_of_earlier_texts(
    tmp_path: Path, share: float, error: type[Exception], message: str
) -> None:
    """Where documents were left out for their share, nobody can say that all of them were there before."""
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
