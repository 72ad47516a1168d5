"""A dataset made in a process that ends at its Nth file operation: killed, or told that the disk is full.

    python -m tests.support.faults.points FOLDER killed|full MOST

It prints one JSON line for each of some MOST operations: how the process ended, and what the next one made.
A dataset is made first, elsewhere: what it imports, compiles and reads is there in the forks of the process,
each of which makes one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qarib_tasks import pipeline
from qarib_tasks.cli.failures import failure
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.storage.files import is_temporary
from tests.support.datasets import request
from tests.support.strangers import text

CHANGES = ("os.rename", "os.mkdir", "os.link")
WRITES = os.O_WRONLY | os.O_RDWR
FREE = ("os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")  # possible on a full disk
_hooks: list[Callable[[str, str], None]] = []
_watched: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Call the hook before an operation changes something in the folder."""
    if not _hooks:
        return
    is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
    if not is_write and event not in (*CHANGES, *FREE):
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(_watched[0]):
        _hooks[0](event, os.fsdecode(path))


sys.addaudithook(_hook)


def make(folder: Path) -> None:
    """Make a dataset of a few hundred lines, as `qarib run`."""
    source = folder / "a.txt"
    collect = {"heldout_share": 0.3, "sources": [{"name": "a", "path": str(source)}]}
    vocab = {"vocab_size": 400, "placeholders": 8}
    run = request(folder, source, collect=collect, vocab=vocab, split={"shard_lines": 60})
    pipeline.make_dataset(run)
    finish_dataset(run)
    pipeline.record_sources(run)


def made(folder: Path) -> dict[str, Any]:
    """What is in the folder: the outputs of each manifest, and what should not be left."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "work").rglob("*")):
        name = str(path.relative_to(folder))
        if is_temporary(path.name):
            found[name] = "left behind"
        elif path.name.endswith("manifest.json"):
            found[name] = [one["sha256"] for one in json.loads(path.read_bytes())["outputs"]]
        else:
            found[name] = None
    return found


def forked(work: Callable[[], str]) -> tuple[int, str]:
    """Do work in another process; return how it ended and what it says."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        said = ""
        with suppress(BaseException):
            said = work()
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def said_of(folder: Path) -> str:
    """Make the dataset, and return what a command would print of an error."""
    try:
        make(folder)
    except Exception as error:
        return failure(error) or f"Traceback: {type(error).__name__}: {error}"
    return ""


def counted(folder: Path) -> list[str]:
    seen: list[str] = []
    _hooks[:] = [lambda event, _: seen.append(event)]
    make(folder)
    return seen


def ended(folder: Path, how: str, number: int) -> str:
    left = [number]

    def end(event: str, path: str) -> None:
        left[0] -= 1
        if left[0] == 0 and how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] <= 0 and how == "full" and event not in FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    _hooks[:] = [end]
    return said_of(folder)


def main() -> None:
    folder, how, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    _watched.append(str(folder / "work"))
    lines = text().splitlines(keepends=True)
    documents = ["".join(lines[start : start + 6]) for start in range(0, len(lines), 6)]

    def new(folder: Path = folder) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "a.txt").write_text("\n".join(documents), encoding="utf-8")

    first = folder.with_name("first")
    new(first)
    make(first)
    assert threading.active_count() == 1
    new()
    operations = json.loads(forked(lambda: json.dumps(counted(folder)))[1])
    print(json.dumps({"operations": len(operations), "made": made(folder)}), flush=True)
    step = max(1, len(operations) // most)
    for number in range(1, len(operations) + 1, step):
        new()
        status, said = forked(lambda number=number: ended(folder, how, number))  # type: ignore[misc]
        _, again = forked(lambda: said_of(folder))
        point = {"number": number, "operation": operations[number - 1], "status": status, "said": said}
        print(json.dumps({**point, "again": again, "made": made(folder)}), flush=True)


if __name__ == "__main__":
    main()
