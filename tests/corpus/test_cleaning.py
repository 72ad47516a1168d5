"""Cleaning: what each rule does, and what holds for any text whatever.

Covers qarib_tasks/corpus/cleaning_rules.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.config.corpus import DEFAULT_CLEANING, LINE_RULES, TEXT_RULES, CollectConfig, RuleName
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import SAMPLE
from qarib_tasks.corpus.characters import (
    LOOKALIKES,
    WESTERN_DIGITS,
    control_characters,
    presentation_forms,
)
from qarib_tasks.corpus.cleaning import MOST_PASSES, Cleaner
from qarib_tasks.corpus.cleaning_rules import Text
from qarib_tasks.errors import ConfigError

# Text in which the rules meet: pieces of what they look for, beside any character at all.
PIECES = st.sampled_from(
    [
        *"ابتهييكیکھے۔ـًَُّْٰ١۱2 .,!؟…؛،_@#&;:/\n",
        *("&amp;", "&", "amp;", "&lt;", "&#1600;", "&#x200f;", "&#0;", "&#128;", "&#xD800;", "&nbsp;"),
        *(
            "http://",
            "https://",
            "www.",
            "URL",
            "@USER",
            "@user_1",
            "a@b.c",
            "  ",
            "\u200b",
            "\u00ad",
            "\ufeff",
        ),
        *(
            "😂",
            "👍🏻",
            "🇶🇦",
            "🇶",
            "❤️",
            "👨‍👩‍👧",
            "ﷺ",
            "ﻻ",
            "ﹰ",
            "\r",
            "\t",
            "\u2028",
            "\x00",
            "\x1f",
            "\u0654",
            "İ",
            "ß",
        ),
    ]
)
ANY_TEXT = st.lists(PIECES | st.characters(), max_size=40).map("".join)
CONFIGS = [
    CollectConfig(),
    CollectConfig(cleaning=()),
    CollectConfig(cleaning=("published",)),
    CollectConfig(cleaning=(*(rule for rule in TEXT_RULES if rule != "published"), "sentences", *LINE_RULES)),  # type: ignore[arg-type]
    CollectConfig(
        cleaning=("elongation", "emoji", "mentions", "urls", "tatweel", "html_entities", "sentences")
    ),
]


def clean(text: str, config: CollectConfig) -> list[str]:
    # A line feed in a line is what the readers never give.
    return Cleaner(config).clean([text.replace("\n", " ")])


def cleaned(line: str, *rules: str) -> str | None:
    result = Cleaner(CollectConfig(cleaning=rules)).clean([line])  # type: ignore[arg-type]
    return result[0] if result else None


@pytest.mark.parametrize("config", CONFIGS)
@given(text=ANY_TEXT)
@settings(max_examples=150, deadline=None)
def test_any_text_gives_valid_tidy_text_that_cleaning_does_not_change(
    config: CollectConfig, text: str
) -> None:
    lines = clean(text, config)
    for line in lines:
        line.encode()
        assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert "  " not in line
        assert line == line.strip()
        assert clean(line, config) == [line]
    if "sentences" not in config.cleaning:
        assert len(lines) <= 1


@given(text=ANY_TEXT)
@settings(max_examples=150, deadline=None)
def test_sentences_of_a_line_are_together_what_the_line_is_without_splitting(text: str) -> None:
    """No more than one line's worth of text comes out of a line."""
    rules = ("html_entities", "tatweel", "urls", "emoji")
    whole = clean(text, CollectConfig(cleaning=rules))
    parts = clean(text, CollectConfig(cleaning=(*rules, "sentences")))
    assert " ".join(parts) == "".join(whole)
    # The longest that one character can become is NFKC of U+FDFA, 18 characters, and a space.
    assert sum(map(len, clean(text, CollectConfig()))) <= 19 * len(text)
    assert clean("ﷺﷺ", CollectConfig()) == ["صلى الله عليه وسلم صلى الله عليه وسلم"]


