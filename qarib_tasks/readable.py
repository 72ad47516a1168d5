"""An example as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def readable(ids: Any, positions: Any, labels: Any, entries: Sequence[str]) -> str:
    """The words of an example, its wordpieces joined; a masked place is shown as {original→shown}.

    Args:
        ids: the ids after masking, without padding.
        positions, labels: the masked places, and the ids that stood there.
    """
    original = {int(position): int(label) for position, label in zip(positions, labels, strict=True)}
    text = ""
    before = ""
    for position, shown in enumerate(ids):
        entry = entries[int(shown)]
        was = entries[original[position]] if position in original else entry
        # A part may begin within a word.
        if before in ("[CLS]", "[SEP]") or not was.startswith("##"):
            text += " "
        text += f"{{{was.removeprefix('##')}→{entry}}}" if position in original else was.removeprefix("##")
        before = was
    return text.strip()
