"""A run's note: its name, its tags, and what others have written."""

from __future__ import annotations

import pytest
import qarib_run_note

from qarib_tasks.views.many.note import MARK, REMARK, Note, parse_note


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (None, Note()),
        ("", Note()),
        ("Best so far", Note("Best so far")),
        (" Best \r\n#low-rate  #قرآن\r\n\r\nA word.", Note("Best", ("low-rate", "قرآن"), "A word.")),
        ("Best #low so far #low", Note("Best so far", ("low",))),
        ("#low #high", Note("", ("low", "high"))),
        ("\n\nOnly a text", Note("", (), "Only a text")),
        # A number is no tag, nor a word in a sentence, nor the mark of a heading.
        ("Mends #12\nSee #low here\n# Heading", Note("Mends #12", (), "See #low here\n# Heading")),
        ("long " * 30 + "\n#tag", Note("", ("tag",), ("long " * 30).strip())),
        ("<b>\0</b>", Note("<b></b>")),
        ("× train failed: it\nLog: l", Note("", (), "", "× train failed: it\nLog: l")),
        ("Best\n\n⚠ another code\nx", Note("Best", (), "", "⚠ another code\nx")),
        ("Best\n#low\n\n× train failed\n#low", Note("Best", ("low",), "", "× train failed\n#low")),
    ],
)
def test_a_note_is_divided(content: str | None, note: Note) -> None:
    assert parse_note(content) == note


def test_a_failure_is_found_in_a_note_as_it_is_written() -> None:
    assert (MARK, REMARK) == (qarib_run_note.MARK, qarib_run_note.REMARK)
    note = parse_note(
        qarib_run_note.joined("Best\n#low", f"{MARK}train failed: the disk is full\nLog: there")
    )
    assert note == Note("Best", ("low",), "", "× train failed: the disk is full\nLog: there")
