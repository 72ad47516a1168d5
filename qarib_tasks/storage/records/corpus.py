"""What is relied on in the config and the statistics of the manifest of a collected text."""

from __future__ import annotations

from typing import Any

from qarib_tasks.storage.records.record import Count, Record


class _TaskTexts(Record):
    digest: str
    documents: Count
    short: Count
    texts: Count


class CorpusStatistics(Record):
    """Of a collected text, and of each of its sources. Earlier versions wrote fewer."""

    documents_read: Count
    documents: Count = 0
    heldout_documents: Count = 0
    text_lines: Count = 0
    text_bytes: Count = 0
    text_documents: Count = 0
    lines: Count = 0
    lines_read: Count = 0
    words: Count = 0
    bytes: Count = 0
    bytes_read: Count = 0
    duplicates: Count = 0
    near_duplicates: Count = 0
    outside_share: Count = 0
    test_texts: Count = 0
    skipped: Count = 0
    empty_records: Count = 0
    undecodable_bytes: Count = 0
    replaced_characters: Count = 0
    left_out_files: Count = 0
    left_out: dict[str, Any] = {}
    undecodable: dict[str, Any] = {}
    file_warnings: dict[str, list[str] | str] = {}
    changed: dict[str, Count] = {}
    dropped: dict[str, Count] = {}
    dropped_bytes: dict[str, Count] = {}
    line_words: dict[str, Count] = {}
    document_lines: dict[str, Count] = {}
    samples: list[list[str]] = []
    changed_texts: dict[str, list[list[str]]] = {}
    dropped_texts: dict[str, list[list[str]] | list[str]] = {}
    sources: dict[str, CorpusStatistics] = {}
    tasks: dict[str, _TaskTexts] = {}
    contamination: dict[str, _TaskTexts] = {}
    warnings: list[str] = []


class _Name(Record):
    name: str


class Sources(Record):
    sources: list[_Name]


class Corpus(Record):
    config: Sources
    statistics: CorpusStatistics
