"""Text in any encoding is read as what it is, or refused with the name of the likely encoding.

Covers qarib_tasks/corpus/content/decoding.py.
"""

from __future__ import annotations

import codecs
import gzip
import logging
from collections import Counter
from pathlib import Path

import pytest

from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.reading.records import HEAD
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError
from tests.support.collecting import CASES, SENTENCES, lines_of

TEXT = "\n".join(SENTENCES) + "\n"


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("e1-cp1256.txt", "windows-1256"),
        ("e2-iso8859-6.txt", "iso-8859-6"),
        ("e3-utf16le-bom.txt", "auto"),
        ("e5-utf8-bom-crlf.txt", "auto"),
        ("e6-cr-only.txt", "auto"),
    ],
)
def test_twelve_sentences_of_twelve(name: str, encoding: str) -> None:
    assert lines_of(CASES / name, encoding=encoding) == SENTENCES


@pytest.mark.parametrize(
    ("name", "likely", "share"),
    [("e1-cp1256.txt", "windows-1256", "82.24%"), ("e2-iso8859-6.txt", "iso-8859-6", "82.24%")],
)
def test_an_encoding_that_is_not_named_is_guessed_in_the_error(
    name: str, likely: str, share: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError) as error:
        lines_of(CASES / name)
    assert "replaced" not in caplog.text
    assert error.value.where == str(CASES / name)
    assert share in error.value.what
    assert error.value.what.endswith(f"the encoding is probably {likely}")
    assert error.value.do is not None
    assert f"Set `encoding: {likely}`" in error.value.do


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "cp720", "cp1256"],
)
def test_an_encoding_that_is_named_or_marked(tmp_path: Path, encoding: str, mark: bool) -> None:
    path = tmp_path / "a.txt"
    begin = "\ufeff" if mark and encoding != "cp1256" and encoding != "cp720" else ""
    path.write_bytes((begin + TEXT * 3000).encode(encoding))
    assert lines_of(path, encoding=encoding) == SENTENCES * 3000
    if begin:
        assert lines_of(path) == SENTENCES * 3000


def test_a_mark_is_obeyed_whatever_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in (TEXT.encode("utf-8-sig"), codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")):
        path.write_bytes(data)
        assert lines_of(path, encoding="windows-1256") == SENTENCES


def test_utf8_is_never_read_as_another_encoding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    assert lines_of(path, encoding="windows-1256") == SENTENCES
    assert f"{path}: read as UTF-8" in caplog.text
    # A few letters between ASCII can be valid UTF-8 in either.
    path.write_bytes("ok Ø§ ok\n".encode("cp1252"))
    assert lines_of(path, encoding="cp1252") == ["ok Ø§ ok"]


def test_a_wrong_name_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    for right, wrong in (("iso-8859-6", "windows-1256"), ("windows-1256", "iso-8859-1"), ("cp720", "cp1252")):
        path.write_bytes(TEXT.encode(right))
        caplog.clear()
        lines_of(path, encoding=wrong, encoding_errors="replace")
        assert f"{path}: read as {wrong}, but its encoding is probably {right}" in caplog.text
        caplog.clear()
        assert lines_of(path, encoding=right) == SENTENCES
        assert caplog.text == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("windows-1256", "mac-arabic"),
        ("windows-1256", "cp864"),
        ("iso-8859-6", "cp720"),
        ("cp720", "mac-arabic"),
        ("utf-16-le", "utf-16-be"),
    ],
)
def test_a_wrong_name_in_which_every_byte_can_be_decoded(
    tmp_path: Path, right: str, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode(right))
    lines_of(path, encoding=wrong)
    assert f"{path}: read as {wrong}, but its encoding is probably {right}" in caplog.text
    assert "damaged earlier" not in caplog.text


