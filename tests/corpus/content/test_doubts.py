"""Texts that are probably not what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.corpus.content.doubts import doubts, most_arabic, sample_of
from tests.support.collecting import SENTENCES


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [str(number) for number in range(100)],
            ["100 of 100 lines are numbers", "no line of 100 has Arabic"],
        ),
        (["٣٫٥", "12:30", "-7"] * 2, ["6 of 6 lines are numbers"]),
        (["2020-01-01T10:00:00Z", "Mon Apr 06 22:19:45 PDT 2009"], ["2 of 2 lines are numbers or dates"]),
        (["سلبي", "إيجابي"] * 50, ["100 of 100 lines are one word", "have 2 different values, mostly سلبي"]),
        ([f"@user{number}" for number in range(30)], ["30 of 30 lines are one word", "no line of 30"]),
        ([f"A sentence in English {number}" for number in range(30)], ["no line of 30 has Arabic letters"]),
        ([*(f"English {number}" for number in range(30)), "عربي نص"], ["only 1 of 31 lines with Arabic"]),
        (
            [f'<p class="x">{line}</P><br/>' for line in SENTENCES],
            ["tags of HTML, such as <", "<br>", "<p>"],
        ),
        ([*SENTENCES[:6], f"&lt;div&gt;{SENTENCES[0]}"], ["1 of 7 lines has tags of HTML, such as <div>"]),
        ([f"{line} <3 <user> a<b <url> <-" for line in SENTENCES], []),
        ([*SENTENCES * 4, "<b>نص</b>"], []),
        (
            [repr(line.split()) for line in SENTENCES],
            ["lines are written as lists, tuples or dicts"],
        ),
        ([f"['{line}' '{line}']"[:40] for line in SENTENCES], ["12 of 12 lines are written as lists"]),
        ([repr(tuple(line.split())) for line in SENTENCES], ["12 of 12 lines are written as lists"]),
        ([repr({"text": line}) for line in SENTENCES], ["12 of 12 lines are written as lists"]),
        ([f"[{line}]" for line in SENTENCES], []),
        ([*SENTENCES[:6], "??? ???? ??, ????????."], ["1 of 7 lines is question marks in the place of"]),
        ([*SENTENCES[:6], "??????? !!! ?", "؟؟؟ ؟؟؟"], []),
        ([f'("{line}") {line}' for line in SENTENCES], []),
        ([line[::-1] for line in SENTENCES], ["in visual order"]),
        (["ﺔﺳﺭﺪﻤﻟﺍ ﻰﻟﺇ ﺪﻟﻮﻟﺍ ﺐﻫﺫ", "ﺔﻨﻳﺪﻤﻟﺍ ﻊﻘﺗ"], ["in visual order"]),
        (["ذهب إلى المدرسة ىسمى", "ةة كبيرة إلى الولد", "المدينة ةاء"], []),
        (SENTENCES, []),
        ([f"{number} {line}" for number, line in enumerate(SENTENCES * 3)], []),
        ([], []),
    ],
)
def test_doubts(values: list[str], said: list[str]) -> None:
    found = "; ".join(doubts(values))
    assert all(part in found for part in said), found
    assert bool(found) == bool(said)


def test_a_doubt_about_the_real_corpora_is_a_false_one() -> None:
    for path in sorted((Path(__file__).parents[3] / "sample").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for start in range(0, len(lines), 500):
            found = "; ".join(doubts(sample_of(lines[start : start + 500])))
            assert not any(sign in found for sign in ("HTML", "Python", "order")), (path, start)


def test_the_column_with_text_is_found() -> None:
    names = ["id", "label", "tweet", "user"]
    assert most_arabic(names, ["1", "سلبي", SENTENCES[0], "some one"]) == "tweet"
    assert most_arabic(names, [1, None, "English text", b"x"]) == ""
