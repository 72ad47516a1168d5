"""The vocabulary file: one entry per line; the line's number, from 0, is the entry's id."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_ENTRIES = 1_000_000


def load_vocab(path: Path) -> list[str]:
    """Read a vocabulary as google-research/bert's `load_vocab` does: entries are stripped.

    Returns:
        the entries; an entry's index is its id.

    Raises:
        InputError: the file is missing, empty or not UTF-8; an entry is empty or a duplicate; [PAD] is not
            the first entry (padding is id 0); [UNK], [CLS], [SEP] or [MASK] is missing.
    """
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except FileNotFoundError:
        raise InputError("no such vocabulary", where=path, do="Build one with `qarib vocab`") from None
    except IsADirectoryError:
        raise InputError("a folder, not a vocabulary", where=path, do="Use a file") from None
    if lines == [b""]:
        raise InputError("the vocabulary is empty", where=path, do="Build one with `qarib vocab`")
    if len(lines) > MAX_ENTRIES:
        raise InputError(
            f"the vocabulary has more than {MAX_ENTRIES:,} entries", where=path, do="Use a smaller one"
        )
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = line.decode().strip()
        except UnicodeDecodeError:
            raise InputError("invalid UTF-8", where=f"{path}:{number}", do="Save the file as UTF-8") from None
        if not entry:
            raise InputError("empty entry", where=f"{path}:{number}", do="Remove the line")
        if entry in seen:
            raise InputError(
                f"duplicate entry {entry!r}, first on line {seen[entry]}",
                where=f"{path}:{number}",
                do="Remove one of them",
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
            "[PAD] must be the first entry, because padding is id 0",
            where=f"{path}:{seen['[PAD]']}",
            do="Build the vocabulary with `qarib vocab`",
        )
    return list(seen)
