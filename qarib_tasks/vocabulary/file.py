"""The vocabulary file: one entry a line, the line's number from 0 is the entry's id."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_ENTRIES = 1_000_000


def load_vocab(path: Path) -> list[str]:
    """Read a vocabulary as google-research/bert's `load_vocab` does: entries are stripped.

    Returns:
        the entries; an entry's place is its id.

    Raises:
        InputError: the file is missing, empty or not UTF-8; an entry is empty or stands there twice; [PAD]
            is not the first entry (padding is id 0); [UNK], [CLS], [SEP] or [MASK] is missing.
    """
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except FileNotFoundError:
        raise InputError("no such vocabulary", where=path) from None
    except IsADirectoryError:
        raise InputError("a folder, not a vocabulary", where=path) from None
    if lines == [b""]:
        raise InputError("the vocabulary is empty", where=path)
    if len(lines) > MAX_ENTRIES:
        raise InputError(f"the vocabulary has more than {MAX_ENTRIES:,} entries", where=path)
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = line.decode().strip()
        except UnicodeDecodeError:
            raise InputError("not valid UTF-8", where=f"{path}:{number}") from None
        if not entry:
            raise InputError("an empty entry", where=f"{path}:{number}", do="Remove the line")
        if entry in seen:
            raise InputError(
                f"{entry!r} stands here again, first in line {seen[entry]}",
                where=f"{path}:{number}",
                do="An entry must be there once",
            )
        seen[entry] = number
    for token in SPECIAL_TOKENS:
        if token not in seen:
            raise InputError(
                f"the special token {token} is missing",
                where=f"{path}:{len(lines)}",
                do="Build the vocabulary with `qarib vocab`",
            )
    if seen["[PAD]"] != 1:
        raise InputError(
            "[PAD] must be the first entry, because padding is id 0", where=f"{path}:{seen['[PAD]']}"
        )
    return list(seen)
