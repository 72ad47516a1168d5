"""Decoding that counts the bytes it cannot decode, instead of failing at the first."""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Callable

REPLACEMENT = "\ufffd"
_HANDLER = "qarib_counted"
_found = threading.local()
# The longest first: the mark of UTF-16 LE begins that of UTF-32 LE.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


# Two surrogates, each in three bytes, instead of a character in four: CESU-8, as Java and databases write it.
_PAIR = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    if error.encoding == "utf-8" and (pair := _PAIR.match(error.object, error.start)):
        surrogates = pair[0].decode("utf-8", "surrogatepass")
        return surrogates.encode("utf-16", "surrogatepass").decode("utf-16"), pair.end()
    _found.bytes += error.end - error.start
    return REPLACEMENT, error.end


codecs.register_error(_HANDLER, _replace)


def _counted(decode: Callable[[], str]) -> tuple[str, int]:
    _found.bytes = 0
    text = decode()
    return text, _found.bytes


def decoded(data: bytes, encoding: str = "utf-8") -> tuple[str, int]:
    """Return the text, with U+FFFD where bytes cannot be decoded, and the number of these bytes."""
    return _counted(lambda: data.decode(encoding, _HANDLER))


class Decoder:
    """Decodes a stream of bytes of any encoding, block by block."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(_HANDLER)

    def decode(self, data: bytes, final: bool = False) -> tuple[str, int]:
        """Return the text of a block, and the number of its bytes that cannot be decoded."""
        return _counted(lambda: self._decoder.decode(data, final))


def marked_encoding(head: bytes) -> tuple[str, int]:
    """Return the encoding that a byte-order mark at the start says, or "", and the length of the mark."""
    return next(((name, len(mark)) for mark, name in _MARKS if head.startswith(mark)), ("", 0))


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
