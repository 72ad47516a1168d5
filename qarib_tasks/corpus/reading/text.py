"""Plain text, line by line, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from qarib_tasks.corpus.reading.decompression import BLOCK
from qarib_tasks.corpus.reading.records import LONGEST_LINE, Batches, Reading


def raw_lines(reading: Reading, stream: IO[bytes], longest: int) -> Iterator[bytes]:
    """Yield blocks of complete lines; each line ends with a line feed, except possibly the last one.

    `counts["line"]` is the number of lines before the block.
    """
    counts = reading.counts
    counts["line"] = 0
    rest = b""
    while block := stream.read(BLOCK):
        data = rest + block
        end = data.rfind(b"\n") + 1
        first = data.find(b"\n")
        if (first if end else len(data)) > longest:
            reading.unreadable(f"the line is longer than {longest:,} bytes", counts["line"] + 1)
            while not end:
                block = stream.read(BLOCK)
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
