"""Sets of characters: what is in one is not in another, and nothing that matters is invisible."""

from __future__ import annotations

import itertools
import unicodedata

from qarib_tasks.corpus.characters import (
    ARABIC_LETTERS,
    DIACRITICS,
    EMOJI,
    LOOKALIKES,
    OTHER_LETTERS,
    REGIONAL,
    SKIN_TONES,
    WESTERN_DIGITS,
    characters,
    control_characters,
    html_entities,
    membership,
    presentation_forms,
)


def test_no_character_is_of_two_kinds() -> None:
    ranges = (DIACRITICS, ARABIC_LETTERS, OTHER_LETTERS, EMOJI, REGIONAL, SKIN_TONES)
    kinds = [set(characters(some)) for some in ranges]
    for one, other in itertools.combinations(kinds, 2):
        # A skin tone alone is an emoji too.
        assert one & other in (set(), set(characters(SKIN_TONES)))


def test_every_arabic_letter_that_unicode_has_is_one() -> None:
    arabic = membership(ARABIC_LETTERS)
    for code in (*range(0x0620, 0x064B), *range(0x066E, 0x06D4)):
        if unicodedata.category(chr(code)) == "Lo":
            assert arabic[code], hex(code)
    marks = membership(DIACRITICS)
    assert not (arabic & marks).any()
    assert [hex(code) for code in range(0x064B, 0x0660) if not marks[code]] == ["0x653", "0x654", "0x655"]


def test_control_characters_keep_text() -> None:
    table = control_characters()
    assert "\n" not in table
    assert {table[char] for char in "\t\r\u00a0\u3000\u2028"} == {" "}
    assert {table[char] for char in "\u200f\u202b\ufeff\u00ad\ufe0f"} == {""}
    assert table["\ud83d"] == "\ufffd"
    letters = [char for char in characters(ARABIC_LETTERS) if unicodedata.category(char) == "Lo"]
    assert not table.keys() & {*letters, *characters(EMOJI), *"0123456789 \u0640"}


def test_what_replaces_a_character_is_not_replaced_itself() -> None:
    for table in (LOOKALIKES, WESTERN_DIGITS):
        assert not set(table.values()) & table.keys()
    forms = presentation_forms()
    assert forms["\ufefb"] == "لا"
    assert not {char for text in forms.values() for char in text} & forms.keys()
    assert (html_entities()["amp"], html_entities()["nbsp"]) == ("&", "\u00a0")
