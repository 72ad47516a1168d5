"""The trainer's process: started once, followed, adopted, and ended when no task needs it.

Covers qarib_tasks/machines/backend.py, qarib_tasks/machines/exit_status.py.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qarib_tasks.errors import BusyError, InputError, StoppedError, TrainingError
from qarib_tasks.machines.backend import Work, run_to_end
from qarib_tasks.machines.exit_status import REFUSED, STOPPED
from qarib_tasks.machines.local import LocalProcessBackend

# Says who it is through a named pipe and holds it open: the pipe's reader meets its end when the last
# process that holds it is gone.
SAYS_ITS_PID = """
import os, signal, sys
pipe = open(sys.argv[1], "w", buffering=1)
print(os.getpid(), file=pipe)
"""


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """End a test that waits without end, such as for a process that did not open its pipe."""

    def end(*_: object) -> None:
        raise TimeoutError("the test takes too long")

    former = signal.signal(signal.SIGALRM, end)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.fixture
def backend() -> LocalProcessBackend:
    return LocalProcessBackend(program=(sys.executable, "-c"), grace=0.2)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def work_of(tmp_path: Path, code: str, *arguments: str) -> Work:
    return Work("train", (code, *arguments), tmp_path / "models")


def test_the_log_is_followed_to_the_end(tmp_path: Path, backend: LocalProcessBackend) -> None:
    lines: list[str] = []
    for times in (1, 2):
        work = work_of(tmp_path, f"import sys; print('step 1'); print('برت {times}', file=sys.stderr)")
        run_to_end(backend, work, on_line=lines.append)
        assert backend.status(work).state == "succeeded"
    assert sorted(lines[:2]) == ["step 1", "برت 1"]
    assert sorted(lines[2:]) == ["step 1", "برت 2"]


def test_times_and_notices_of_libraries_are_not_told(tmp_path: Path, backend: LocalProcessBackend) -> None:
    log = (
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
        "I0000 00:00:1796027487.503048    9313 cudart_stub.cc:31] Could not find cuda drivers\n"
        "08:31:40 training on tensorflow\n"
        "W0000 00:00:1796027487.503048    9313 a.cc:31] a warning\n"
        "step = 30\n12:00 is a time\n"
    )
    lines: list[str] = []
    work = work_of(tmp_path, f"print({log!r}, end='')")
    run_to_end(backend, work, on_line=lines.append)
    warning = "W0000 00:00:1796027487.503048    9313 a.cc:31] a warning"
    assert lines == ["training on tensorflow", warning, "step = 30", "12:00 is a time"]
    # The file has all.
    assert backend.log(work, 0)[0] == log


def test_a_failure_shows_the_last_lines(tmp_path: Path, backend: LocalProcessBackend) -> None:
    work = work_of(
        tmp_path, "for i in range(100): print('line', i)\nraise SystemExit('loss is not a number')"
    )
    with pytest.raises(TrainingError, match=r"line 99\nloss is not a number") as error:
        run_to_end(backend, work)
    assert "line 10\n" not in str(error.value)
    assert backend.status(work).state == "failed"


def test_what_the_work_refuses_is_an_error_of_the_inputs(
    tmp_path: Path, backend: LocalProcessBackend
) -> None:
    """So Airflow does not retry the task."""
    code = f"import sys; print('2.json: was not made by qarib'); sys.exit({REFUSED})"
    with pytest.raises(InputError, match=r"last lines:\n2\.json: was not made by qarib"):
        run_to_end(backend, work_of(tmp_path, code))


def test_work_killed_from_outside_is_lost_not_failed(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path
) -> None:
    work = work_of(tmp_path, SAYS_ITS_PID + "signal.pause()", str(pipe))
    backend.start(work)
    with pipe.open() as reader:
        os.kill(int(reader.readline()), signal.SIGKILL)
        with pytest.raises(TrainingError, match="SIGKILL"):
            run_to_end(FollowOnly(backend), work)
    assert backend.status(work).state == "lost"


def test_a_training_that_saved_and_left_when_asked_is_lost_not_failed(
    tmp_path: Path, backend: LocalProcessBackend
) -> None:
    work = work_of(tmp_path, f"raise SystemExit({STOPPED})")
    with pytest.raises(TrainingError, match=r"its state is saved.*\n?.* Run it again"):
        run_to_end(backend, work)
    assert backend.status(work).state == "lost"


def test_work_that_is_asked_to_stop_saves_first(tmp_path: Path) -> None:
    """It has as long as it is given, and its last lines are shown."""
    code = (
        "import signal, sys\n"
        f"def save(*_):\n    print('saved', flush=True)\n    sys.exit({STOPPED})\n"
        "signal.signal(signal.SIGTERM, save)\nprint('step 1', flush=True)\nsignal.pause()"
    )
    lines: list[str] = []
    backend = LocalProcessBackend(program=(sys.executable, "-c"), grace=60)
    work = work_of(tmp_path, code)
    with pytest.raises(StoppedError, match=r"Amina asked it to stop\. Clear the task"):
        run_to_end(
            backend,
            work,
            on_line=lines.append,
            asked_to_stop=lambda: "Amina asked it to stop" if lines else None,
            poll=0.01,
        )
    assert lines == ["step 1", "saved"]
    assert backend.status(work).state == "lost"


class FollowOnly(LocalProcessBackend):
    """Starts nothing."""

    def __init__(self, other: LocalProcessBackend) -> None:
        super().__init__(other.lease, other.grace, other.program)

    def start(self, work: Work) -> None:
        pass


def test_who_starts_may_be_killed_and_the_next_adopts(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path
) -> None:
    code = SAYS_ITS_PID + "print('first line', flush=True); signal.sigwait([signal.SIGUSR1]); print('done')"
    code = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n" + code
    starter = (
        "import os, signal, sys; from pathlib import Path\n"
        "from qarib_tasks.machines.backend import Work\n"
        "from qarib_tasks.machines.local import LocalProcessBackend\n"
        "backend = LocalProcessBackend(program=(sys.executable, '-c'))\n"
        "backend.start(Work('train', (sys.argv[1], sys.argv[3]), Path(sys.argv[2])))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    work = work_of(tmp_path, code, str(pipe))
    command = [sys.executable, "-c", starter, code, str(work.folder), str(pipe)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with pipe.open() as reader:
        pid = int(reader.readline())
        lines: list[str] = []

        def follow(line: str) -> None:
            lines.append(line)
            if line == "first line":
                os.kill(pid, signal.SIGUSR1)

        run_to_end(backend, work, on_line=follow)
        assert lines == ["first line", "done"]
        assert reader.read() == "", "a second process was started"


def test_stop_ends_all_that_the_work_has_started(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path
) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork()\nprint('up', file=pipe)\n"
    work = work_of(tmp_path, SAYS_ITS_PID + stubborn + "while True: signal.pause()", str(pipe))
    backend.start(work)
    with pipe.open() as reader:
        assert [reader.readline() for _ in range(3)][1:] == ["up\n", "up\n"]
        backend.stop(work)
        assert reader.read() == ""
    assert backend.status(work).state == "lost"
    backend.stop(work)


def test_an_interrupted_follower_stops_the_work(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path
) -> None:
    work = work_of(tmp_path, SAYS_ITS_PID + "print('line', flush=True); signal.pause()", str(pipe))

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    # Opened for writing too, so that opening does not wait.
    with os.fdopen(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb"):
        with pytest.raises(KeyboardInterrupt):
            run_to_end(backend, work, on_line=interrupt)
        assert backend.status(work).state == "lost"


def test_work_that_nobody_follows_ends_by_itself(tmp_path: Path, pipe: Path) -> None:
    backend = LocalProcessBackend(program=(sys.executable, "-c"), lease=0.5, grace=0.2)
    work = work_of(tmp_path, SAYS_ITS_PID + "signal.pause()", str(pipe))
    backend.start(work)
    # On a busy machine the work can end before it opens the pipe: then nothing says so.
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
        ended = select.poll()
        ended.register(reader, 0)  # Its end only.
        ended.poll(30_000)
    status = backend.status(work)
    assert status.state in ("lost", "running")  # The runner is writing it down.
    with pytest.raises(TrainingError, match="no process asked for its status for"):
        run_to_end(FollowOnly(backend), work)


def test_what_a_killed_runner_left_is_ended_before_the_work_starts_again(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path
) -> None:
    work = work_of(tmp_path, SAYS_ITS_PID + "signal.pause()", str(pipe))
    backend.start(work)
    with pipe.open() as reader:
        first = int(reader.readline())
        os.kill(os.getpgid(first), signal.SIGKILL)
        while backend.status(work).state == "running":
            pass
        again = work_of(tmp_path, "print('again')")
        lines: list[str] = []
        run_to_end(backend, again, on_line=lines.append)
        assert lines == ["again"]
        assert reader.read() == ""


DAMAGES = [b"", b"{", b"\xff", b'{"pid": "text"}', b'{"pid": 1' + b"0" * 400 + b"}"]


def damage(work: Work, content: bytes) -> Path:
    """Damage the record of a work's process; return it."""
    path = work.folder / "train.process.json"
    beginning = path.read_bytes()[:9] if content == b"{" else b""
    path.write_bytes(beginning or content)
    return path


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_record_is_made_again_from_the_running_process(
    tmp_path: Path, backend: LocalProcessBackend, pipe: Path, content: bytes
) -> None:
    work = work_of(tmp_path, SAYS_ITS_PID + "signal.pause()", str(pipe))
    backend.start(work)
    with pipe.open() as reader:
        child = int(reader.readline())
        before = (work.folder / "train.process.json").read_bytes()
        path = damage(work, content)
        damaged = path.read_bytes()
        assert backend.status(work).state == "running"
        assert path.read_bytes() == before
        assert path.with_name(f"{path.name}.damaged-1").read_bytes() == damaged
        backend.start(work)  # It is adopted, not started again.
        os.kill(child, signal.SIGKILL)
        assert reader.read() == ""


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_record_of_a_process_that_ended(
    tmp_path: Path, backend: LocalProcessBackend, content: bytes
) -> None:
    run_to_end(backend, work_of(tmp_path, "print(1)"))
    again = work_of(tmp_path, "print('again')")
    with suppress(ChildProcessError):  # It ends after it wrote its record.
        os.waitpid(json.loads((again.folder / "train.process.json").read_text())["pid"], 0)
    path = damage(again, content)
    for _ in range(2):
        assert backend.status(again).state == "lost"
    assert [one.name for one in again.folder.glob("*.damaged-*")] == [f"{path.name}.damaged-1"]
    lines: list[str] = []
    run_to_end(backend, again, on_line=lines.append)
    assert lines == ["again"]


