"""Leaves secrets out of a text: known ones in every form, and others by what stands around them."""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

from qarib_tasks.doctor.bug_report.known_secrets import is_secret
from qarib_tasks.errors import MASK, QaribError, masked

_BREAKS = re.compile(r"(?:\\+n|\s)*")  # base64 is written in lines
_LEAST_ENCODED = 6  # characters of a part of an encoded secret
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# What follows a name: its value in quotes, with any escaping, as in "name": "value" or ('name', 'value') …
_QUOTED = re.compile(
    r"\\*[\"']?\s*(?:=>|[:=,])\s*[bru]?(?P<quote>\\*[\"'])(?P<value>.{0,4000}?)(?P=quote)", re.DOTALL
)
# … name=value, name: value up to the end of the line, --name value, <name>value</name>.
_BARE = re.compile(r"\\*[\"']?=(?P<value>[^\s\"'&;,)\]}\0]+)")
_LINE = re.compile(r"\\*[\"']?:[ \t]*(?P<value>[^\s\"'\\](?:(?!\\+n)[^\n])*)")
_OPTION = re.compile(r"[ \t]+(?P<value>[^\s-]\S*)")
_ELEMENT = re.compile(r"[^>]{0,200}>(?P<value>[^<]{1,4000})(?=</)")
# The letter of an escaped end of a line is no part of the word after it.
_ESCAPE = re.compile(r"(\\+[nrt])(?=\w)")
_SEPARATOR = "\0"
_FOR_ADDRESSES = str.maketrans("+/", "-_")
_PATTERNS = (
    # A key, also cut off, and also with escaped ends of lines.
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=\n\s*\n)|\Z)", re.DOTALL
    ),
    re.compile(r"(?i)\b(?:bearer|basic|digest|negotiate)\s+(?!realm)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?"),
    re.compile(
        r"\bya29\.[A-Za-z0-9._-]+|\bAIza[A-Za-z0-9_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]+|\b1//[A-Za-z0-9_-]{10,}"
    ),
    re.compile(
        r"\b(?:AKIA|ASIA|GOOG)[A-Z0-9]{12,}\b|\b(?:gh[pousr]|github_pat|glpat|hf|sk|xox[a-z]|SG)[-_.][\w.-]{8,}"
    ),
    re.compile(r"https://hooks\.[\w.-]+/\S+"),
    # Tokens of our emulators.
    re.compile(r"(?<![0-9a-fA-F])[0-9a-f]{48}(?![0-9a-fA-F])"),
    # user:password@host, without a scheme.
    re.compile(r"(?<![\w/])[^\s:/@\"'<>=,]{1,100}:[^\s/@\"'<>]{1,200}@(?=[A-Za-z0-9\[])"),
)
_PERCENT = re.compile(r"(?<![^\s\"'<>])[^\s\"'<>]*%[0-9A-Fa-f]{2}[^\s\"'<>]*")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}(?:\s[A-Za-z0-9+/_-]{16,}={0,2}(?=\s|$))*"
)
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){12,}(?![0-9A-Fa-f])")
_RANDOM = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{32,}(?![A-Za-z0-9+/_=-])")
_MOST_DEPTH = 3
_LEAST_SHARE = 0.15  # of capitals and of small letters in a key; paths and names have fewer capitals


class Known:
    """Known secrets, in every form.

    Attributes:
        plain: as they are, quoted, and escaped; the longest first.
        encoded: the same in base64 and hexadecimal.
    """

    def __init__(self, secrets: Collection[str]) -> None:
        plain = {form for secret in secrets for form in _plain(secret)}
        encoded = {form for secret in secrets for form in _encoded(secret) if len(form) >= _LEAST_ENCODED}
        self.plain = sorted(plain, key=lambda form: (-len(form), form))
        self.encoded = sorted(encoded, key=lambda form: (-len(form), form))

    def out_of(self, text: str) -> str:
        for form in self.plain:
            if form in text:
                # A short one only as a word of its own.
                pattern = (
                    re.escape(form) if len(form) >= _LEAST_ENCODED else rf"(?<!\w){re.escape(form)}(?!\w)"
                )
                text = re.sub(pattern, MASK, text)
        squeezed = _BREAKS.sub("", text)
        for form in self.encoded:
            if form in squeezed:
                text = re.sub(_BREAKS.pattern.join(map(re.escape, form)), MASK, text)
                squeezed = _BREAKS.sub("", text)
        return text


