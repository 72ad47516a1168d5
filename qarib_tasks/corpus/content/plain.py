"""Whether a file that a step reads as it is can be UTF-8 text."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.corpus.content.decoding import decoded, is_utf8, marked_encoding
from qarib_tasks.corpus.content.detection import PEEK, binary_name, compression_of, table_of
from qarib_tasks.corpus.content.guessing import better_encoding, wide_encoding
from qarib_tasks.errors import InputError

_HEAD = 1 << 20  # bytes
# Some undecodable bytes are replaced, as in the published scripts. Text in another encoding would be lost.
_OTHER_ENCODING = 0.01  # share of the bytes
_LEAST = 32  # bytes that show whether they are UTF-16


def require_plain_text(path: Path) -> None:
    """Require that a file begins as UTF-8 text, as the steps after `collect` read it.

    Raises:
        InputError: it is compressed, a table, binary, or Arabic in another encoding.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        what = other_than_text(file.read(_HEAD))
    if what:
        raise InputError(what, where=path, do="Collect it first, with `qarib collect`")


def other_than_text(head: bytes) -> str:
    """Return what a file with these first bytes is instead of UTF-8 text, for a message; otherwise ""."""
    start = head[:PEEK]
    if packed := compression_of(start) or table_of(start):
        return f"not text, but a {packed} file"
    if name := binary_name(start):
        return f"not text, but {name}"
    is_wide = len(head) >= _LEAST and b"\0" in start
    encoding = marked_encoding(start)[0] or (wide_encoding(head) if is_wide else "")
    if not encoding or is_utf8(encoding):
        undecodable = decoded(head[: head.rfind(b"\n") + 1] or head)[1]
        encoding = better_encoding(head, "utf-8") if undecodable > _OTHER_ENCODING * len(head) else ""
    return f"not UTF-8, but {encoding.upper()} by its content" if encoding else ""
