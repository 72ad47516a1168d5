"""JSON Lines: a record per line."""

from __future__ import annotations

import json
from typing import IO

from qarib_tasks.corpus.reading.records import (
    LONGEST_RECORD,
    Batches,
    Documents,
    Reading,
    field_of,
    first_field,
)
from qarib_tasks.corpus.reading.text import raw_lines


def read_json_lines(reading: Reading, stream: IO[bytes]) -> Batches:
    source, documents = reading.source, Documents(reading)
    for data in raw_lines(reading, stream, LONGEST_RECORD):
        batch: list[str] = []
        for number, line in enumerate(data.split(b"\n"), start=reading.counts["line"] + 1):
            if not line.strip():
                continue
            try:
                record = json.loads(reading.text(line))
            except (ValueError, RecursionError) as error:
                reading.unreadable(f"invalid JSON: {error}", number)
                continue
            group = field_of(record, source.group) if source.group else None
            batch += documents.lines(first_field(record, source.fields), group, number)
        yield batch