def without_secrets(text: str, secrets: Collection[str]) -> str:
    """The text with `***` for each secret.

    Args:
        secrets: those that are known, see `known_secrets`.

    Raises:
        QaribError: a known secret is left.
    """
    known = Known(secrets)
    cleaned = _clean(text, known, 0)
    if known.out_of(rest := cleaned.replace(MASK, _SEPARATOR)) != rest:
        raise QaribError("a secret of the environment cannot be left out", do="Report this, without the file")
    return cleaned


def _plain(secret: str) -> Iterator[str]:
    """A secret as it is, quoted, and escaped."""
    escaped = json.dumps(secret)[1:-1]
    yield from (secret, escaped, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(escaped)[1:-1])
    yield from (repr(secret)[1:-1], repr(secret.encode())[2:-1])
    yield from (html.escape(secret), html.escape(secret, quote=False))
    yield from (one.replace("/", "\\/") for one in (secret, escaped))
    # A short one in base64 is found only if nothing else is encoded with it.
    alone = base64.b64encode(secret.encode()).decode().rstrip("=")
    yield from (alone, alone.translate(_FOR_ADDRESSES), secret.encode().hex())
    once = quote(secret, safe="")
    for one in (once, quote(secret), quote_plus(secret), quote(once, safe="")):
        yield from (one, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), one))


def _encoded(secret: str) -> Iterator[str]:
    """A secret in base64 and hexadecimal, also escaped."""
    for data in {secret.encode(), json.dumps(secret)[1:-1].encode()}:
        yield from (*_in_base64(data), data.hex(), data.hex().upper())


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters that are the data's alone, wherever it begins in what is encoded."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        inner = text[(0, 2, 3)[before] : len(text) - ((before + len(data)) % 3 > 0)]
        yield inner
        yield inner.translate(_FOR_ADDRESSES)


def _clean(text: str, known: Known, depth: int) -> str:
    text = _ESCAPE.sub(rf"\g<1>{_SEPARATOR}", known.out_of(text.replace(_SEPARATOR, "")))
    if depth < _MOST_DEPTH:
        text = _PERCENT.sub(lambda found: _if_clean(found[0], unquote, known, depth), text)
        text = _BASE64.sub(lambda found: _if_clean(found[0], _from_base64, known, depth), text)
        text = _HEX.sub(lambda found: _if_clean(found[0], _from_hex, known, depth), text)
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    text = _without_values(masked(text))
    text = _RANDOM.sub(lambda found: MASK if _is_random(found[0]) else found[0], text)
    return text.replace(_SEPARATOR, "")


def _without_values(text: str) -> str:
    """The text without the values of names that are those of secrets."""
    parts, done = [], 0
    for name in _NAME.finditer(text):
        if name.start() < done or not _is_secret(name[0]):
            continue
        if (found := _value(text, name)) is not None:
            parts += [text[done : found.start("value")], MASK]
            done = found.end("value")
    return "".join([*parts, text[done:]])


_is_secret = lru_cache(maxsize=10_000)(is_secret)


def _value(text: str, name: re.Match[str]) -> re.Match[str] | None:
    """What follows a name and has its value."""
    for tail in (_QUOTED, _BARE, _LINE):
        if found := tail.match(text, name.end()):
            return found
    if text.startswith("--", name.start() - 2):
        return _OPTION.match(text, name.end())
    return _ELEMENT.match(text, name.end()) if text.startswith("<", name.start() - 1) else None


def _if_clean(text: str, decode: Callable[[str], str], known: Known, depth: int) -> str:
    """The text, unless what it stands for holds a secret."""
    decoded = decode(text.replace(_SEPARATOR, ""))
    clean = not decoded or decoded == text or _clean(decoded, known, depth + 1) == decoded
    return text if clean else MASK


def _from_base64(text: str) -> str:
    text = re.sub(r"\s", "", text).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return _printable(base64.b64decode(text + "=" * (-len(text) % 4)))
    except binascii.Error:
        return ""


def _from_hex(text: str) -> str:
    return _printable(bytes.fromhex(text))


def _printable(data: bytes) -> str:
    """The data as text; empty if it is none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if all(one.isprintable() or one.isspace() for one in text) else ""


def _is_random(text: str) -> bool:
    """Whether a long word is a key, by its characters: no path, no identifier, no checksum."""
    kinds = [sum(map(kind, text)) / len(text) for kind in (str.isupper, str.islower)]
    digits = sum(one.isdigit() for one in text)
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return min(kinds) >= _LEAST_SHARE and digits >= 3 and bits > 3.8