@pytest.mark.parametrize("named", ["windows-1256", "iso-8859-6", "cp720", "iso-8859-1", "mac-arabic"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_text_that_is_named_as_another_encoding(tmp_path: Path, named: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(InputError, match=f"not {named.upper()}; the encoding is probably {encoding}"):
        lines_of(path, encoding=named)


def test_binary_data_is_not_taken_for_wide_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in (b"PAR2\x00PKT", b"b0VIM\x00\x01\x02\x05binary\xff", b"\x00\x01\x02\x05binary\xff"):
        path.write_bytes(data)
        with pytest.raises(InputError, match="not text"):
            lines_of(path)


def test_a_mark_that_is_wrong_gives_way_to_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    for mark, encoding in ((codecs.BOM_UTF8, "windows-1256"), (codecs.BOM_UTF16_LE, "utf-8")):
        path.write_bytes(mark + TEXT.encode(encoding))
        with pytest.raises(InputError, match=f"the encoding is probably {encoding}"):
            lines_of(path)
        assert lines_of(path, encoding=encoding) == SENTENCES
        assert f"read as {encoding}, although its byte-order mark is that of" in caplog.text


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        path.write_bytes(TEXT.encode(encoding))
        with pytest.raises(InputError, match=f"the encoding is probably {encoding}") as error:
            lines_of(path)
        assert f"`encoding: {encoding}`" in str(error.value)
        assert lines_of(path, encoding=encoding) == lines_of(path, encoding=encoding[:6]) == SENTENCES
    path.write_bytes(TEXT.encode("cp1256"))
    with pytest.raises(
        InputError, match="no byte-order mark of utf-16; the encoding is probably windows-1256"
    ):
        lines_of(path, encoding="utf-16")


def test_one_bad_byte_in_a_megabyte_is_replaced_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    data = TEXT.encode() * (HEAD // len(TEXT.encode()))
    for place in (4, BLOCK - 1, BLOCK, len(data) - 1):
        path.write_bytes(data[:place] + b"\xff" + data[place:])
        counts: Counter[str] = Counter()
        assert "\n".join(lines_of(path, counts)).count("\ufffd") >= 1
        assert 1 <= counts["undecodable_bytes"] <= 3
        assert f"{path}: {counted(counts['undecodable_bytes'], 'undecodable byte')} replaced" in caplog.text
        assert counts["lines_read"] in (data.count(b"\n"), data.count(b"\n") + 1)


@pytest.mark.parametrize("packed", [False, True])
def test_the_share_that_is_allowed_is_of_all_bytes(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")

    def write(bad: int, total: int) -> None:
        data = b"\xff" * bad + b"\n" + b"abc\n" * (total // 4)
        path.write_bytes(gzip.compress(data[:total]) if packed else data[:total])

    counts: Counter[str] = Counter()
    for total in (100_000, 3_000_000):
        write(total // 10_000, total)
        lines_of(path, counts)
        write(total // 10_000 + 1, total)
        with pytest.raises(InputError, match=r"\(0.0[0-9]%\) are not UTF-8"):
            lines_of(path)
        lines_of(path, undecodable_share=0.001)
        lines_of(path, encoding_errors="replace")
    assert counts["undecodable_bytes"] == 10 + 300


def test_a_long_file_in_another_encoding_is_refused_at_its_start(tmp_path: Path) -> None:
    for name, data in (("a.txt", b""), ("a.txt.gz", b"")):
        path = tmp_path / name
        data = TEXT.encode("cp1256") * 15000
        path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
        counts: Counter[str] = Counter()
        with pytest.raises(InputError, match="windows-1256"):
            lines_of(path, counts)
        assert counts["lines_read"] * 30 < len(data) // 2


def test_every_byte_that_cannot_be_decoded_in_a_named_encoding_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("نعم\n".encode("iso-8859-6") + b"\xff\xfe\n")
    counts: Counter[str] = Counter()
    settings = {"encoding": "iso-8859-6", "encoding_errors": "replace"}
    assert lines_of(path, counts, **settings) == ["نعم", "\ufffd\ufffd"]
    assert counts["undecodable_bytes"] == 2
    with pytest.raises(InputError, match=r"2 bytes .* are not ISO-8859-6"):
        lines_of(path, encoding="iso-8859-6")


def test_lines_of_two_encodings_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode() * 3 + TEXT.encode("cp1256"))
    with pytest.raises(InputError, match="some of its lines are UTF-8, others probably windows-1256"):
        lines_of(path)
    # Read in that encoding, the other lines would be wrong.
    encodings = ["utf-8", "cp1256"] * (len(SENTENCES) // 2)
    path.write_bytes(b"\n".join(s.encode(e) for s, e in zip(SENTENCES, encodings, strict=True)))
    with pytest.raises(InputError, match="some of its lines are UTF-8, others probably windows-1256"):
        lines_of(path)
    path.write_bytes(TEXT.encode() + "نعم".encode()[:-1] + b"\n")
    with pytest.raises(InputError, match="the file is damaged"):
        lines_of(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_line_ends_also_between_blocks(tmp_path: Path, end: str, form: str) -> None:
    path = tmp_path / f"a.{form}"
    line = '{"text": "نعم"}' if form == "jsonl" else "نعم"
    size = len((line + end).encode())
    for after in range(len(end) + 1):
        # So that a block ends after this many bytes of a line end.
        length = (BLOCK - after) % size + size
        before = '{"text": "' + "x" * (length - 12) + '"}' if form == "jsonl" else "x" * length
        path.write_bytes((before + end + (line + end) * (BLOCK // size + 9)).encode())
        counts: Counter[str] = Counter()
        assert lines_of(path, counts)[1:] == ["نعم"] * (BLOCK // size + 9)
        assert counts["line"] == BLOCK // size + 10


def test_mixed_line_ends_and_blank_lines_between_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\rb\nc\r\nd\r\re")
    assert lines_of(path) == ["a", "b", "c", "d", "e"]
    counts: Counter[str] = Counter()
    lines_of(CASES / "e12-cr-only-600.txt", counts)
    assert counts["lines_read"] == 600


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_marks_of_files_that_were_joined_are_no_text(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    part = '\ufeff{"text": "نعم"}\n' if form == "jsonl" else "\ufeffنعم\n"
    for shift in range(5):
        first = '{"text": "' + "x" * shift + '"}\n' if form == "jsonl" else "x" * shift + "\n"
        path.write_bytes((first + "\ufeff" + part * (HEAD // len(part.encode()) + 9)).encode())
        assert set(lines_of(path)) - {"x" * shift} == {"نعم"}
    path.write_bytes("a\ufeffb\n".encode() + b"\x1a")
    assert lines_of(path, format="text") == ["a\ufeffb"]


@pytest.mark.parametrize("used", ["iso-8859-1", "windows-1252", "windows-1256"])
def test_text_that_was_damaged_earlier_is_named(
    tmp_path: Path, used: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    # As browsers do, which keep the bytes that windows-1252 does not define.
    wrong = "".join(bytes([b]).decode(used, "ignore") or chr(b) for b in TEXT.encode())
    path.write_text(wrong, encoding="utf-8")
    lines_of(path)
    assert f"{path}: the text was damaged earlier: UTF-8 was read as {used.upper()}" in caplog.text
    assert f"iconv -f UTF-8 -t {used} FILE" in caplog.text


def test_text_of_windows_read_as_latin(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    for right in ("windows-1256", "iso-8859-6"):
        caplog.clear()
        path.write_text(TEXT.encode(right).decode("iso-8859-1"), encoding="utf-8")
        lines_of(path)
        assert f"{right.upper()} was read as ISO-8859-1" in caplog.text
        assert f"`encoding: {right}`" in caplog.text
    caplog.clear()
    lines_of(CASES / "e11-mojibake.txt")
    assert "e11-mojibake.txt: the text was damaged" in caplog.text
    caplog.clear()
    path.write_text(TEXT + "Ça a été une journée à Noël, où était-ce? Größe und Fülle\n", encoding="utf-8")
    lines_of(path)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("right", "used"),
    [
        *(("utf-8", used) for used in ("mac-roman", "cp437", "cp850", "cp720", "cp1251")),
        ("windows-1256", "iso-8859-6"),
        ("windows-1256", "mac-roman"),
        ("windows-1256", "cp1251"),
        ("iso-8859-6", "windows-1256"),
        ("cp720", "cp437"),
    ],
)
def test_text_that_was_read_in_any_encoding_and_saved(
    tmp_path: Path, right: str, used: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT.encode(right).decode(used, "replace"), encoding="utf-8")
    lines_of(path)
    assert f"damaged earlier: {right.upper()} was read as {used.upper()} and saved" in caplog.text


@pytest.mark.parametrize("used", ["iso-8859-1", "windows-1252"])
def test_text_that_was_damaged_twice(tmp_path: Path, used: str, caplog: pytest.LogCaptureFixture) -> None:
    text = TEXT
    for _ in range(2):
        text = "".join(bytes([b]).decode(used, "ignore") or chr(b) for b in text.encode())
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    lines_of(tmp_path / "a.txt")
    assert f"damaged earlier: UTF-8 was read as {used.upper()}" in caplog.text


def test_letters_that_were_lost_earlier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    for character, text in (
        ("?", "many words are question marks"),
        ("\ufffd", "could not be decoded (U+FFFD)"),
    ):
        lost = ["".join(character if c > "\x7f" else c for c in s) for s in SENTENCES]
        path.write_text("".join(f'{{"text": "{line}"}}\n' for line in lost), encoding="utf-8")
        caplog.clear()
        assert lines_of(path) == lost
        assert f"{path}: the text was damaged earlier: " in caplog.text
        assert text in caplog.text
    caplog.clear()
    (tmp_path / "a.txt").write_text(TEXT + "ماذا؟؟؟ what???\n", encoding="utf-8")
    lines_of(tmp_path / "a.txt")
    assert caplog.text == ""


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv"])
def test_characters_in_cesu_8_are_read(tmp_path: Path, form: str) -> None:
    """Two surrogates in three bytes each, as Java and databases write a character beyond U+FFFF."""
    path = tmp_path / f"a.{form}"
    lines = [f"{sentence} \ud83d\ude00" for sentence in SENTENCES]
    text = {
        "txt": "\n".join(lines),
        "jsonl": "\n".join(f'{{"text": "{line}"}}' for line in lines),
        "csv": "text\n" + "\n".join(lines),
    }[form]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    counts: Counter[str] = Counter()
    assert lines_of(path, counts) == [f"{sentence} \U0001f600" for sentence in SENTENCES]
    assert not counts["undecodable_bytes"]
    path.write_bytes(text.replace("\ude00", "").encode("utf-8", "surrogatepass"))
    lines_of(path, counts, encoding_errors="replace")
    assert counts["undecodable_bytes"] == 3 * len(SENTENCES)


def test_control_characters_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode() + bytes(5))
    with pytest.raises(InputError, match=r"not text \(looks like binary data: 5 control characters"):
        lines_of(path)
    path.write_bytes(TEXT.encode() * 100 + b"\x00\x07\v\f")
    assert len(lines_of(path)) == 1201
    # Asked for in so many words, but not if the file is binary.
    path.write_bytes(TEXT.encode() + bytes(5))
    assert len(lines_of(path, encoding_errors="replace")) == 13
    path.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(InputError, match="not text"):
        lines_of(path, encoding_errors="replace")


def test_a_control_character_that_separates_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["id\x01text", *(f"7\x01{sentence}" for sentence in SENTENCES)]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert lines_of(path, delimiter="\x01") == SENTENCES
    with pytest.raises(InputError, match="13 control characters"):
        lines_of(path)
