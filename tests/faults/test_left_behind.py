"""Killed between writing a corpus's manifest and removing its working folder: the next run removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.corpus import collect
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.storage.side_files import working_folder_of
from qarib_tasks.storage.working_folder import remove_folder
from tests.support.datasets import request, write_documents


@pytest.mark.parametrize("begun", [False, True], ids=["before", "in the middle"])
def test_the_working_folder_goes_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    write_documents(tmp_path / "text.txt", 0, 60)
    run = request(tmp_path, tmp_path / "text.txt", vocab={"vocab_size": 300})
    folder = working_folder_of(run.dataset.data)

    def killed(path: Path) -> None:
        if begun:
            next(each for each in sorted(path.iterdir()) if each.suffix == ".txt").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        pipeline.collect(run)
    monkeypatch.setattr(collect, "remove_folder", remove_folder)
    assert folder.is_dir()
    made = Manifest.complete(manifest_of(run.dataset.data))
    assert pipeline.collect(run) == made
    assert not folder.exists()
