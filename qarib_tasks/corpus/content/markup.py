"""Texts that are no plain text: markup, other formats, and letters that are written in ASCII."""

from __future__ import annotations

import re

_HEAD = 1 << 14  # bytes of a text that show what it is
ARTICLE = re.compile(rb"\s*<doc\s[^>\n]*\b(?:id|url|title)=[^>\n]*>")  # of WikiExtractor
_MARKUP: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(
            rb"(?:<!--.{,500}?-->\s*)?<(?:!doctype\s+html|(?:html|head|body|title|meta|link|script|style|div|"
            rb"p|table|h1|center)[\s>])",
            re.IGNORECASE | re.DOTALL,
        ),
        "an HTML page",
    ),
    (
        re.compile(
            rb"<(?:\?xml\s|!doctype\s|(?:mediawiki|tmx|tei|teicorpus|rss|feed|svg|tt|corpus|xliff|xces\w*|dataset)[\s>])",
            re.IGNORECASE,
        ),
        "an XML file",
    ),
    (re.compile(rb"<[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))+\s*/?>"), "an XML file"),
    (re.compile(rb"\{\\rtf"), "an RTF document"),
    (re.compile(rb"\d+\s*[\r\n]+\d+:\d\d:\d\d[,.]\d+ *--> *\d+:\d\d"), "subtitles (SubRip)"),
    (re.compile(rb"WEBVTT(?:[ \t\r\n]|\Z)"), "subtitles (WebVTT)"),
    (re.compile(rb"\[Script Info\]"), "subtitles (SubStation Alpha)"),
    (re.compile(rb"\{\d+\}\{\d+\}"), "subtitles (MicroDVD)"),
    (re.compile(rb"(?:\d+:\d\d:\d\d\.\d+[, ]*){2}\s*[\r\n]"), "subtitles (SubViewer)"),
    (re.compile(rb"(?:\[\w+:[^\]\n]*\]\s*)*(?:\[\d+:\d\d[.:]\d+\][^\n]*\n\s*){2}"), "lyrics (LRC)"),
    (re.compile(rb"<SAMI>", re.IGNORECASE), "subtitles (SAMI)"),
    # Subtitles without the line that begins them.
    (re.compile(rb"\d+:\d\d:\d\d[,.]\d+ *--> *\d+:\d\d"), "subtitles (SubRip)"),
    (re.compile(rb"(?:\d+:)?\d\d:\d\d\.\d+ *--> *(?:\d+:)?\d\d:\d\d\.\d"), "subtitles (WebVTT)"),
    (re.compile(rb"(?:\[\d+\]\[\d+\][^\n]*(?:\n|\Z)\s*){2}"), "subtitles (MPL2)"),
    (re.compile(rb"(?:\d\d:\d\d:\d\d[:=]\S[^\n]*(?:\n|\Z)\s*){2}"), "subtitles (TMPlayer)"),
    # An element that begins with another. Words in angle brackets, such as <user>, are text.
    (re.compile(rb"<[A-Za-z][\w:.-]*>\s*<[A-Za-z][\w:.-]*[\s>].*?</[A-Za-z]", re.DOTALL), "an XML file"),
    (re.compile(rb"From \S+@\S+ [^\n]*\d\d:\d\d:\d\d"), "e-mail"),
    (re.compile(rb"(?:[A-Z][\w-]+: [^\n]*\n(?:[ \t]+[^\n]*\n)*)*?MIME-Version: \d"), "e-mail"),
    (re.compile(rb"BEGIN:V(?:CARD|CALENDAR)\b"), "a contact or calendar (vCard, iCalendar)"),
    (
        re.compile(rb"(?:#[^\n]*\n)*1(?:-\d+)?\t(?:[^\t\n]*\t){8}[^\t\n]*(?:\n|\Z)"),
        "a treebank (CoNLL-U)",
    ),
    (
        re.compile(
            rb"(?:INSERT INTO \S+ ?(?:\(|VALUES)|CREATE TABLE [^\n]{1,80}?\(|DROP TABLE [^\n]{1,80};|"
            rb"COPY \S+ ?\([^)\n]*\) FROM stdin)"
        ),
        "an SQL dump",
    ),
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), "a Git LFS pointer, not the file itself"),
    (re.compile(rb"-- (?:MySQL|MariaDB|PostgreSQL|SQLite) [\w ]*dump", re.IGNORECASE), "an SQL dump"),
    (re.compile(rb"--\r?\n-- PostgreSQL database dump"), "an SQL dump"),
    (re.compile(rb"(?:%.*\n\s*)*\\documentclass"), "a LaTeX document"),
    (re.compile(rb"(?:window\.)?[A-Za-z_$][\w.$]*\s*=\s*[\[{]\s*[\"{\[]"), "JavaScript"),
    (re.compile(rb"[A-Za-z_$][\w.$]*\(\[?\s*\{\s*\""), "JavaScript"),
    (
        re.compile(rb"%YAML |(?:---\s*\n)?(?:- [\w.-]+: [^\n]*\n(?:  [\w.-]+: ?[^\n]*(?:\n|\Z))+){2}"),
        "a YAML file",
    ),
    (re.compile(rb"(?:#[^\n]*\n)*(?:msgctxt \"[^\n]*\n)?msgid \""), "translations (gettext)"),
    (re.compile(rb"\[\[?[\w. -]+\]\]?[ \t]*\r?\n[\w.-]+ ?= ?\S"), "settings (INI or TOML)"),
    (
        re.compile(rb"\|[^\n]*\|[ \t]*\r?\n\|(?:[ \t]*:?-{2,}:?[ \t]*\|)+[ \t]*(?:[\r\n]|\Z)"),
        "a Markdown table",
    ),
)  # fmt: skip
# Arabic letters that are written in ASCII, or were lost in it.
_ESCAPED: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"(?:\\u06[0-9a-fA-F]{2})+"), "letters written as \\u06.."),
    (re.compile(rb"(?:%[dD][89a-fA-F]%[89abAB][0-9a-fA-F])+"), "percent-encoded letters"),
    (re.compile(rb"(?:=D[89AB]=[89AB][0-9A-F]|=\r?\n)+"), "quoted-printable letters"),
    (re.compile(rb"(?:\\x[dD][89a-fA-F]\\x[89abAB][0-9a-fA-F])+"), "letters written as \\xd8\\x.."),
    (re.compile(rb"(?:<U\+06[0-9a-fA-F]{2}>)+"), "letters written as <U+06..>"),
    (re.compile(rb"(?:\?{2,}[ \t]+){2,}\?*"), "question marks instead of letters"),
    (re.compile(rb"\+B[g-m][A-Za-z0-9/+]{3,}-?"), "UTF-7 (`encoding: utf-7`)"),
)
_ESCAPED_SHARE = 0.3  # of the first bytes


def markup_name(text: bytes) -> str:
    """Return what a text that is no plain text is called, by its first bytes in UTF-8, or ""."""
    text = text[:_HEAD].lstrip()
    if ARTICLE.match(text):
        return ""
    return next((name for pattern, name in _MARKUP if pattern.match(text)), "")


def escaped_name(text: bytes) -> str:
    """Return in which way the first lines of a plain text have Arabic letters in ASCII, or ""."""
    text = text[:_HEAD]
    part = _ESCAPED_SHARE * len(text)  # An address or two can be written in this way in any text.
    return next((name for pattern, name in _ESCAPED if sum(map(len, pattern.findall(text))) > part), "")
