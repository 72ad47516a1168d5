"""Plain text, line by line, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.reading.records import LONGEST_LINE, Batches, Reading


def line_feeds(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield blocks in which every line ends with LF: instead of CRLF, CR, and of CRCRLF."""
    held = b""
    while block := stream.read(BLOCK):
        if held or b"\r" in block:
            block = held + block
            # Until the next byte is known. CRCRLF is a line end that was converted twice.
            ending = min(len(block) - len(block.rstrip(b"\r")), 2)
            held = b"\r" * ending
            block = block[: len(block) - ending]
            block = block.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if block:
            yield block
    if held:
        yield b"\n" * len(held)


def raw_lines(reading: Reading, stream: IO[bytes], longest: int) -> Iterator[bytes]:
    """Yield blocks of complete lines; each line ends with a line feed, except possibly the last one.

    A line of the file can end with LF, CRLF or CR.

    `counts["line"]` is the number of lines before the block.
    """
    counts = reading.counts
    counts["line"] = 0
    rest = b""
    blocks = line_feeds(stream)
    for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        first = data.find(b"\n")
        if (first if end else len(data)) > longest:
            reading.unreadable(f"the line is longer than {longest:,} bytes", counts["line"] + 1)
            while not end:
                block = next(blocks, b"")
                end = block.rfind(b"\n") + 1 if block else -1
                data, first = block, block.find(b"\n")
            counts["line"] += 1
            if end < 0:
                return
            data, end = data[first + 1 :], end - first - 1
        rest = data[end:]
        if end:
            yield data[:end]
            counts["line"] += data.count(b"\n", 0, end)
    if rest:
        yield rest
        counts["line"] += 1


def read_text(reading: Reading, stream: IO[bytes]) -> Batches:
    document = reading.source.document
    for data in raw_lines(reading, stream, LONGEST_LINE):
        lines = [line.strip() for line in reading.text(data.removesuffix(b"\n")).split("\n")]
        if document == "line":
            lines = [item for line in lines if line for item in (line, "")]
        elif document == "file":
            lines = [line for line in lines if line]
        reading.counts["lines_read"] += data.count(b"\n") + (not data.endswith(b"\n"))
        yield lines
