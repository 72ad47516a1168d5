"""Examples, shown for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.errors import InputError

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
