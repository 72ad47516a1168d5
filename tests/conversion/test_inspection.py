"""Examples, shown for people."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.errors import InputError
from qarib_tasks.storage.manifest import Manifest, manifest_of

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
DOCUMENTS, VOCAB = (FOLDER / name for name in ("documents.txt", "vocab.txt"))


def test_inspect_shows_what_the_manifest_samples(tmp_path: Path) -> None:
    from qarib_tasks.conversion.inspection import example_lines

    out = tmp_path / "o.tfrecord"
    manifest = convert_shard(DOCUMENTS, VOCAB, out, ConvertConfig(dupe_factor=1))
    for sample in manifest.sample[:4]:
        lines = list(example_lines(out, VOCAB, examples=1, skip=sample["example"]))
        assert " ".join(line.strip() for line in lines[1:]) == sample["text"]
        assert f"{sample['next_sentence']} next" in lines[0]
    with pytest.raises(InputError, match="has no example number 99999999"):
        list(example_lines(out, VOCAB, examples=1, skip=99999999))


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    """Its words would be shown for the ids, without an error."""
    from qarib_tasks.conversion.inspection import example_lines, find_vocab

    out, vocab = tmp_path / "data" / "o.tfrecord", tmp_path / "vocab.txt"
    shutil.copy(VOCAB, vocab)
    manifest = convert_shard(DOCUMENTS, vocab, out, ConvertConfig(dupe_factor=1))
    lines = list(example_lines(out, None, examples=1, skip=0))
    entries = vocab.read_text(encoding="utf-8").splitlines()
    vocab.write_text("\n".join([*entries[:20], *entries[:19:-1]]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"vocab\.txt: .*o\.tfrecord was converted with another vocabulary"):
        list(example_lines(out, vocab, examples=1, skip=0))
    with pytest.raises(InputError, match=r"vocab\.txt is neither in its folder nor in the parent folder"):
        find_vocab(out)
    assert list(example_lines(out, VOCAB, examples=1, skip=0)) == lines
    Manifest(kind="shard", id="o", state="failed", reason="?").write(manifest_of(out))
    with pytest.raises(InputError, match=r"o\.tfrecord: no manifest names its vocabulary. Pass it"):
        list(example_lines(out, None, examples=1, skip=0))
    assert list(example_lines(out, VOCAB, examples=1, skip=0)) == lines
    manifest.write(manifest_of(out))
    with pytest.raises(InputError, match="is a folder, not a file"):
        list(example_lines(out.parent, None, examples=1, skip=0))
