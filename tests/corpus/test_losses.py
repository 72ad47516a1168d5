"""What a corpus loses is told: by rule, with its share, and with what to set if it is much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.config.corpus import DEFAULT_CLEANING, CollectConfig
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.losses import Loss, losses, percent, summary, warnings
from qarib_tasks.errors import InputError
from tests.support.collecting import SENTENCES, collected, config

CASES = Path(__file__).parents[1] / "data" / "cases"
OLD = Path(__file__).parents[1] / "data" / "made_by_3ef437a"
GOOD = "هذه جملة عربية سليمة رقم {}"


def figures_of(tmp_path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(
        (tmp_path / "out" / "data.txt.manifest.json").read_text(encoding="utf-8")
    )
    return manifest["statistics"]  # type: ignore[no-any-return]


def test_a_document_per_line_that_is_too_long_is_told_with_what_to_set(tmp_path: Path) -> None:
    source = CASES / "w7-doc-a-line.txt"
    collected(config(source, source={"document": "line"}, cleaning=DEFAULT_CLEANING), tmp_path)
    figures = figures_of(tmp_path)
    assert figures["summary"] == "3 of 4 documents (99.9% of the bytes) dropped by maximum_length"
    assert figures["text_bytes"] == source.stat().st_size - 4  # without line feeds
    assert figures["warnings"] == [
        "maximum_length dropped 99.9% of the bytes. Raise `maximum_characters` (now 10,000), or add the rule "
        "sentences to `cleaning` to split the lines"
    ]
    page = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
    assert page.index("Warning: maximum_length dropped 99.9% of the bytes") < page.index("<table>")
    assert "<td>maximum_length<td>3 of 4 documents<td>99.9%" in page


def test_what_the_warning_asks_for_keeps_the_documents(tmp_path: Path) -> None:
    source, one = CASES / "w7-doc-a-line.txt", {"document": "line"}
    raised = config(source, source=one, cleaning=DEFAULT_CLEANING, maximum_characters=100_000)
    assert collected(raised, tmp_path).count("\n\n") == 3
    assert (figures_of(tmp_path)["summary"], figures_of(tmp_path)["warnings"]) == ("", [])


def test_every_loss_is_counted_in_lines_and_bytes(tmp_path: Path) -> None:
    lines = [
        GOOD.format(1), "this line is English", "", GOOD.format(2), "ـــ", "", "ا", "", GOOD.format(3), "",
        GOOD.format(3), "", "ب" * 50, "", GOOD.format(4),
    ]  # fmt: skip
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rules = ("tatweel", "minimum_length", "maximum_length", "arabic_share")
    collected(config(tmp_path / "a.txt", cleaning=rules, maximum_characters=40), tmp_path)
    figures = figures_of(tmp_path)
    total = sum(len(line.encode()) for line in lines)
    assert (figures["text_lines"], figures["text_bytes"]) == (9, total)
    assert losses(figures) == [
        Loss("maximum_length", 1, "lines", 9, 100 / total),
        Loss("duplicates", 1, "documents", 5, len(GOOD.format(3).encode()) / total),
        Loss("arabic_share", 1, "lines", 9, 20 / total),
        Loss("empty", 1, "lines", 9, 6 / total),
        Loss("minimum_length", 1, "lines", 9, 2 / total),
    ]
    assert figures["lost"][0] == {
        "rule": "maximum_length", "number": 1, "unit": "lines", "total": 9, "share": 100 / total,
    }  # fmt: skip
    assert "1 of 5 documents (" in figures["summary"]
    assert "dropped as duplicates" in figures["summary"]
    assert [line.split()[0] for line in figures["warnings"]] == ["maximum_length"]


def test_a_source_that_loses_much_is_named_although_the_corpus_loses_little(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(GOOD.format(i) for i in range(100)), encoding="utf-8")
    (tmp_path / "b.txt").write_text(f"{GOOD.format(0)} نعم\n\nwrong column\n", encoding="utf-8")
    collected(config(tmp_path / "a.txt", tmp_path / "b.txt", cleaning=["arabic_share"]), tmp_path)
    (warning,) = figures_of(tmp_path)["warnings"]
    assert warning.startswith("arabic_share dropped 0.3% of the bytes (18.5% of source1). Check that")


def test_sentences_are_counted_as_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("قال نعم. this is English. ثم ذهب\n", encoding="utf-8")
    collected(config(tmp_path / "a.txt", cleaning=["sentences", "arabic_share"]), tmp_path)
    assert figures_of(tmp_path)["summary"].startswith("1 of 3 sentences (")


def test_repeats_are_a_warning_only_if_text_may_be_read_twice(tmp_path: Path) -> None:
    documents = [GOOD.format(i) for i in range(10)]
    for repeated, warned in ((3, False), (10, True)):
        text = "\n\n".join([*documents, *documents[:repeated]]) + "\n"
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        collected(config(tmp_path / "a.txt"), tmp_path)
        figures = figures_of(tmp_path)
        assert f"{repeated} of {10 + repeated} documents (" in figures["summary"]
        assert bool(figures["warnings"]) is warned
    assert "`deduplicate: false`" in figures["warnings"][0]
    assert warnings(figures, {"earlier": ["ds-1"]}) == []


def test_what_is_left_out_on_purpose_is_no_warning(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(GOOD.format(i) for i in range(99)) + "\n", encoding="utf-8")
    collected(config(tmp_path / "a.txt", source={"share": 0.5}), tmp_path)
    figures = figures_of(tmp_path)
    assert "outside the share" in figures["summary"]
    assert figures["warnings"] == []


def test_skipped_records_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "نعم قال"}\n{"text": 3}\n', encoding="utf-8")
    collected(config(tmp_path / "a.jsonl", source={"skip_at_most": 1}), tmp_path)
    assert figures_of(tmp_path)["summary"] == "1 record skipped"


def test_what_is_doubtful_about_a_file_is_told_wherever_losses_are(tmp_path: Path) -> None:
    text = "\n".join(SENTENCES)
    for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_bytes(f"{text} {name}".encode("windows-1256"))
    collected(config(tmp_path / "*.txt", source={"encoding": "mac-arabic"}), tmp_path)
    figures, path = figures_of(tmp_path), tmp_path / "a.txt"
    likely = "read as mac-arabic, but its encoding is probably windows-1256"
    assert figures["sources"]["source0"]["file_warnings"][str(path)] == [likely]
    assert figures["warnings"][0].endswith(f"{tmp_path / 'c.txt'} and 1 other file: {likely}")
    page = (tmp_path / "out" / "data.txt.report.html").read_text(encoding="utf-8")
    assert f"<p class=warning>Warning: {path}, " in page
    # Nothing is said of other files.
    path.write_text(text, encoding="utf-8")
    collected(config(path), tmp_path)
    assert "file_warnings" not in figures_of(tmp_path)["sources"]["source0"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["1", "2020-01-01", "3"], "3 of 3 lines are numbers or dates; no line of 3 has Arabic letters"),
        (["نعم", "لا"] * 50, "100 of 100 lines are one word; 100 lines have 2 different values"),
        (["&#1606;&#1593;&#1605; &#1604;&#1575;"], ""),
    ],
)
def test_a_wrong_column_is_a_warning(tmp_path: Path, values: list[str], text: str) -> None:
    (tmp_path / "a.csv").write_text(
        "\n".join(["id,text", *(f"7,{value}" for value in values)]), encoding="utf-8"
    )
    collected(config(tmp_path / "a.csv", deduplicate=False), tmp_path)
    found = [warning for warning in figures_of(tmp_path)["warnings"] if "the right file" in warning]
    assert [warning.startswith(f"{tmp_path / 'a.csv'}: {text}") for warning in found] == [True] * bool(text)


def test_a_corpus_that_loses_everything_says_what_is_doubtful(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\n".join(SENTENCES).encode("windows-1256"))
    settings = config(tmp_path / "a.txt", source={"encoding": "iso-8859-1"}, cleaning=DEFAULT_CLEANING)
    with pytest.raises(InputError, match=r"arabic_share; .*but its encoding is probably windows-1256"):
        collected(settings, tmp_path)


def test_a_corpus_that_loses_everything_is_an_error_that_names_the_rule(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only English here\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        collected(config(tmp_path / "a.txt", cleaning=DEFAULT_CLEANING), tmp_path)
    assert "1 of 1 line (100.0% of the bytes) dropped by arabic_share" in str(caught.value)
    assert "lower `arabic_share` (now 0.5)" in str(caught.value)


def test_a_corpus_of_an_earlier_version_has_losses_without_shares() -> None:
    (path,) = OLD.glob("work/datasets/*/data.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    old = manifest["statistics"] | {"dropped": {"arabic_share": 5}}
    assert losses(old)[0] == Loss("arabic_share", 5, "lines", None, None)
    assert summary(old).startswith("5 lines dropped by arabic_share")
    assert warnings(old, manifest["config"]) == []


def test_sources_collected_by_an_earlier_version_are_joined(tmp_path: Path) -> None:
    """Such a source's figures lack what is new here."""
    (tmp_path / "a.txt").write_text("قال نعم\n", encoding="utf-8")
    from qarib_tasks.corpus import collect as module

    made = config(tmp_path / "a.txt")
    out = tmp_path / "out" / "data.txt"
    module.collect_source(made, "source0", out)
    (path,) = (tmp_path / "out").glob("*/source0.txt.manifest.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for name in ("text_lines", "text_bytes", "dropped_bytes"):
        del manifest["statistics"][name]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert collect(made, out, heldout=None, random_seed=34).statistics["lost"] == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (0.0001, "under 0.1%"), (0.1234, "12.3%"), (0.9999, "99.9%"), (1, "100.0%")],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@given(lines=st.lists(st.text("ab اتﷺـ😂\ud800.", max_size=12), max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_rule_drops_more_bytes_than_came(lines: list[str]) -> None:
    for rules in (DEFAULT_CLEANING, (*DEFAULT_CLEANING[:8], "sentences", *DEFAULT_CLEANING[8:])):
        cleaner = Cleaner(CollectConfig(cleaning=rules, maximum_characters=6))  # type: ignore[arg-type]
        cleaner.clean(list(lines))
        came = sum(len(line.encode(errors="surrogatepass")) for line in lines)
        assert (cleaner.lines, cleaner.ends) == (len(lines) - lines.count(""), lines.count(""))
        assert cleaner.bytes == came or not lines
        if "sentences" not in rules:
            assert sum(cleaner.dropped_bytes.values()) <= came
        assert set(+cleaner.dropped) == set(+cleaner.dropped_bytes)
