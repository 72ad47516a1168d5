"""Texts that are no plain text, by their first lines."""

from __future__ import annotations

import quopri
import urllib.parse
from pathlib import Path

import pytest

from qarib_tasks.corpus.content.markup import markup_name
from qarib_tasks.errors import InputError
from tests.support.collecting import SENTENCES, lines_of


def refused(path: Path, name: str, **settings: object) -> None:
    with pytest.raises(InputError) as error:
        lines_of(path, **settings)
    assert name in error.value.what
    assert error.value.where is not None
    assert error.value.where.startswith(str(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<!DOCTYPE html>\n<html><body>Log in</body></html>", "an HTML page"),
        ("\ufeff\n <HTML lang='ar'>", "an HTML page"),
        ("<!-- a login page --><html>", "an HTML page"),
        ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML file"),
        ('<tmx version="1.4">', "an XML file"),
        ('<document id="1"><s id="1">نص</s></document>', "an XML file"),
        ("1\n00:00:01,000 --> 00:00:02,500\nنص\n", "subtitles (SubRip)"),
        ("1\r\n00:00:01,000 --> 00:00:02,500\r\nنص\r\n", "subtitles (SubRip)"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nنص\n", "subtitles (WebVTT)"),
        ("[Script Info]\nTitle: نص\n", "subtitles (SubStation"),
        ("{0}{25}نص\n", "subtitles (MicroDVD)"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        ("-- MySQL dump 10.13\n", "an SQL dump"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1256"])
def test_markup_is_refused_unless_asked_for(tmp_path: Path, text: str, name: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding, "ignore"))
    named = {"encoding": encoding} if encoding == "cp1256" else {}
    refused(path, name, **named)
    assert lines_of(path, format="text", **named)


def test_text_with_a_tag_is_text() -> None:
    for text in (
        b"<b> abc\n",
        b"<url>http://a.b</url>\n",
        b"1\n2\n3\n",
        b"<3 abc\n",
        b"-- said he\n",
        b"WEBVTTs\n",
    ):
        assert markup_name(text) == ""


def test_names_of_formats_of_text() -> None:
    for text, name in (
        (b"<root>\n <p>\xd9\x86</p>\n", "an XML file"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML file"),
        (b"From a@b Mon Jan  1 00:00:00 2024\nSubject: x\n", "e-mail"),
        (b"Subject: x\n y\nMIME-Version: 1.0\n", "e-mail"),
        (b"INSERT INTO `t` VALUES (1,'a');", "an SQL dump"),
        (b"BEGIN:VCARD\r\n", "a contact"),
        (b"# sent_id = 1\n# text = a\n1\ta\ta\tVERB\t_\t_\t0\troot\t_\t_\n", "a treebank"),
        (b"[00:12.00]a\n[00:15.00]b\n", "lyrics"),
        (b"0:00:01.000,0:00:02.000\na\n", "subtitles"),
        (b"00:00:01,000 --> 00:00:02,500\na\n", "subtitles (SubRip)"),
        (b"00:01.000 --> 00:02.500 align:left\na\n", "subtitles (WebVTT)"),
        (b"[10][20] a\n[30][40] b\n", "subtitles (MPL2)"),
        (b"00:00:01:a\n00:00:02:b\n", "subtitles (TMPlayer)"),
        (b'window.YTD.tweet.part0 = [ {\n  "tweet" : {', "JavaScript"),
        (b'callback([{"text": "a"}]);', "JavaScript"),
        (b"- id: 1\n  text: a\n- id: 2\n  text: b\n", "a YAML file"),
        (b'# a\nmsgid ""\nmsgstr ""\n', "translations"),
        (b"[[texts]]\ntext = a\n", "settings"),
        (b"[main]\nkey=a\n", "settings"),
        (b"| id | text |\n|:---|---|\n| 1 | a |\n", "a Markdown table"),
    ):
        assert markup_name(text).startswith(name)
    for text in (
        b"<user> a <url>", b"From a to b\n", b"Subject: x\ny\n", b"# a\n" * 3000, b"[1] a\n[2] b\n",
        b"[1]\na b = c", b"10:00:01 a\n10:00:02 b\n", b"- a\n- b\n", b"| a | b\n", b"x = 3\n",
    ):  # fmt: skip
        assert markup_name(text) == ""


def test_letters_in_ascii_are_no_text(tmp_path: Path) -> None:
    text, path = "\n".join(SENTENCES), tmp_path / "a.txt"
    for data, name in (
        (text.encode("unicode_escape").replace(b"\\n", b"\n"), r"letters written as \\u06"),
        (urllib.parse.quote(text, safe=" \n").encode(), "percent-encoded letters"),
        (quopri.encodestring(text.encode()), "quoted-printable letters"),
        (text.encode("utf-7"), "UTF-7"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=name):
            lines_of(path)
        assert len(lines_of(path, format="text")) >= len(SENTENCES)
    assert lines_of(path, encoding="utf-7") == SENTENCES
    path.write_text(
        text + "\nhttps://ar.wikipedia.org/wiki/" + urllib.parse.quote(SENTENCES[0]), encoding="utf-8"
    )
    assert len(lines_of(path)) == len(SENTENCES) + 1


def test_letters_that_a_program_wrote_as_bytes_or_code_points_or_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    for lines, name in (
        ([repr(s.encode()) for s in SENTENCES], r"letters written as \\xd8"),
        (["".join(f"<U+{ord(c):04X}>" if c > "\x7f" else c for c in s) for s in SENTENCES], r"<U\+06\.\.>"),
        ([s.encode("ascii", "replace").decode() for s in SENTENCES], "question marks instead of letters"),
    ):
        path.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(InputError, match=name):
            lines_of(path)
        table = tmp_path / "a.csv"
        table.write_text("text\n" + "\n".join(lines), encoding="utf-8")
        caplog.clear()
        assert lines_of(table) == lines
        assert f"{table}: the text has " in caplog.text
    path.write_text("ماذا؟؟ ماذا????\n" * 9, encoding="utf-8")
    assert len(lines_of(path)) == 9
