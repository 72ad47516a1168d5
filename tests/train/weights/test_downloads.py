"""Pages and pointers that were downloaded instead of weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError
from qarib_tasks.storage.model_files import find
from qarib_tasks.train.weights.pretrained import read


@pytest.mark.parametrize(
    "names",
    [
        ["model.safetensors"],
        ["pytorch_model.bin"],
        ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"],
    ],
)
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "an HTML page"),
        (b"Entry not found", "text"),
        (b'{"error": "Repository not found"}', "JSON"),
    ],
)
def test_what_was_downloaded_instead_of_weights_is_named(
    tmp_path: Path, names: list[str], data: bytes, what: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CorruptError, match=f"no weights, but {what}.*Download the file again"):
        read(find(str(tmp_path)), tmp_path)
