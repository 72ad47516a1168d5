"""Texts that are no plain text: markup, other formats, and letters that are written in ASCII."""

from __future__ import annotations

import re
from functools import cached_property


class _Pattern:
    """A pattern that is compiled when it is used first: most texts need none of them."""

    def __init__(self, pattern: bytes, flags: int = 0) -> None:
        self._given = pattern, flags

    @cached_property
    def compiled(self) -> re.Pattern[bytes]:
        return re.compile(*self._given)


_HEAD = 1 << 14  # bytes of a text that show what it is
ARTICLE = re.compile(rb"\s*<doc\s[^>\n]*\b(?:id|url|title)=[^>\n]*>")  # of WikiExtractor
_MARKUP: tuple[tuple[_Pattern, str], ...] = (
    (
        _Pattern(
            rb"(?:<!--.{,500}?-->\s*)?<(?:!doctype\s+html|(?:html|head|body|title|meta|link|script|style|div|"
            rb"p|table|h1|center)[\s>])",
            re.IGNORECASE | re.DOTALL,
        ),
        "an HTML page",
    ),
    (
        _Pattern(
            rb"<(?:\?xml\s|!doctype\s|(?:mediawiki|tmx|tei|teicorpus|rss|feed|svg|tt|corpus|xliff|xces\w*|dataset)[\s>])",
            re.IGNORECASE,
        ),
        "an XML file",
    ),
    (_Pattern(rb"<[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))+\s*/?>"), "an XML file"),
    (_Pattern(rb"\{\\rtf"), "an RTF document"),
    (_Pattern(rb"\d+\s*[\r\n]+\d+:\d\d:\d\d[,.]\d+ *--> *\d+:\d\d"), "subtitles (SubRip)"),
    (_Pattern(rb"WEBVTT(?:[ \t\r\n]|\Z)"), "subtitles (WebVTT)"),
    (_Pattern(rb"\[Script Info\]"), "subtitles (SubStation Alpha)"),
    (_Pattern(rb"\{\d+\}\{\d+\}"), "subtitles (MicroDVD)"),
    (_Pattern(rb"(?:\d+:\d\d:\d\d\.\d+[, ]*){2}\s*[\r\n]"), "subtitles (SubViewer)"),
    (_Pattern(rb"(?:\[\w+:[^\]\n]*\]\s*)*(?:\[\d+:\d\d[.:]\d+\][^\n]*\n\s*){2}"), "lyrics (LRC)"),
    (_Pattern(rb"<SAMI>", re.IGNORECASE), "subtitles (SAMI)"),
    # Subtitles without the line that begins them.
    (_Pattern(rb"\d+:\d\d:\d\d[,.]\d+ *--> *\d+:\d\d"), "subtitles (SubRip)"),
    (_Pattern(rb"(?:\d+:)?\d\d:\d\d\.\d+ *--> *(?:\d+:)?\d\d:\d\d\.\d"), "subtitles (WebVTT)"),
    (_Pattern(rb"(?:\[\d+\]\[\d+\][^\n]*(?:\n|\Z)\s*){2}"), "subtitles (MPL2)"),
    (_Pattern(rb"(?:\d\d:\d\d:\d\d[:=]\S[^\n]*(?:\n|\Z)\s*){2}"), "subtitles (TMPlayer)"),
    # An element that begins with another. Words in angle brackets, such as <user>, are text.
    (_Pattern(rb"<[A-Za-z][\w:.-]*>\s*<[A-Za-z][\w:.-]*[\s>].*?</[A-Za-z]", re.DOTALL), "an XML file"),
    (_Pattern(rb"From \S+@\S+ [^\n]*\d\d:\d\d:\d\d"), "e-mail"),
    (_Pattern(rb"(?:[A-Z][\w-]+: [^\n]*\n(?:[ \t]+[^\n]*\n)*)*?MIME-Version: \d"), "e-mail"),
    (_Pattern(rb"BEGIN:V(?:CARD|CALENDAR)\b"), "a contact or calendar (vCard, iCalendar)"),
    (
        _Pattern(rb"(?:#[^\n]*\n)*1(?:-\d+)?\t(?:[^\t\n]*\t){8}[^\t\n]*(?:\n|\Z)"),
        "a treebank (CoNLL-U)",
    ),
    (
        _Pattern(
            rb"(?:INSERT INTO \S+ ?(?:\(|VALUES)|CREATE TABLE [^\n]{1,80}?\(|DROP TABLE [^\n]{1,80};|"
            rb"COPY \S+ ?\([^)\n]*\) FROM stdin)"
        ),
        "an SQL dump",
    ),
    (_Pattern(rb"version https://git-lfs\.github\.com/spec/"), "a Git LFS pointer, not the file itself"),
    (_Pattern(rb"-- (?:MySQL|MariaDB|PostgreSQL|SQLite) [\w ]*dump", re.IGNORECASE), "an SQL dump"),
    (_Pattern(rb"--\r?\n-- PostgreSQL database dump"), "an SQL dump"),
    (_Pattern(rb"(?:%.*\n\s*)*\\documentclass"), "a LaTeX document"),
    (_Pattern(rb"(?:window\.)?[A-Za-z_$][\w.$]*\s*=\s*[\[{]\s*[\"{\[]"), "JavaScript"),
    (_Pattern(rb"[A-Za-z_$][\w.$]*\(\[?\s*\{\s*\""), "JavaScript"),
    (
        _Pattern(rb"%YAML |(?:---\s*\n)?(?:- [\w.-]+: [^\n]*\n(?:  [\w.-]+: ?[^\n]*(?:\n|\Z))+){2}"),
        "a YAML file",
    ),
    (_Pattern(rb"(?:#[^\n]*\n)*(?:msgctxt \"[^\n]*\n)?msgid \""), "translations (gettext)"),
    (_Pattern(rb"\[\[?[\w. -]+\]\]?[ \t]*\r?\n[\w.-]+ ?= ?\S"), "settings (INI or TOML)"),
    (
        _Pattern(rb"\|[^\n]*\|[ \t]*\r?\n\|(?:[ \t]*:?-{2,}:?[ \t]*\|)+[ \t]*(?:[\r\n]|\Z)"),
        "a Markdown table",
    ),
)  # fmt: skip
# Arabic letters that are written in ASCII, or were lost in it.
_ESCAPED: tuple[tuple[_Pattern, str], ...] = (
    (_Pattern(rb"(?:\\u06[0-9a-fA-F]{2})+"), "letters written as \\u06.."),
    (_Pattern(rb"(?:%[dD][89a-fA-F]%[89abAB][0-9a-fA-F])+"), "percent-encoded letters"),
    (_Pattern(rb"(?:=D[89AB]=[89AB][0-9A-F]|=\r?\n)+"), "quoted-printable letters"),
    (_Pattern(rb"(?:\\x[dD][89a-fA-F]\\x[89abAB][0-9a-fA-F])+"), "letters written as \\xd8\\x.."),
    (_Pattern(rb"(?:<U\+06[0-9a-fA-F]{2}>)+"), "letters written as <U+06..>"),
    (_Pattern(rb"(?:\?{2,}[ \t]+){2,}\?*"), "question marks instead of letters"),
    (_Pattern(rb"\+B[g-m][A-Za-z0-9/+]{3,}-?"), "UTF-7 (`encoding: utf-7`)"),
)
_ESCAPED_SHARE = 0.3  # of the first bytes
_NOT_ASCII = bytes(range(128, 256))


def markup_name(text: bytes) -> str:
    """Return what a text that is no plain text is called, by its first bytes in UTF-8, or ""."""
    text = text[:_HEAD].lstrip()
    if ARTICLE.match(text):
        return ""
    if not text[:1].isascii():  # Each pattern begins with ASCII.
        return ""
    return next((name for pattern, name in _MARKUP if pattern.compiled.match(text)), "")


def escaped_name(text: bytes) -> str:
    """Return in which way the first lines of a plain text have Arabic letters in ASCII, or ""."""
    text = text[:_HEAD]
    part = _ESCAPED_SHARE * len(text)  # An address or two can be written in this way in any text.
    if len(text.translate(None, _NOT_ASCII)) <= part:
        return ""
    return next(
        (name for pattern, name in _ESCAPED if sum(map(len, pattern.compiled.findall(text))) > part), ""
    )
