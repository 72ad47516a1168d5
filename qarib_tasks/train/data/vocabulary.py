"""The trainer's vocabulary: its size, its special tokens' ids, its checksum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.layout import VOCAB
from qarib_tasks.storage.manifest import FileRecord
from qarib_tasks.train.data.shards import open_address
from qarib_tasks.train.output import Output
from qarib_tasks.vocabulary.file import ids_of, load_vocab


@dataclass(frozen=True)
class Vocabulary:
    """`vocab.txt` on this machine: one wordpiece per line; its id is its (last) line's index from 0."""

    path: Path
    tokens: list[str]
    record: FileRecord

    @classmethod
    def read(cls, job: TrainingJob, output: Output) -> Vocabulary:
        """Fetch and read the job's vocabulary.

        Raises:
            InputError: the file is missing, or not a BERT vocabulary.
        """
        path = open_address(job.vocab_file, output.cache)
        return cls(path, load_vocab(path), FileRecord.of(path, VOCAB))

    def __len__(self) -> int:
        return len(self.tokens)

    def id(self, token: str) -> int:
        return self._ids[token]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return ids_of(self.tokens)
