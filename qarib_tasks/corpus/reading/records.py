"""Records of a source file: their fields, and their texts as lines of documents."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.content.decoding import decoded
from qarib_tasks.corpus.content.decompression import Allowance
from qarib_tasks.corpus.content.guessing import likely_encoding, wrong_lines
from qarib_tasks.counting import counted
from qarib_tasks.errors import InputError

log = logging.getLogger(__name__)
LONGEST_LINE = 1 << 20  # bytes; a longer one is not a sentence, and every step would hold it in memory
LONGEST_RECORD = 16 << 20  # bytes of a line of JSON, whose text may be a book
_MOST_FILES = 100  # that a manifest lists
LABEL_END = "\x1f"  # after the label of a labelled text
_MOST_NAMES, _NAME = 30, 40  # what a message lists
HEAD = 1 << 20  # bytes at the start of a file that show what it is
_SURROGATE = re.compile("[\ud800-\udfff]")
_WRONG_ENCODING = 0.01  # share of undecodable bytes that damage does not explain
Batches = Iterator[list[str]]


@dataclass
class Findings:
    """What is said about the files of a source, by their paths.

    Attributes:
        left_out: why a file, or a member of an archive, is not read.
        undecodable: how many bytes were replaced.
        warnings: what the user must know.
        readings: the state of reading each file and member, for a preview; None if it is not wanted.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    readings: list[Reading] | None = None

    def warn(self, where: str, text: str) -> None:
        log.warning("%s: %s", where, text)
        self.warnings.setdefault(where, []).append(text)

    def figures(self) -> dict[str, object]:
        """Return statistics for a manifest, none if nothing is said."""
        figures: dict[str, object] = {}
        if self.left_out:
            figures["left_out_files"] = len(self.left_out)
            figures["left_out"] = dict(islice(self.left_out.items(), _MOST_FILES))
        if self.undecodable:
            figures["undecodable"] = dict(islice(self.undecodable.items(), _MOST_FILES))
        if self.warnings:
            figures["file_warnings"] = dict(islice(self.warnings.items(), _MOST_FILES))
        return figures


@dataclass
class Reading:
    """The state of reading one file.

    Attributes:
        source: the settings.
        where: the file's whole path for messages, with the member's path if it is in an archive.
        counts: the reader adds to `lines_read`, `undecodable_bytes` and `skipped`; `line` is the number of
            lines or rows that it has passed.
        form: the file's format, never "auto".
        encoding: the file's encoding.
        size: the number of bytes of the file when it is unpacked, if that is known before it is read.
        passed: the number of bytes that were read.
        ended: whether `passed` is all.
        replaced: the number of bytes that could not be decoded.
        packed: the compressions and archives that the file is in, the outermost first.
        guessed: the text looks like this format, which neither its name nor a setting says.
        detailed: whether `examples` is wanted.
        dialect: how the columns of delimited text are separated.
        columns: the names of the columns or fields of the first record; without a header, their numbers.
        column: the one that holds the text.
        examples: the first value of each column.
        warnings: what the user must know about the file.
        given: the number of bytes of text that the reader was given.
        held: the number of them that it has not yielded lines of yet.
        share: the share of the rows whose lines were yielded, of a table.
        has_escapes: what is read may have halves of pairs of surrogates.
        allowance: what the file may unpack to; None for any size.
    """

    source: SourceConfig
    where: str
    counts: Counter[str]
    form: str = "text"
    encoding: str = "utf-8"
    size: int | None = None
    passed: int = 0
    ended: bool = False
    replaced: int = 0
    packed: tuple[str, ...] = ()
    guessed: bool = False
    detailed: bool = False
    dialect: str = ""
    columns: Sequence[str] = ()
    column: str = ""
    examples: Sequence[object] = ()
    warnings: list[str] = field(default_factory=list)
    given: int = 0
    held: int = 0
    share: float | None = None
    has_escapes: bool = False
    allowance: Allowance | None = None

    def __post_init__(self) -> None:
        self._before = self.counts["lines_read"]  # of other members of the archive

    @property
    def has_texts(self) -> bool:
        """Whether the file has had a text."""
        return self.counts["lines_read"] > self._before

    def warn(self, text: str) -> None:
        """Tell the user something about the file."""
        log.warning("%s: %s", self.where, text)
        self.warnings.append(text)

    def unreadable(
        self, what: str, number: int, do: str = "Correct the record", *, is_single: bool = True
    ) -> None:
        """Count a record that cannot be read.

        Args:
            number: of its line or row.
            do: what else the user can do than skip it.
            is_single: other records probably can be read.

        Raises:
            InputError: more records are unreadable than the source allows.
        """
        self.counts["skipped"] += 1
        if self.counts["skipped"] > self.source.skip_at_most:
            at_most = self.source.skip_at_most
            raise InputError(
                what + (f", after {counted(at_most, 'skipped record')}" if at_most else ""),
                where=f"{self.where}:{number}",
                do=f"{do}, or raise skip_at_most{self.or_as_text}" if is_single else do,
            )

    def count_surrogates(self, text: str) -> None:
        """Count halves of pairs of surrogates, which the cleaning replaces by U+FFFD."""
        if count := len(_SURROGATE.findall(text)):
            if not self.counts["replaced_characters"]:
                self.warn("halves of pairs of surrogates (\\ud800 to \\udfff) are replaced by U+FFFD")
            self.counts["replaced_characters"] += count

    @property
    def in_archive(self) -> bool:
        """Whether the file is a member of an archive."""
        return not {"zip", "tar"}.isdisjoint(self.packed)

    @property
    def or_as_text(self) -> str:
        """The end of an advice, if the file may be plain text."""
        return ". If it is plain text, set `format: text`" if self.guessed else ""

    def text(self, data: bytes) -> str:
        """Decode UTF-8; bytes that cannot be decoded are replaced by U+FFFD and counted.

        Raises:
            InputError: they are more than the source allows.
        """
        text, undecodable = decoded(data)
        if undecodable:
            self.undecodable(undecodable, data)
        return text

    def undecodable(self, count: int, sample: bytes) -> None:
        """Count bytes that cannot be decoded.

        Args:
            sample: bytes of the file, in which they occur.

        Raises:
            InputError: they are more than the source allows. It is raised as soon as that is certain, or
                if there are so many that the file must have another encoding.
        """
        if count:
            self.counts["undecodable_bytes"] += count
            self.replaced += count
        found, source = self.replaced, self.source
        total = self.passed if self.ended else max(self.size or 0, self.passed)
        certain = (
            self.ended
            or self.size is not None
            or (self.passed >= HEAD and found > _WRONG_ENCODING * self.passed)
        )
        if source.encoding_errors == "replace" or not certain or found <= source.undecodable_share * total:
            return
        name = self.encoding.upper()
        part, is_part = wrong_lines(sample) if self.encoding == "utf-8" else (sample, False)
        likely = likely_encoding(part) if part else self.encoding
        replace = "`encoding_errors: replace` to read it all the same"
        do = f"Set `encoding`, or {replace}"
        if likely == self.encoding:
            what, do = "the file is damaged", f"Correct the file, or set {replace}"
        elif not likely:
            what = "the encoding is unknown"
        elif is_part:
            what = f"some of its lines are {name}, others probably {likely}"
            do = f"Convert these lines to UTF-8, or set {replace}"
        else:
            what = f"the encoding is probably {likely}"
            do = f"Set `encoding: {likely}`, or {replace}"
        are = "is" if found == 1 else "are"
        raise InputError(
            f"{counted(found, 'byte')} ({found / max(self.passed, 1):.2%}) {are} not {name}; {what}",
            where=self.where,
            do=do,
        )


