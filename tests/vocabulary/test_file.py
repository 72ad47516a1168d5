"""How vocabulary files are read: as google-research/bert reads them, and what they are not is named."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer

from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.conversion.tokenizer import Tokenizer
from qarib_tasks.errors import InputError
from qarib_tasks.vocabulary.build import build_vocab
from qarib_tasks.vocabulary.file import MAX_ENTRIES, SPECIAL_TOKENS, ids_of, load_vocab
from qarib_tasks.vocabulary.report import report, side_by_side
from qarib_tasks.vocabulary.tokenizer_files import write_tokenizer
from tests.support.oracle_pretraining_data import read_vocab

DATA = Path(__file__).parents[1] / "data"
CASES = DATA / "cases"
REFERENCE = DATA / "pretraining_data"
UNUSUAL = [REFERENCE / f"vocab-{name}.txt" for name in ("empty-lines", "repeated-entries")]
PLAIN = (CASES / "v8-pad-second.txt").read_text(encoding="utf-8").split("\n")[:-1]
PLAIN[:2] = ["[PAD]", "[UNK]"]
S = "\n".join(SPECIAL_TOKENS) + "\n"


@pytest.mark.parametrize("name", ["v1-crlf-vocab.txt", "v2-bom-vocab.txt", "v3-utf16-vocab.txt"])
def test_line_ends_and_byte_order_marks_are_no_part_of_entries(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_vocab(CASES / name) == PLAIN
    assert not caplog.records


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-le", "utf-32-be"])
def test_other_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_bytes("".join(["\ufeff", *(entry + "\n" for entry in PLAIN)]).encode(encoding))
    assert load_vocab(vocab) == PLAIN


@pytest.mark.parametrize(
    ("name", "lines", "empty"),
    [("v6-blank-line.txt", 2001, "101"), ("v7-extra-newlines.txt", 2002, "2001, 2002")],
)
def test_empty_lines_keep_their_numbers(
    name: str, lines: int, empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    entries = load_vocab(CASES / name)
    assert len(entries) == lines
    assert ids_of(entries) == read_vocab(CASES / name)
    assert [entry for entry in entries if entry] == PLAIN
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{CASES / name}: empty lines: {empty}. They keep their ids" in record.getMessage()


@pytest.mark.parametrize("path", UNUSUAL, ids=lambda path: path.stem)
def test_ids_are_those_of_the_reference_in_its_order(path: Path) -> None:
    # The order decides which words replace masked ones.
    assert list(ids_of(load_vocab(path)).items()) == list(read_vocab(path).items())


@pytest.mark.parametrize(
    "text",
    [
        S + "a\n\n",
        S + "a\n\r",
        S + "a\n\r\n",
        S + "a\rb\nab\n",
        S + " a\u2028b \u2028\n\x85\x1c\n\u3000\na",
        S + "\n\na\na\n a\n[MASK]\n##\n\x00\n",
    ],
)
def test_odd_ends_and_spaces_are_read_as_the_reference_reads_them(tmp_path: Path, text: str) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_bytes(text.encode())
    entries = load_vocab(vocab)
    assert list(ids_of(entries).items()) == list(read_vocab(vocab).items())
    assert len(entries) == max(ids_of(entries).values()) + 1
    # As build_vocab and the export write it again.
    vocab.write_text("".join(entry + "\n" for entry in entries), encoding="utf-8")
    assert load_vocab(vocab) == entries


def test_a_warning_names_the_first_of_many_lines_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text(S + "a\n" * 9 + "\n" * 7 + "[CLS]\n")
    load_vocab(vocab)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{vocab}: empty lines: 15, 16, 17, 18, 19 and 2 more; lines whose entry a later line repeats: "
        "3 ('[CLS]', again on line 22), 6 ('a', again on line 14), 7 ('a', again on line 14), "
        "8 ('a', again on line 14), 9 ('a', again on line 14) and 4 more. They keep their ids, but the "
        "tokenizer never produces them. Don't remove them: all later ids would change"
    )


@pytest.mark.parametrize("path", UNUSUAL, ids=lambda path: path.stem)
def test_transformers_and_our_conversion_give_the_same_ids(path: Path, tmp_path: Path) -> None:
    entries = load_vocab(path)
    write_tokenizer(entries, tmp_path, do_lower_case=True)
    ours = Tokenizer(entries, do_lower_case=True)
    readers = [AutoTokenizer.from_pretrained(str(tmp_path))]
    (tmp_path / "vocab.txt").write_text("".join(e + "\n" for e in entries), encoding="utf-8")
    (tmp_path / "tokenizer.json").unlink()
    readers.append(BertTokenizer.from_pretrained(str(tmp_path)))
    lines = (REFERENCE / "some-documents.txt").read_text(encoding="utf-8").split("\n")
    unreachable = {n for n, entry in enumerate(entries) if not entry or ids_of(entries)[entry] != n}
    for theirs in readers:
        for token in SPECIAL_TOKENS:
            assert theirs.convert_tokens_to_ids(token) == ours.id(token)
        for line in filter(str.strip, lines):
            ids = ours.ids(line)
            assert theirs(line, add_special_tokens=False)["input_ids"] == ids
            assert theirs(line)["input_ids"] == [ours.id("[CLS]"), *ids, ours.id("[SEP]")]
            assert not unreachable & set(ids)


def test_new_data_takes_such_a_vocabulary_with_every_line(tmp_path: Path) -> None:
    given, text, new = CASES / "v7-extra-newlines.txt", tmp_path / "data.txt", tmp_path / "new" / "vocab.txt"
    text.write_text("a\n")
    config = VocabConfig(vocab_size=2002, vocab_file=str(given))
    build_vocab(text, new, config, do_lower_case=True, random_seed=34)
    assert new.read_bytes() == given.read_bytes()
    vocabulary = json.loads((tmp_path / "new" / "tokenizer.json").read_text(encoding="utf-8"))["model"][
        "vocab"
    ]
    assert vocabulary == read_vocab(given)


def test_the_report_counts_such_lines_as_dead(tmp_path: Path) -> None:
    vocab, text = tmp_path / "vocab.txt", tmp_path / "text.txt"
    vocab.write_text(S + "a\n\na\nb\nc\nc\n")
    text.write_text("a b a\n")
    found = report(vocab, text, do_lower_case=True)
    assert (found.entries, found.unknown) == (11, 0)
    assert found.dead == ["", "a", "c"]
    assert found.never_used == ["c"]
    assert "dead: (empty)  a  c\n" in side_by_side([found], ["vocab"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4-sentencepiece.vocab", r"a piece, a tab and a number, as in SentencePiece's \.vocab"),
        ("v8-pad-second.txt", r"v8-pad-second\.txt:2: \[PAD\] must be the first entry"),
        (
            "v9-lowercase-specials.txt",
            r"specials\.txt:1: the special token \[PAD\] is missing: .* has \[pad\]",
        ),
    ],
)
def test_what_is_no_vocabulary_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_vocab(CASES / name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the vocabulary is empty"),
        (b"\xef\xbb\xbf", "the vocabulary is empty"),
        (S.encode() + b"a\n\xff\n", r"vocab\.txt:7: invalid UTF-8"),
        (S.encode("utf-16") + b"\0", "invalid UTF-16"),
        (S.encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ((S + "ش\n").encode("utf-16-le") + b"\xff", "UTF-16 without a byte-order mark"),
        (gzip.compress(S.encode(), mtime=0), "not text, or UTF-16"),
        ((S + "قال\n").encode("cp1256"), r"vocab\.txt:6: invalid UTF-8"),
        (S.replace("\n", "\r").encode(), "its lines end with CR alone"),
        (S.encode() + b"a\n[PAD]\n", r"vocab\.txt:7: \[PAD\] is repeated.*such as \[UNUSED_6\]"),
        (b'{"version": "1.0"}\n', "JSON, not a vocabulary"),
        (S.encode() + b"a\n" * MAX_ENTRIES, "more than 1,000,000 entries"),
        (b"[PAD]\n", r"vocab\.txt:1: the special token \[UNK\] is missing"),
    ],
    ids=range(13),
)
def test_unusable_files(tmp_path: Path, data: bytes, message: str) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_bytes(data)
    with pytest.raises(InputError, match=message):
        load_vocab(vocab)


def test_a_file_too_large_to_be_a_vocabulary_is_not_read(tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    with vocab.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(InputError, match="larger than 256 MiB"):
        load_vocab(vocab)