@given(texts=st.lists(ANY_TEXT, max_size=8))
@settings(max_examples=100, deadline=None)
def test_lines_do_not_depend_on_what_is_cleaned_with_them(texts: list[str]) -> None:
    lines = [text.replace("\n", " ") for text in texts]
    together = Cleaner(CONFIGS[3]).clean(lines)
    assert together == [part for line in lines for part in Cleaner(CONFIGS[3]).clean([line])]


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("html_entities", "a &amp;lt; b &quot;c&quot; &nosuch; &#1593; &#x2029;", 'a < b "c" &nosuch; ع'),
        ("html_entities", "&#128; &#0; &#1114112; R&D;", "€ \ufffd \ufffd R&D;"),
        ("presentation_forms", "ﻻ ﷲ ﺑﺴﻢ", "لا الله بسم"),
        ("presentation_forms", "ﹰ", "ً"),
        ("tatweel", "مـــرحبا", "مرحبا"),
        ("tatweel", "2018ـ2019 ١ــ٧ عامـ2018 3ـأ ـ", "2018-2019 ١-٧ عام2018 3أ"),
        ("remove_diacritics", "حَدَّثَنَا ٱلرَّحْمَٰن آ", "حدثنا ٱلرحمن آ"),
        ("lookalikes", "کتاب ی ۱۲ ہ۔", "كتاب ي ١٢ ه."),
        ("western_digits", "١٢٣ ۴", "123 4"),
        ("elongation", "جمييييل هههه الله soooo", "جمييل هه الله soooo"),
        ("elongation", "جدااا ههههه ههه رااائع جميييل حلوووو حلووو", "جداا هه هه راائع جمييل حلوو حلوو"),
        ("elongation", "كانتتتتت", "كانتت"),
        ("urls", "انظر https://t.co/a?b=1#c وwww.x.org/y،نعم http://", "انظر URL وURL،نعم http://"),
        ("mentions", ".@someone مرحبا @USER a@b.c @_x1", ".@USER مرحبا @USER a@b.c @USER"),
        ("emoji", "ها😂😂نعم👍🏻👍🏻 🇶🇦🇸🇦❤️.", "ها 😂 😂 نعم 👍🏻 👍🏻 🇶🇦 🇸🇦 ❤ ."),
        ("emoji", "👨‍👩‍👧", "👨 👩 👧"),
        ("published", "قَالَ Hello_World! 😂نعم", "ق ال hello world 😂 نعم"),
        # Emoji younger than 2015 are outside its ranges.
        ("published", "نعم 🤣 لا 🥺", "نعم لا"),
        ("minimum_length", "ا", None),
        ("maximum_length", "ا" * 10_001, None),
        ("arabic_share", "نعم this is not", None),
        ("arabic_share", "@USER نعم URL 123 😂 !", "@USER نعم URL 123 😂 !"),
        ("arabic_share", "١٢٣ !", "١٢٣ !"),
        ("arabic_share", "��� �� �����", None),
        ("arabic_share", "@USER ��� URL 12 �", None),
        ("arabic_share", "نعم ���� ��", None),
        ("arabic_share", "نعم ���", "نعم ���"),
        ("arabic_share", "😂😂 �", "😂😂 �"),
        ("arabic_share", "١٢ ��", "١٢ ��"),
    ],
)
def test_what_a_rule_does(rule: str, before: str, after: str | None) -> None:
    assert cleaned(before, rule) == after


@pytest.mark.parametrize(
    "words",
    [
        *("وتشتتت", "تتتابع", "تتتبع", "تتتالى", "فتتتلمذ", "تفتتت شتتتهم"),
        *("بببغاء وبببغاوين", "يشككك في يفكككم", "يجننني يقنننا", "لللغة", "ووورِيَ الثرى", "فقال وووجه"),
        *("عَلَّلَ وَوُورِيَ", "القاهرة", "الله", "ممن", "يتخلل"),
        *("#السعودية_اليوم", "@مستخدم", "a.b@c.d", "٪٥٠", "«نعم» (لا)", "ﷺ"),
    ],
)
def test_correct_words_pass_the_default_rules(words: str) -> None:
    expected = words.replace("ﷺ", "صلى الله عليه وسلم")
    assert Cleaner(CollectConfig(cleaning=DEFAULT_CLEANING[:-3])).clean([words]) == [expected]


