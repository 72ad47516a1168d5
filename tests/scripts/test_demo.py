"""The demo's parts that need no Airflow: the guard, and what is printed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import demo
import pytest
import sqlalchemy
from local_stack import COMPONENTS, MARKER, LocalStack, StackError, end_marked, marked

from tests.support.made_up_run import make_run, write_training

REPOSITORY = Path(__file__).resolve().parents[2]


def test_marked_processes_end_whatever_they_do() -> None:
    marker = f"test-{os.getpid()}"
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.fork())\n"
        "os.setsid() if os.fork() == 0 else None\n"
        "os.write(1, b'up\\n')\n"  # At once: two processes write.
        "while True: signal.pause()"
    )
    environment = {**os.environ, MARKER: marker}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(2)]
        found = marked(marker)
        end_marked(marker)
        assert process.stdout.read() == b""
        assert process.wait() == -signal.SIGKILL
    assert lines == [b"up\n"] * 2
    assert len(found) == 2
    assert marked(marker) == []


def test_the_guard_ends_everything_when_the_starter_is_killed(tmp_path: Path) -> None:
    """The starter gets a stack's guard and a process with its marker, and is killed."""
    starter = (
        "import os, pathlib, signal, subprocess, sys; from local_stack import MARKER, LocalStack\n"
        "stack = LocalStack(pathlib.Path(sys.argv[1]))\n"
        "stack.home.mkdir(exist_ok=True)\n"
        "lock = (stack.home / 'lock').open('w')\n"
        "import fcntl; fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "stack._start_guard(lock)\n"
        "environment = {**os.environ, MARKER: stack.marker}\n"
        "sleeper = [sys.executable, '-c', 'import signal; signal.pause()']\n"
        "subprocess.Popen(sleeper, env=environment, start_new_session=True)\n"
        "print(stack.marker, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])
    command = [sys.executable, "-c", starter, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        marker = process.stdout.readline().decode().strip()
        # Held open by the process with the marker: the end comes when the guard has ended it.
        assert process.stdout.read() == b""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # The guard gives it back last.
    assert marked(marker) == []


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StackError, match="in use by another demo"):
            LocalStack(tmp_path).__enter__()


def test_a_writer_waits_for_another_one(tmp_path: Path) -> None:
    """A user who triggers a run while the DAGs are being read waits; SQLite's 5 s end in an error 500."""
    stack = LocalStack(tmp_path)
    stack.url, stack.emulator, stack._execution_port = "http://127.0.0.1:1", "http://127.0.0.1:2", 3
    address = stack._environment(1, "token@127.0.0.1:2")["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    with sqlalchemy.create_engine(address).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 30_000
    assert (tmp_path / "airflow.db").exists()


def test_progress_lines_without_a_terminal() -> None:
    def tasks(**states: int) -> list[dict[str, str]]:
        return [{"task_id": "shard.convert", "state": s} for s, times in states.items() for _ in range(times)]

    assert demo.line_of("shard.convert", tasks(scheduled=3), {}) is None
    assert demo.line_of("shard.convert", tasks(success=2, running=1), {}) == "shard.convert: 2 of 3 done"
    assert demo.line_of("shard.convert", tasks(success=2, failed=1), {}) == (
        "shard.convert: 2 of 3 done, 1 failed"
    )
    training = {"step": 123, "train_steps": 2000}
    assert demo.line_of("train", [{"task_id": "train", "state": "running"}], training) == (
        "train: 100 of 2,000 steps"
    )


def test_what_was_made_and_what_was_found(tmp_path: Path) -> None:
    made = make_run(tmp_path, 3)
    assert made.record.model is not None
    write_training(tmp_path / made.record.model.name, steps=1, at="2020-01-01T00:00:00+00:00")
    old, start, new = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2021, 2022))

    def rows(start: datetime, *uploaded: datetime) -> dict[str, str]:
        return demo.made_rows(made.dataset, made.record.model, uploaded, start)

    # The manifests are of today.
    assert rows(start, old, old, new) == {
        "Made in this run": "the corpus, the vocabulary, 4 shards, 1 object",
        "Found complete": "2 objects, the training",
    }
    assert rows(datetime(2100, 1, 1, tzinfo=UTC), old) == {
        "Made in this run": "nothing",
        "Found complete": "the corpus, the vocabulary, 4 shards, 1 object, the training",
    }
    assert rows(datetime(2019, 1, 1, tzinfo=UTC), old) == {
        "Made in this run": "the corpus, the vocabulary, 4 shards, 1 object, the training"
    }


@pytest.mark.parametrize(("number", "stops"), [(signal.SIGINT, True), (signal.SIGHUP, False)])
def test_a_background_job_can_be_interrupted_and_nohup_is_kept(number: signal.Signals, stops: bool) -> None:
    """A shell starts the job with the signal ignored."""
    code = (
        "import signal, demo\n"
        "demo.handle_signals()\n"
        "try:\n    print('up', flush=True); input(); print('went on')\n"
        "except KeyboardInterrupt:\n    print('stopped')"
    )
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(number, before)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    out, _ = process.communicate(None if stops else "\n")
    assert out == ("stopped\n" if stops else "went on\n")


def test_a_password_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """Airflow prints every password that it makes itself to a log, and its file is for everybody."""
    before = os.umask(0)
    try:
        stack = LocalStack(tmp_path)
        stack._write_password()
    finally:
        os.umask(before)
    assert stack.passwords.stat().st_mode & 0o777 == 0o600
    password = stack.password
    assert len(password) >= 16
    stack.passwords.chmod(0o644)  # An earlier version's.
    again = LocalStack(tmp_path)
    again._write_password()
    assert again.password == password
    assert stack.passwords.stat().st_mode & 0o777 == 0o600


def test_no_component_serves_logs_or_listens_beyond_this_machine(tmp_path: Path) -> None:
    """Airflow's log servers listen on every address."""
    for name in ("scheduler", "triggerer"):
        assert "--skip-serve-logs" in COMPONENTS[name]
    stack = LocalStack(tmp_path)
    stack.url, stack.emulator, stack._execution_port = "http://127.0.0.1:1", "http://127.0.0.1:2", 3
    assert stack._environment(1, "token@127.0.0.1:2")["AIRFLOW__API__HOST"] == "127.0.0.1"
