"""Numbers with their nouns, for messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 line" or "1,200 lines".

    Args:
        noun: for one; with an s for more, if `plural` does not say otherwise.
    """
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
