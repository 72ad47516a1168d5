"""The vocabulary file: one entry per line; the line's number, from 0, is the entry's id."""

from __future__ import annotations

import codecs
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from qarib_tasks.errors import InputError
from qarib_tasks.storage.regular_files import open_regular

log = logging.getLogger(__name__)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_ENTRIES = 1_000_000
MAX_BYTES = 1 << 28
# The longer mark first: UTF-32's begins with UTF-16's.
ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SCORED = re.compile(r"\S+\t-?\d+(\.\d+)?(e-?\d+)?")
SHOWN = 5  # lines in a warning
BUILD = "Build the vocabulary with `qarib vocab`"


def load_vocab(path: Path) -> list[str]:
    """Read a vocabulary as google-research/bert's `load_vocab` does.

    An empty or repeated line keeps its number, and a warning names it. See `ids_of` for the entries' ids.

    Returns:
        one entry per line.

    Raises:
        InputError: the file is missing, empty, too large or not text; the id of [PAD] is not 0; [UNK], [CLS],
            [SEP] or [MASK] is missing.
    """
    entries = read_entries(path)
    ids = ids_of(entries)
    for token in SPECIAL_TOKENS:
        if token not in ids:
            raise _missing(token, entries, ids, path)
    if pad := ids["[PAD]"]:
        if entries[0] == "[PAD]":
            raise InputError(
                "[PAD] is repeated, and the last line's number is its id, but padding must be id 0",
                where=f"{path}:{pad + 1}",
                do=f"Replace this line's entry with an unused one, such as [UNUSED_{pad}]",
            )
        raise InputError(
            "[PAD] must be the first entry, because padding is id 0", where=f"{path}:{pad + 1}", do=BUILD
        )
    _warn(path, entries, ids)
    return entries


def ids_of(entries: Sequence[str]) -> dict[str, int]:
    """Return the id of each distinct entry, in the order of their first lines.

    An entry's id is its line's number from 0; a repeated entry has its last line's.
    """
    return {entry: number for number, entry in enumerate(entries)}


def read_entries(path: Path) -> list[str]:
    """Return one entry per line, stripped as `str.strip` does; only LF ends a line, and every CR is dropped.

    The text is UTF-8, or what its byte-order mark says.

    Raises:
        InputError: the file is missing, empty, too large or not text.
    """
    if path.is_dir():
        raise InputError("a folder, not a vocabulary", where=path, do="Use a file")
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError("no such vocabulary", where=path, do="Build one with `qarib vocab`") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES >> 20} MiB, not a vocabulary", where=path, do=BUILD)
    lines = _decode(data, path).replace("\r", "").removesuffix("\n").split("\n")
    if lines == [""]:
        raise InputError("the vocabulary is empty", where=path, do="Build one with `qarib vocab`")
    if len(lines) > MAX_ENTRIES:
        raise InputError(
            f"the vocabulary has more than {MAX_ENTRIES:,} entries", where=path, do="Use a smaller one"
        )
    return [line.strip() for line in lines]


def _decode(data: bytes, path: Path) -> str:
    encoding = next((name for mark, name in ENCODINGS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8" and b"\0" in data:
            raise _not_text(path) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"invalid {encoding.removesuffix('-sig').upper()}",
            where=f"{path}:{line}",
            do="Save the file as UTF-8",
        ) from None
    if "\r" in text and "\n" not in text:
        raise InputError("its lines end with CR alone", where=path, do="Save the file with LF line ends")
    return text


def _not_text(path: Path) -> InputError:
    what = "not text, or UTF-16 without a byte-order mark"
    return InputError(what, where=path, do="Use a vocab.txt in UTF-8, not compressed")


def _missing(token: str, entries: Sequence[str], ids: dict[str, int], path: Path) -> InputError:
    """Return the error for a vocabulary without a special token; it names what the file seems to be."""
    what = f"the special token {token} is missing"
    filled = [entry for entry in entries[:1000] if entry]
    if any("\0" in entry for entry in filled):
        return _not_text(path)
    if filled and 2 * sum(1 for entry in filled if SCORED.fullmatch(entry)) > len(filled):
        what = (
            "its lines have a piece, a tab and a number, as in SentencePiece's .vocab; not BERT's vocab.txt"
        )
        return InputError(what, where=path, do=BUILD)
    if filled and filled[0].startswith("{"):
        return InputError(
            "JSON, not a vocabulary of one entry per line",
            where=path,
            do="Use the vocab.txt of the same model",
        )
    if token.lower() in ids:
        return InputError(
            f"{what}: case matters, and this line has {token.lower()}",
            where=f"{path}:{ids[token.lower()] + 1}",
            do="Write the special tokens in upper case",
        )
    return InputError(what, where=f"{path}:{len(entries)}", do=BUILD)


def _warn(path: Path, entries: Sequence[str], ids: dict[str, int]) -> None:
    """Log a warning that names the lines that the tokenizer never produces."""
    empty, repeated = [], []
    for number, entry in enumerate(entries):
        if not entry:
            empty.append(str(number + 1))
        elif ids[entry] != number:
            repeated.append(f"{number + 1} ({entry!r}, again on line {ids[entry] + 1})")
    parts = []
    for what, lines in (("empty lines", empty), ("lines whose entry a later line repeats", repeated)):
        if lines:
            more = f" and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
            parts.append(f"{what}: {', '.join(lines[:SHOWN])}{more}")
    if parts:
        log.warning(
            "%s: %s. They keep their ids, but the tokenizer never produces them. Don't remove them: "
            "all later ids would change",
            path,
            "; ".join(parts),
        )
