"""Two runs of the same settings at once: the second waits for the first, and then changes nothing."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from qarib_tasks import pipeline
from qarib_tasks.errors import TrainingError
from qarib_tasks.machines.backend import Work
from tests.support.datasets import request, write_documents

FOLDER = "qarib_tasks.storage.working_folder"


class Waits(logging.Handler):
    """Sets an event when a process logs that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "another process works in this folder: waiting" in record.getMessage():
            self.seen.set()


def test_the_second_waits_until_the_first_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=FOLDER)
    write_documents(tmp_path / "text.txt", 0, 150)
    run = request(tmp_path, tmp_path / "text.txt", vocab={"vocab_size": 300}, split={"shard_lines": 300})
    waits, order = Waits(), list[str]()
    logging.getLogger(FOLDER).addHandler(waits)

    def stops(name: str) -> None:
        def work(one: Work) -> None:
            order.append(name)
            if name == "first":
                second.start()
                assert waits.seen.wait(60)
                order.append("first ends")
            raise TrainingError("as far as here")

        with pytest.raises(TrainingError, match="as far as here"):
            pipeline.run_all(run, work)

    second = threading.Thread(target=stops, args=("second",))
    stops("first")
    second.join()
    logging.getLogger(FOLDER).removeHandler(waits)
    assert order == ["first", "first ends", "second"]


def test_a_file_system_without_locks_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qarib_tasks.storage import working_folder

    def refuse(place: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(working_folder.fcntl, "flock", refuse)
    with working_folder.only_one(tmp_path / "folder"):
        assert (tmp_path / "folder").is_dir()
