"""The names of what commands write beside an output, and which files are such files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import BERT_CONFIG, MANIFEST, REPORT, TOKENIZER, TOKENIZER_CONFIG, VOCAB
from qarib_tasks.storage.manifest import Manifest, begins_as_manifest, manifest_names

# Names that do not show which output a file belongs to.
_SHARED = (REPORT, TOKENIZER, TOKENIZER_CONFIG, BERT_CONFIG)


def report_of(out: Path) -> Path:
    """The page about a collected text."""
    return _beside(out, REPORT)


def tokenizer_files_of(vocab: Path) -> tuple[Path, Path]:
    """The tokenizer and its settings. A `vocab.txt` has those names that `transformers` looks for."""
    if vocab.name == VOCAB:
        return vocab.with_name(TOKENIZER), vocab.with_name(TOKENIZER_CONFIG)
    return _beside(vocab, TOKENIZER), _beside(vocab, TOKENIZER_CONFIG)


def working_folder_of(out: Path) -> Path:
    """The folder for what is collected before it is joined into `out`."""
    return _beside(out, "collecting")


def fetched_folder_of(out: Path) -> Path:
    """The folder for copies of remote sources, unless another is given."""
    return _beside(out, "fetched")


def _beside(out: Path, end: str) -> Path:
    """The path of a side file of `out`.

    Raises:
        InputError: the path has no name: it is the root, or this folder.
    """
    if not out.name:
        raise InputError("is a folder, not a file", where=out, do="Choose another output")
    return out.with_name(f"{out.name}.{end}")


def is_side_file(path: Path) -> bool:
    """Whether a file is what a command wrote beside an output, or an output that is no text: by its content.

    Those are manifests, what they list except texts, and the same by the names of earlier versions.
    """
    name = path.name
    if name.endswith(f".{MANIFEST}") and begins_as_manifest(path):
        return True
    if name.endswith(".json") and _read(path):
        return True
    return any(_is_beside(name, manifest) for manifest in _manifests_of(path))


def _is_beside(name: str, manifest: Manifest) -> bool:
    listed = [record.name for record in manifest.outputs]
    return name in listed and (manifest.kind != "corpus" or name.endswith(REPORT))


def _manifests_of(path: Path) -> Iterator[Manifest]:
    """Yield the manifests beside a file that can list it."""
    if path.name in _SHARED:
        candidates = sorted(path.parent.glob("*.json"))
    else:
        ends = [end for end, letter in enumerate(path.name) if letter == "." and end]
        outputs = [path.name, *(path.name[:end] for end in ends)]
        names = dict.fromkeys(name for output in outputs for name in manifest_names(output))
        candidates = [path.with_name(name) for name in names]
    for other in candidates:
        if manifest := _read(other):
            yield manifest


def _read(path: Path) -> Manifest | None:
    if not begins_as_manifest(path):
        return None
    try:
        return Manifest.read(path)
    except (InputError, CorruptError, OSError):
        return None
