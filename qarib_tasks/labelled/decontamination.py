"""Keeps the test texts of labelled tasks out of the text that a model is trained on.

A model that has seen a test text in training may be scored too high. Documents that contain one are left out
of a corpus when it is collected, of the held-out part too. The test texts are cleaned like the corpus.

The text of a corpus never depends on tasks in any other way. One that was collected before a task was given
stays as it is: `contamination` counts the documents that contain test texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qarib_tasks.config.corpus import TEXT_RULES, CollectConfig
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.progress import progress

if TYPE_CHECKING:
    from qarib_tasks.corpus.deduplication import Bits

LISTED = 10  # documents in the report
REMEMBERED = 1000  # test texts of which a document is kept until the most frequent ones are known
LONGEST_LISTED = 300  # characters


@dataclass(frozen=True)
class TaskTexts:
    """The test texts of labelled tasks, by the name of the task."""

    tasks: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, tasks: Sequence[LabelledTask]) -> TaskTexts:
        return cls({task.name: task.test.texts for task in tasks})

    @cached_property
    def digests(self) -> dict[str, str]:
        """A SHA-256 (hex) of each task's texts, in any order."""
        return {name: digest_of(texts) for name, texts in self.tasks.items()}

    def search(self, config: CollectConfig) -> TextSearch:
        """Return a search for the texts in documents that were cleaned with these settings."""
        return TextSearch(self, config)


def digest_of(texts: Sequence[str]) -> str:
    """Return a SHA-256 (hex) of some texts, in any order."""
    data = json.dumps(sorted(set(texts)), ensure_ascii=False)
    return hashlib.sha256(data.encode(errors="surrogatepass")).hexdigest()


class TextSearch:
    """Finds documents that contain the test texts, and remembers which texts it found."""

    def __init__(self, texts: TaskTexts, config: CollectConfig) -> None:
        import numpy as np

        from qarib_tasks.labelled.search import Index

        self._tests = texts
        self._names = list(texts.tasks)
        self._texts = [text for some in texts.tasks.values() for text in some]
        sizes = [len(some) for some in texts.tasks.values()]
        self._task_of = np.repeat(np.arange(len(sizes)), sizes)
        self._index = Index(_spellings(self._texts, config))
        self._documents = np.zeros(len(self._texts), dtype=np.int64)
        self._first: dict[int, str] = {}

    def find(self, path: Path, documents: int) -> dict[str, Bits]:
        """Search a text file.

        Args:
            documents: the number of documents in it.

        Returns:
            for each task uint8 [ceil(documents / 8)]: a bit per document, as from `deduplication.repeats`.
        """
        import numpy as np

        bits = np.zeros((len(self._names), (documents + 7) // 8), dtype=np.uint8)
        for numbers, texts in self._found(path):
            marks = np.uint8(1) << (numbers & 7).astype(np.uint8)
            np.bitwise_or.at(bits, (self._task_of[texts], numbers >> 3), marks)
        return dict(zip(self._names, bits, strict=True))

    def count(self, path: Path) -> dict[str, int]:
        """Return how many documents of a text file contain a text of each task."""
        import numpy as np

        counts = np.zeros(len(self._names), dtype=np.int64)
        for numbers, texts in self._found(path):
            pairs = np.unique(np.stack([self._task_of[texts], numbers], axis=1), axis=0)
            counts += np.bincount(pairs[:, 0], minlength=len(counts))
        return dict(zip(self._names, counts.tolist(), strict=True))

    def _found(self, path: Path) -> Iterator[tuple[Any, Any]]:
        """Yield arrays of the same length: documents, by their number in the file, and texts in them."""
        import numpy as np

        from qarib_tasks.labelled.search import search

        with progress("search for test texts", path.stat().st_size, "bytes") as advance:
            for block, documents, texts in search(self._index, path):
                advance(block.bytes)
                np.add.at(self._documents, texts, 1)
                for document, text in zip(documents.tolist(), texts.tolist(), strict=True):
                    if len(self._first) < REMEMBERED and text not in self._first:
                        self._first[text] = block.documents[document]
                yield documents + block.first, texts

    def figures(self, documents: Mapping[str, int]) -> dict[str, Any]:
        """Return statistics for a manifest.

        Args:
            documents: how many documents were found for each task.

        Returns:
            tasks: by name the digest, the number of texts, of those that are too short to be searched for
            inside documents, and of documents. tested: different documents with the texts that most
            documents contain: the task, the text, the document, and the number of documents.
        """
        short = self._index.short
        tasks = {}
        for name in sorted(self._names):
            own = self._task_of == self._names.index(name)
            tasks[name] = {
                "digest": self._tests.digests[name],
                "texts": int(own.sum()),
                "short": int((short & own).sum()),
                "documents": documents[name],
            }
        tested: dict[str, list[Any]] = {}  # by document
        for text in sorted(self._first, key=lambda text: -int(self._documents[text])):
            document = self._first[text]
            if document not in tested and len(tested) < LISTED:
                task = self._names[int(self._task_of[text])]
                shown = self._texts[text][:LONGEST_LISTED], document[:LONGEST_LISTED]
                tested[document] = [task, *shown, int(self._documents[text])]
        return {"tasks": tasks, "tested": list(tested.values())}


def _spellings(texts: Sequence[str], config: CollectConfig) -> list[list[str]]:
    """Return each text as the cleaning leaves it in a document, with and without dropping parts of it."""
    kept = tuple(rule for rule in config.cleaning if rule in TEXT_RULES)
    ways = [
        _cleaned(texts, replace(config, cleaning=rules)) for rules in dict.fromkeys((kept, config.cleaning))
    ]
    return [list(dict.fromkeys(filter(None, some))) for some in zip(*ways, strict=True)]


def _cleaned(texts: Sequence[str], config: CollectConfig) -> list[str]:
    from qarib_tasks.corpus.cleaning import Cleaner

    # At once, which is much faster. An empty line, which is kept, separates them.
    parts = iter(Cleaner(config).clean([part for text in texts for part in (text, "")]))
    return [" ".join(iter(parts.__next__, "")) for _ in texts]


def contamination(texts: TaskTexts, config: CollectConfig, path: Path) -> dict[str, Any]:
    """Return the statistics of a text that was collected without leaving the texts out.

    Args:
        config: the settings that it was collected with.
    """
    search = texts.search(config)
    return search.figures(search.count(path))