def test_waw_three_times_is_a_word_only_at_its_start() -> None:
    assert cleaned("وووري ثم وووري", "elongation") == "وووري ثم وووري"
    assert cleaned("هووو هُووو هـووو", "elongation") == "هوو هُوو هـوو"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://t.co/Ab1Cdوشاركنا رأيك", "URL وشاركنا رأيك"),
        ("HTTPS://t.co/Ab Http://a.b WWW.x.org Www.x.orgنعم", "URL URL URL URL نعم"),
        ("https://ar.wikipedia.org/wiki/مصر نعم", "URL نعم"),
        ("(https://ar.wikipedia.org/wiki/مصر_(دولة)) نعم", "(URL) نعم"),
        ("https://ar.wikipedia.org/wiki/%D9%85%D8%B5%D8%B1_(x)، نعم", "URL، نعم"),
        ("https://ar.wikipedia.org/wiki/خاص:بحث#قسم؛ لا", "URL؛ لا"),
        ("http://موقع.وزارة-الاتصالات.مصر/ نعم www.موقع.com/أ", "URL نعم URL"),
        ("https://a.b/?q=مصر&x=نعم+لا", "URL"),
        ("https://a.b/2020/مقال-عن-مصر/", "URL"),
        ("https://youtube.com/@قناة", "URL"),
        ("هل رأيت https://a.b؟ https://a.b. https://a.b!", "هل رأيت URL؟ URL. URL!"),
        ("https://t.co/Ab1Cd.وشاركنا https://t.co/Ab1Cd#مصر", "URL.وشاركنا URL#مصر"),
        ("https://a.b/مصر.وهذا «https://a.b»", "URL.وهذا «URL»"),
        ("https://t.co/Ab😂نعم", "URL😂نعم"),
        ("http:// http://… http://نعم https://، www. نعم", "http:// http://… http://نعم https://، www. نعم"),
        ("x://a.b htp://a.b", "x://a.b htp://a.b"),
    ],
)
def test_an_address_ends_before_the_word_that_follows_it(before: str, after: str) -> None:
    assert cleaned(before, "urls") == after
    cleaner = Cleaner(CollectConfig(cleaning=("urls",)))
    cleaner.clean([before])
    assert cleaner.counts["urls"] == after.count("URL")


@pytest.mark.parametrize("end", ["(" * 3000, "." * 30000, "[a" * 3000, "/م(" * 3000, "/م.-" * 3000])
def test_no_address_takes_long(end: str) -> None:
    """Each of these would take hours with a pattern that tries every way to end the address."""
    assert (cleaned("https://a.b/" + end, "urls") or "").startswith("URL")


def test_a_word_after_a_mention_stays_a_word() -> None:
    assert cleaned("@user_1مرحبا (@user)، @USERمرحبا", "mentions") == "@USER مرحبا (@USER)، @USERمرحبا"


def test_the_words_of_a_sign_stay_apart_from_others() -> None:
    rules = ("presentation_forms", "lookalikes")
    assert cleaned("النبيﷺقال: النبيُّﷺ ﷺ.", *rules) == (
        "النبي صلى الله عليه وسلم قال: النبيُّ صلى الله عليه وسلم صلى الله عليه وسلم."
    )
    assert cleaned("اﷲ واﷲ وﷲ", *rules) == "الله والله والله"
    assert cleaned("ﷹﷲﷷﷸ وﷲ 5﷼", *rules) == "صلى الله عليه وسلم والله 5 ريال"


def test_the_end_of_an_ayah_separates_words() -> None:
    assert cleaned("الرحيم۝الحمد ۝١") == "الرحيم الحمد ١"


def test_control_characters_and_spaces_always_go() -> None:
    assert cleaned("\u202b\u00a0a\u200d\u200fb\tc\r\x00\u3000 \ufeffd\u2028e\u0600\ud800") == "ab c d e\ufffd"


def test_every_rule_is_tested_here() -> None:
    marks = test_what_a_rule_does.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(get_args(RuleName)) - {"sentences"}