class Documents:
    """Turns records into lines, with an empty line where a document ends.

    Attributes:
        takes_empty: the texts are labelled: one that is null is an empty one.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.takes_empty = reading.source.takes_empty
        self._group: object = None

    def lines(self, text: object, group: object, number: int) -> list[str]:
        """Return the lines of one record, with an empty line where a document ends."""
        reading, document = self._reading, self._reading.source.document
        if text is None and self.takes_empty:
            text = ""
        if not isinstance(text, str):
            what = "no text" if text is None else f"{kind_of(text)} instead of text"
            do = "Join the list into one text" if isinstance(text, list) else "Correct the record"
            what += f" in field {' or '.join(map(repr, reading.source.fields))}"
            reading.unreadable(what, number, f"{do}, correct `{reading.source.text_setting}`")
            return []
        if len(text) > LONGEST_RECORD:
            reading.unreadable(f"the text is longer than {LONGEST_RECORD:,} characters", number)
            return []
        if self.takes_empty:
            return self._labelled_text(text, group, number)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = [line.strip() for line in text.split("\n")]
        if len(text) > LONGEST_LINE and max(map(len, lines)) > LONGEST_LINE:
            reading.unreadable(f"a line of the text is longer than {LONGEST_LINE:,} characters", number)
            return []
        if not lines[0] and not any(lines):
            reading.counts["empty_records"] += 1
        reading.counts["lines_read"] += len(lines)
        if document == "blank_line":
            return [*lines, ""]
        lines = [line for line in lines if line]
        if document == "line":
            return [*lines, ""]
        if document == "group":
            changed, self._group = group != self._group, group
            return ["", *lines] if changed else lines
        return lines

    def _labelled_text(self, text: str, label: object, number: int) -> list[str]:
        """Return one line: the label and the text, with `LABEL_END` between them."""
        if isinstance(label, bool):
            label = str(label).lower()
        elif isinstance(label, int):
            label = str(label)
        elif isinstance(label, float):
            label = "" if math.isnan(label) else f"{label:.15g}"
        if not isinstance(label, str | None):
            what = f"{kind_of(label)} instead of a label in field {self._reading.source.group!r}"
            self._reading.unreadable(what, number)
            return []
        self._reading.counts["lines_read"] += 1
        # Neither can hold LABEL_END: it is a white space.
        return [f"{' '.join((label or '').split())}{LABEL_END}{' '.join(text.split())}"]


def kind_of(value: object) -> str:
    """Return what a value of a record is, for a message."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


_KINDS: tuple[tuple[type, str], ...] = (
    (str, "a string"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)


def field_of(record: object, name: str) -> object:
    """Return the value of a field; `a.b` is b inside a. None if the field does not exist."""
    if isinstance(record, dict) and name in record:
        value: object = record[name]
        return value
    for part in name.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


def listed(names: Sequence[str]) -> str:
    """Return the names for a message, each cut to a readable length."""
    shown = [name if len(name) <= _NAME else name[:_NAME] + "…" for name in names[:_MOST_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else "")
