"""A TPU backend without a TPU: the work is a process on this machine.

The process is started by this module run as a program, the *runner*: a small parent process in a separate
session that records the exit status, so that the process that started the work can die and another one can
take over. The runner also ends the work when its lease expires (each `status` renews it): no work outlives
a task that failed or was cleared.

Files in the work's folder, named after the work:

    train.process.json   the runner's process and, later, the exit status
    train.lease          its modification time is the time of the last `status`
    train.log            what the work printed; each start appends to it

Work that must be alone on its machine has a lock, which it holds as long as one of its processes runs.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from qarib_tasks.errors import BusyError, TrainingError
from qarib_tasks.machines.backend import State, Status, Work
from qarib_tasks.machines.exit_status import REFUSED, STOPPED
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import is_empty, is_process_record, require_folders, require_ours
from qarib_tasks.storage.records.read import take_record
from qarib_tasks.storage.records.schemas import ProcessRecord

log = logging.getLogger(__name__)
TAIL_LINES = 20
_POLL = 0.1
_RUNNER = ("-m", "qarib_tasks.machines.local")  # the arguments of Python that run this module
# A process that ended by one of these was stopped from outside; by any other signal, it crashed.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}


@dataclass(frozen=True)
class _Record:
    """The record of a started process.

    Attributes:
        pid: of the runner, the leader of the process group of everything that the work starts.
        started: the runner's start time in clock ticks since boot: with `pid`, it identifies the process.
        log_start: where in the log this start's output begins, in bytes.
        exit_status: as `subprocess` has it (negative: ended by that signal); None while it runs.
        reason: why the runner ended the work, if it did.
    """

    pid: int
    started: int
    log_start: int
    exit_status: int | None = None
    reason: str | None = None

    @property
    def alive(self) -> bool:
        return self.exit_status is None and self.pid > 0 and _start_time(self.pid) == self.started


@dataclass(frozen=True)
class LocalProcessBackend:
    """Implements `Backend`.

    Args:
        lease: seconds that the work continues without a call of `status`; a retried task that starts within
            this time adopts the work.
        grace: seconds between asking the work to stop and killing it.
        alone: a file of this machine; work with the same one does not run at the same time.
        program: command that the work's arguments are appended to.
    """

    lease: float = 120.0
    grace: float = 30.0
    alone: Path | None = None
    program: Sequence[str] = (sys.executable, "-m", "qarib_tasks.cli")

    def start(self, work: Work) -> None:
        """Start the work, or adopt it if it is running.

        Raises:
            InputError: the folder has files of these names that are not ours; nothing is written.
            TrainingError: the runner did not start.
            BusyError: other work has the lock of this machine; nothing was started.
        """
        check_files(work)
        work.folder.mkdir(parents=True, exist_ok=True)
        with _lock(work):
            if (record := _read(work)) and record.alive:
                self._renew(work)
                return
            if record and record.pid and record.exit_status is None and _has_orphans(record):
                _end_group(record.pid, self.grace)
            command = [*self.program, *work.arguments]
            with _alone(self.alone, work) as held, _path(work, "log").open("ab") as output:
                self._renew(work)
                log_start = output.tell()
                path = str(_path(work, "process.json").absolute())
                arguments = [path, str(self.lease), str(self.grace), str(log_start), *map(str, held)]
                runner = subprocess.Popen(
                    [sys.executable, *_RUNNER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=held,
                )
            started = _start_time(runner.pid)
            if started is None:
                raise TrainingError("the process did not start", where=_path(work, "log"))
            # The runner waits for its command until the record is on disk, so that a later start finds every
            # process that runs.
            _write(_path(work, "process.json"), _Record(runner.pid, started, log_start))
            assert runner.stdin is not None
            runner.stdin.write(json.dumps(command).encode())
            runner.stdin.close()

    def status(self, work: Work) -> Status:
        record = _read(work)
        if record is None:
            return Status("waiting")
        if record.exit_status is None and not record.pid:
            return Status("lost", f"{_path(work, 'process.json')} was damaged, and no process of it runs")
        if record.alive:
            self._renew(work)
            return Status("running")
        # It may have ended, and recorded its exit status, since the record was read.
        record = _read(work) or record
        if record.exit_status == 0:
            return Status("succeeded")
        end = _end_of_log(work, record)
        if record.exit_status is None:
            return Status("lost", f"process {record.pid} is gone, without an exit status\n{end}".rstrip())
        if record.exit_status == STOPPED or -record.exit_status in _FROM_OUTSIDE or record.reason:
            requested = "on request, its state is saved" if record.exit_status == STOPPED else None
            why = record.reason or requested or f"ended by {signal.Signals(-record.exit_status).name}"
            return Status("lost", f"process {record.pid} was stopped: {why}\n{end}".rstrip())
        state: State = "refused" if record.exit_status == REFUSED else "failed"
        return Status(state, end or f"exit status {record.exit_status}")

    def stop(self, work: Work) -> None:
        """End the work and every process that it started. Does nothing if the work is not running."""
        record = _read(work)
        if record is None or not record.alive:
            return
        _end_group(record.pid, self.grace)
        record = _read(work) or record
        if record.exit_status is None:
            _write(
                _path(work, "process.json"),
                _Record(record.pid, record.started, record.log_start, -signal.SIGKILL, "on request"),
            )

    def log(self, work: Work, offset: int) -> tuple[str, int]:
        """Return what the work printed; while it runs, complete lines only."""
        record = _read(work)
        path = _path(work, "log")
        if record is None or not path.exists():
            return "", offset
        alive = record.alive
        with path.open("rb") as file:
            file.seek(record.log_start + offset)
            data = file.read()
        if alive:
            data = data[: data.rfind(b"\n") + 1]
        return data.decode("utf-8", errors="replace"), offset + len(data)

    def _renew(self, work: Work) -> None:
        _path(work, "lease").touch()


def _path(work: Work, what: str) -> Path:
    return work.folder / f"{work.name}.{what}"


def check_files(work: Work) -> None:
    """Check that the files which `start` writes are ours, if they exist.

    Raises:
        InputError: they are not.
    """
    require_folders([work.folder])
    process = _path(work, "process.json")
    require_ours(process, is_process_record)
    require_ours(_path(work, "lock"), is_empty)
    require_ours(_path(work, "lease"), is_empty)
    if not process.exists():  # Otherwise, the log is ours. A start that was killed has made its lock.
        require_ours(_path(work, "log"), is_empty if _path(work, "lock").exists() else lambda head: False)


@contextmanager
def _lock(work: Work) -> Iterator[None]:
    """Serialize starts: the second of two waits, and adopts what the first one started."""
    with _path(work, "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _alone(lock: Path | None, work: Work) -> Iterator[tuple[int, ...]]:
    """Lock this machine for the work, and yield the open file for the processes that are to keep the lock.

    Raises:
        BusyError: other work has it.
    """
    if lock is None:
        yield ()
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    place = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(place, 4096, 0).decode("utf-8", "replace") or "other work"
            raise BusyError(f"this machine is at work on {other}", where=work.name) from None
        except OSError as error:
            log.info("%s: cannot be locked (%s)", lock, error.strerror)
        os.ftruncate(place, 0)
        os.pwrite(place, work.folder.name.encode(), 0)
        yield (place,)
    finally:
        os.close(place)


def _read(work: Work) -> _Record | None:
    """Read the record of a work's process; None if it was never started.

    A damaged record is set aside, and made again from the runner, if that runs; otherwise its `pid` is 0. A
    record stays, as the sign that the log is ours.
    """
    path = _path(work, "process.json")
    if not path.exists():
        return None
    if values := take_record(path, ProcessRecord, "it is made again from the running process"):
        return _Record(**values)
    record = _running(path) or _Record(0, 0, 0)
    _write(path, record)
    return record


def _running(path: Path) -> _Record | None:
    """Return the record of the runner that has this record's path among its arguments; None if none runs."""
    wanted = [*_RUNNER, str(path.absolute())]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # It has ended, or is another user's.
            continue
        words = [os.fsdecode(argument) for argument in arguments[1:7]]
        started = _start_time(int(entry.name))
        if words[: len(wanted)] == wanted and len(words) > 5 and words[5].isdecimal() and started:
            return _Record(int(entry.name), started, int(words[5]))
    return None


