"""Documents that are almost there before."""

from __future__ import annotations

from pathlib import Path

from qarib_tasks.storage.manifest import Manifest
from tests.support.collecting import collected, config


def test_near_duplicates_are_left_out_when_asked(tmp_path: Path) -> None:
    words = [f"كلمة{i}" for i in range(40)]
    text = " ".join(words)
    almost = text.replace("كلمة7 ", "شيء ")
    other = " ".join(f"غير{i * i}" for i in range(40))
    (tmp_path / "a.txt").write_text(f"{text}\n\n{other}\n\n{almost}\n\n{text}.\n\nا\n", encoding="utf-8")
    settings = config(tmp_path / "a.txt", near_duplicates=0.7)
    assert collected(settings, tmp_path) == f"{text}\n\n{other}\n\nا\n"
    figures = Manifest.read(tmp_path / "out" / "data.json").statistics
    assert (figures["duplicates"], figures["near_duplicates"]) == (1, 1)
    assert almost in collected(config(tmp_path / "a.txt"), tmp_path)