@pytest.mark.parametrize("name", ["train.process.json", "train.lease", "train.log", "train.lock"])
def test_files_of_another_origin_are_refused(tmp_path: Path, backend: LocalProcessBackend, name: str) -> None:
    work = work_of(tmp_path, "print(1)")
    work.folder.mkdir()
    for text in ("mine", "") if name not in ("train.lease", "train.lock") else ("mine",):
        (work.folder / name).write_text(text)
        with pytest.raises(InputError, match="not made by qarib"):
            backend.start(work)
        assert {path.name: path.read_text() for path in work.folder.iterdir()} == {name: text}


def test_one_at_a_time_on_a_machine(tmp_path: Path, pipe: Path) -> None:
    """Other work is refused as long as a process of the first runs, also when nothing follows it any more."""
    backend = LocalProcessBackend(program=(sys.executable, "-c"), grace=0.2, alone=tmp_path / "lock")
    first = Work("train", (SAYS_ITS_PID + "signal.pause()", str(pipe)), tmp_path / "demo-1")
    second = Work("train", ("print('done')",), tmp_path / "demo-2")
    backend.start(first)
    with pipe.open() as said:
        pid = int(said.readline())
        with pytest.raises(BusyError, match="this machine is at work on demo-1"):
            run_to_end(backend, second)
        assert not (second.folder / "train.process.json").exists()
        run_to_end(LocalProcessBackend(program=backend.program), second)  # Without the lock, it runs.
        backend.start(first)  # Adopted.
        # Only its runner is killed: the command has the lock still.
        runner = json.loads((first.folder / "train.process.json").read_text())["pid"]
        os.kill(runner, signal.SIGKILL)
        with pytest.raises(BusyError):
            run_to_end(backend, second)
        os.kill(pid, signal.SIGKILL)
        assert said.read() == ""
    while (second.folder / "train.log").read_text() == "done\n":  # The kernel still closes its files.
        with suppress(BusyError):
            run_to_end(backend, second)
