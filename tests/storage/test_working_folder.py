"""Working folders: a killed removal leaves nothing that stops the next run, and files of others stay."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from qarib_tasks.storage.files import is_temporary
from qarib_tasks.storage.working_folder import is_our_folder, make_folder, only_one_with, remove_folder


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


def test_a_file_has_one_process_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """The second begins when the first is killed, which makes no move of its own."""
    shard, said = tmp_path / "shard_0000", tmp_path / "said"
    shard.write_text("نص\n")
    os.mkfifo(said)
    first = os.fork()
    if first == 0:
        with only_one_with(shard), said.open("w") as pipe:
            pipe.write("has it\n")
            pipe.flush()
            signal.pause()
        os._exit(1)
    try:
        with said.open() as pipe:
            assert pipe.readline() == "has it\n"
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(locked, shard)
            assert wait([second], timeout=0.2).not_done
            os.kill(first, signal.SIGKILL)
            second.result(timeout=60)
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    assert shard.read_text() == "نص\n"


def locked(file: Path) -> None:
    with only_one_with(file):
        pass


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with only_one_with(tmp_path / "shard_0000"):
        pass
    assert not list(tmp_path.iterdir())
    with only_one_with(tmp_path / "folder" / "a.lock", make=True):
        assert (tmp_path / "folder" / "a.lock").exists()