def _write(path: Path, record: _Record) -> None:
    write_text(path, json.dumps(asdict(record)) + "\n")


def _end_of_log(work: Work, record: _Record) -> str:
    with _path(work, "log").open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(record.log_start, end - 64 * 1024))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def _stat(pid: int | str) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third (state) on; None if the process does not exist."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the program's name, may contain spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def _start_time(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot; None if it is gone, or dead and not reaped."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _group(leader: int) -> list[int]:
    """Return the running processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry.name)) and fields[0] not in "ZX":
            members += [int(entry.name)] if int(fields[2]) == leader else []
    return members


def _has_orphans(record: _Record) -> bool:
    """Return whether only the runner was killed: its group has processes, and all are younger than it."""
    members = _group(record.pid)
    return bool(members) and all((_start_time(pid) or record.started) >= record.started for pid in members)


def _end_group(leader: int, grace: float) -> None:
    """Send SIGTERM to a process group, and after `grace` seconds SIGKILL to the processes that remain."""
    deadline = time.monotonic() + grace
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(leader, number)
        except ProcessLookupError:
            return
        while _group(leader) and (time.monotonic() < deadline or number == signal.SIGKILL):
            time.sleep(_POLL)


def _run(path: Path, lease: float, grace: float, log_start: int, held: Sequence[int] = ()) -> int:
    """Run the runner: start the command from standard input, wait for it, record its exit status.

    Args:
        held: an open file whose lock the command keeps too.
    """
    text = sys.stdin.buffer.read()
    if not text:  # The process that started this one died before the record was on disk.
        return 1
    # A signal to the group reaches the command by itself. Unlike SIG_IGN, a handler is not inherited.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(json.loads(text), stdin=subprocess.DEVNULL, pass_fds=held)
    folder, name = path.parent, path.name.removesuffix(".process.json")
    renewed, seen, reason = time.monotonic(), -1, None
    while True:
        try:
            exit_status = child.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            pass
        try:
            modified = (folder / f"{name}.lease").stat().st_mtime_ns
        except FileNotFoundError:
            modified = seen
        if modified != seen:
            renewed, seen = time.monotonic(), modified
        elif time.monotonic() - renewed > lease:
            reason = f"no process asked for its status for {lease:g} s"
            print(f"qarib: {reason}: stopping", flush=True)
            child.terminate()
            try:
                exit_status = child.wait(timeout=grace)
            except subprocess.TimeoutExpired:
                child.kill()
                exit_status = child.wait()
            break
    # What is there may be damaged.
    _write(path, _Record(os.getpid(), _start_time(os.getpid()) or 0, log_start, exit_status, reason))
    # Kill helper processes that the command left running, and the runner itself.
    if _group(os.getpid()) != [os.getpid()]:
        os.killpg(os.getpid(), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[4:]]
    sys.exit(_run(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), numbers[0], numbers[1:]))
