"""Whether a file that a step reads as it is can be UTF-8 text."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.corpus.content.archives import refusal
from qarib_tasks.corpus.content.decoding import decoded, is_utf8, marked_encoding
from qarib_tasks.corpus.content.detection import PEEK, binary_name, compression_of, table_of
from qarib_tasks.corpus.content.guessing import better_encoding, wide_encoding
from qarib_tasks.errors import InputError

_HEAD = 1 << 20  # bytes
# Some undecodable bytes are replaced, as in the published scripts. Text in another encoding would be lost.
_OTHER_ENCODING = 0.01  # share of the bytes
_LEAST = 32  # bytes that show whether they are UTF-16
COLLECT = "Collect it first, with `qarib collect`"


def require_plain_text(path: Path) -> None:
    """Require that a file begins as UTF-8 text, as the steps after `collect` read it.

    Raises:
        InputError: it is compressed, a table, binary, or Arabic in another encoding.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    start = head[:PEEK]
    if packed := compression_of(start):
        raise InputError(f"not text, but a {packed} file", where=path, do=COLLECT)
    if table := table_of(start):
        raise InputError(f"not text, but a {table} file", where=path, do=COLLECT)
    if name := binary_name(start):
        raise refusal(name, str(path))
    is_wide = len(head) >= _LEAST and b"\0" in start
    encoding = marked_encoding(start)[0] or (wide_encoding(head) if is_wide else "")
    if not encoding or is_utf8(encoding):
        undecodable = decoded(head[: head.rfind(b"\n") + 1] or head)[1]
        encoding = better_encoding(head, "utf-8") if undecodable > _OTHER_ENCODING * len(head) else ""
    if encoding:
        raise InputError(f"not UTF-8, but {encoding.upper()} by its content", where=path, do=COLLECT)
