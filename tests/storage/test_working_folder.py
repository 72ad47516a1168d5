"""Working folders: a killed removal leaves nothing that stops the next run, and files of others stay."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from qarib_tasks.storage.files import is_temporary
from qarib_tasks.storage.working_folder import is_our_folder, make_folder, remove_folder


@pytest.mark.parametrize("event", ["os.remove", "os.rename", "os.rmdir"])
def test_a_removal_may_be_killed_at_any_time(tmp_path: Path, event: str) -> None:
    folder = tmp_path / "data.txt.collecting"
    make_folder(folder)
    killed = os.fork()
    if not killed:

        def strike(found: str, arguments: tuple[object, ...]) -> None:
            if found == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(strike)
        remove_folder(folder)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(killed, 0)[1]) == signal.SIGKILL
    assert not folder.exists() or is_our_folder(folder)
    assert all(path == folder or is_temporary(path.name) for path in tmp_path.iterdir())
    if event != "os.remove":
        remove_folder(folder)  # There is none: what the killed one left goes.
        assert not list(tmp_path.iterdir())
    make_folder(folder)
    remove_folder(folder)
    assert not list(tmp_path.iterdir())


def test_files_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "data.txt.collecting"
    make_folder(folder)
    (folder / "notes").write_text("mine")
    remove_folder(folder)
    assert (folder / "notes").read_text() == "mine"