def test_sentences_end_where_a_space_follows() -> None:
    line = "قال. ثم ذهب؟ نعم!! 3.5 و«تم.» انتهى"
    assert Cleaner(CollectConfig(cleaning=("sentences",))).clean([line, "", "ب"]) == [
        "قال.",
        "ثم ذهب؟",
        "نعم!!",
        "3.5 و«تم.»",
        "انتهى",
        "",
        "ب",
    ]


def test_what_was_changed_and_dropped_is_counted() -> None:
    cleaner = Cleaner(CollectConfig())
    lines = ["مـرحـبا", "", "hello there", "ـ", "نعم https://a.b"]
    assert cleaner.clean(lines) == ["مرحبا", "", "نعم URL"]
    assert +cleaner.counts == Counter(tatweel=3, urls=1)
    assert +cleaner.dropped == Counter(arabic_share=1, empty=1)


def test_lines_that_could_not_be_decoded_are_counted_once() -> None:
    lines = ["�� hello", "hello", "نعم قال سامي", "���", "😂"]
    cleaner = Cleaner(CollectConfig(cleaning=("arabic_share",)))
    assert cleaner.clean(lines) == ["نعم قال سامي", "😂"]
    assert +cleaner.dropped == Counter(arabic_share=3)
    assert Cleaner(CollectConfig(cleaning=("arabic_share",), arabic_share=0)).clean(lines) == lines


def test_a_line_that_never_settles_is_dropped_and_counted() -> None:
    cleaner = Cleaner(CollectConfig(cleaning=("html_entities",)))
    assert cleaner.clean(["&" + "amp;" * (MOST_PASSES + 2) + "lt;"]) == []
    assert +cleaner.dropped == Counter(unstable=1)


def test_the_published_cleaner_shatters_diacritised_words_and_the_default_does_not() -> None:
    """design.md, section 6: a diacritic is no word character, so each becomes a space."""
    lines = (SAMPLE / "classical.txt").read_text(encoding="utf-8").split("\n")[:2000]
    words = {
        name: sum(len(line.split()) for line in Cleaner(CollectConfig(cleaning=rules)).clean(lines))  # type: ignore[arg-type]
        for name, rules in {"none": (), "published": ("published",)}.items()
    }
    default = sum(len(line.split()) for line in Cleaner(CollectConfig()).clean(lines))
    assert words["published"] > 2.5 * words["none"]
    # A few more, because the sign ﷺ is written out.
    assert words["none"] <= default <= 1.05 * words["none"]
    assert cleaned("حَدَّثَنَا", "published") == "ح د ث ن ا"
    assert Cleaner(CollectConfig()).clean(["حَدَّثَنَا"]) == ["حَدَّثَنَا"]


def test_rules_in_an_order_that_makes_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="put rules that change text first"):
        from_dict(CollectConfig, {"cleaning": ["minimum_length", "tatweel"]})
    with pytest.raises(ConfigError, match="duplicate rules: 'tatweel'"):
        from_dict(CollectConfig, {"cleaning": ["tatweel", "tatweel"]})
    with pytest.raises(ConfigError, match="cleaning"):
        from_dict(CollectConfig, {"cleaning": ["no_such_rule"]})


def test_no_result_of_a_table_is_changed_by_the_table() -> None:
    """`Text.replaced` may then go through it in any order."""
    for table in (LOOKALIKES, WESTERN_DIGITS, control_characters(), presentation_forms()):
        assert not [key for key, value in table.items() if set(value) & set(table)]
        assert all(len(key) == 1 and not re.search(r"\n", value) for key, value in table.items())


@pytest.mark.parametrize("table", [control_characters(), presentation_forms(), LOOKALIKES, WESTERN_DIGITS])
@pytest.mark.parametrize("most", [1, 1000])
def test_many_characters_are_replaced_as_each_by_itself(table: dict[str, str], most: int) -> None:
    characters = [*list(table)[:most], *"ابت\n😂"]
    text = "".join(one * (number % 3 + 1) for number, one in enumerate(characters)) * 2
    replaced, count = Text(text).replaced(table)
    assert replaced.text == "".join(table.get(one, one) for one in text)
    assert count == sum(one in table for one in text)
    assert set(replaced.text) <= replaced.present
    gone = Text("ابت", set(text)).replaced(table)
    assert (gone[0].text, gone[1]) == ("ابت", 0)
