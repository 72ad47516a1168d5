"""What a task of a run read and what it made, from the manifests, for lineage events."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.dataset import ledger
from qarib_tasks.errors import masked
from qarib_tasks.layout import EXPORT, HUGGING_FACE_WEIGHTS, is_heldout
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of

TEXT = {"text": "string"}  # a line


@dataclass(frozen=True)
class Data:
    """A file, or a folder whose files belong together.

    Attributes:
        address: `gs://`, `https://`, or an absolute path, which is the same wherever it is read or made.
        version: a checksum of the content; empty if it is not known.
        fields: the name and type of each column.
    """

    address: str
    version: str = ""
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str]:
        """The namespace and the name, as OpenLineage has them."""
        scheme, separator, rest = self.address.partition("://")
        if not separator:
            return "file", self.address
        host, _, path = rest.partition("/")
        return f"{scheme}://{host}", path.partition("?")[0].rstrip("/") or "/"


@dataclass(frozen=True)
class Step:
    """What a task read and made, and with which version of the code."""

    inputs: Sequence[Data]
    outputs: Sequence[Data]
    made_by: str


def lineage_of(run: Run, task: str) -> Step:
    """Return what one of the tasks `collect`, `vocab`, `dataset`, `train`, and `export` read and made.

    Raises:
        QaribError: the task has not ended, or its manifest is damaged.
    """
    return _STEPS[task](run)


def _collect(run: Run) -> Step:
    corpus = Manifest.complete(manifest_of(run.dataset.data))
    files = ledger.consumed(run.dataset.sources, corpus.inputs, run.dataset_id)
    inputs = [Data(_absolute(file.address), _version(file.sha256), bytes=file.bytes) for file in files]
    outputs = []
    for path in (run.dataset.data, run.dataset.heldout_data):
        name = path.relative_to(run.dataset.root).as_posix()
        if record := next((one for one in corpus.outputs if one.name == name), None):
            lines = corpus.statistics.get("heldout_lines" if is_heldout(name) else "lines")
            outputs.append(Data(str(path), _version(record.sha256), lines, record.bytes, 1, TEXT))
    return Step(inputs, outputs, corpus.made_by)


def _vocab(run: Run) -> Step:
    made = Manifest.complete(manifest_of(run.dataset.vocab))
    return Step([Data(str(run.dataset.data))], [_vocabulary(run, made)], made.made_by)


def _vocabulary(run: Run, made: Manifest | None = None) -> Data:
    address = run.at(run.dataset.vocab)
    if made is None:
        return Data(address)
    record = made.output(run.dataset.vocab.name)
    entries = run.config.vocab.vocab_size
    return Data(address, _version(record.sha256), entries, record.bytes, 1, {"wordpiece": "string"})


def _dataset(run: Run) -> Step:
    dataset = run.dataset
    made = Manifest.complete(dataset.manifest)
    inputs = [Data(str(dataset.data)), Data(str(dataset.heldout_data)), _vocabulary(run)]
    fields = example_fields(run.config.convert)
    outputs = []
    for path in (dataset.training_data, dataset.heldout_training_data):
        below = f"{path.relative_to(dataset.root).as_posix()}/"
        records = [record for record in made.outputs if record.name.startswith(below)]
        rows = None if is_heldout(below) else made.statistics["examples"]
        sizes = sum(record.bytes for record in records), len(records)
        outputs.append(Data(_folder(run, path), _of_all(records), rows, *sizes, fields))
    return Step(inputs, outputs, made.made_by)


def example_fields(convert: ConvertConfig) -> dict[str, str]:
    """The features of an example, with the length of each."""
    wide, masks = f"[{convert.max_seq_length}]", f"[{convert.max_predictions_per_seq}]"
    return {
        **dict.fromkeys(("input_ids", "input_mask", "segment_ids"), f"int64{wide}"),
        **dict.fromkeys(("masked_lm_positions", "masked_lm_ids"), f"int64{masks}"),
        "masked_lm_weights": f"float{masks}",
        "next_sentence_labels": "int64[1]",
    }


def _train(run: Run) -> Step:
    read = [Data(_folder(one, one.dataset.training_data)) for one in (*run.earlier, run)]
    if start := run.config.train.start_from:
        read.append(Data(_absolute(start).rstrip("/"), _version(run.start_from_digest)))
    return Step([*read, _vocabulary(run)], [Data(_folder(run, run.model.bert_model))], "")


def _export(run: Run) -> Step:
    made = Manifest.complete(run.model.manifest)
    records = [record for record in made.outputs if record.name.startswith(f"{EXPORT}/")]
    weights = made.output(f"{EXPORT}/{HUGGING_FACE_WEIGHTS}")
    sizes = sum(record.bytes for record in records), len(records)
    model = Data(_folder(run, run.model.export), _version(weights.sha256), None, *sizes)
    first = [*run.earlier, run][0]
    heldout = Data(_folder(first, first.dataset.heldout_training_data))
    read = [Data(_folder(run, run.model.bert_model)), heldout, _vocabulary(run)]
    return Step(read, [model], made.made_by)


_STEPS: Mapping[str, Callable[[Run], Step]] = {
    "collect": _collect,
    "vocab": _vocab,
    "dataset": _dataset,
    "train": _train,
    "export": _export,
}


def _folder(run: Run, path: Path) -> str:
    return run.at(path).rstrip("/")


def _absolute(address: str) -> str:
    """An address without secrets; a path as an absolute one."""
    return masked(address) if "://" in address else os.path.abspath(address)


def _version(digest: str) -> str:
    return f"sha256:{digest}" if digest else ""


def _of_all(records: Sequence[FileRecord]) -> str:
    """One checksum of several files, by their names and checksums."""
    lines = sorted(f"{record.sha256}  {record.name}\n" for record in records)
    return _version(hashlib.sha256("".join(lines).encode()).hexdigest())
