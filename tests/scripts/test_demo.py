"""The demo's parts that need no Airflow: the guard, and what is printed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import demo
import pytest
import sqlalchemy
from local_stack import MARKER, LocalStack, StackError, end_marked, marked

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


def test_a_line_for_each_task_with_the_first_and_the_last_evaluation() -> None:
    def result(name: str, value: float, sha256: str = "1") -> dict[str, object]:
        figures = {"value": value, "tfidf": 0.9388, "most_frequent": 0.1424}
        return {"name": name, "sha256": sha256, "metric": "macro_f1", **figures}

    evaluations = [
        {"step": 0, "tasks": [result("source@corpus", 0.6151), result("mood", 0.3, "other texts")]},
        {"step": 200},
        {"step": 400, "tasks": [result("source@corpus", 0.7389)]},
        {"step": 800, "tasks": [result("source@corpus", 0.7112), result("mood", 0.5)]},
    ]
    baselines = "; TF-IDF 0.939, most frequent label 0.142"
    assert demo.task_rows(evaluations) == {
        "Task source@corpus": "macro-F1 of the probe 0.615 after 0 steps, 0.711 after 800 steps" + baselines,
        "Task mood": "macro-F1 of the probe 0.500 after 800 steps" + baselines,
    }
    assert list(demo.task_rows(evaluations[:2])) == ["Tasks"]


def test_each_sentence_is_shown_with_the_words_of_the_model() -> None:
    words = [{"word": "الله", "probability": 0.5}, {"word": "،", "probability": 0.1}]
    evaluation = {"fill_mask": [{"text": "السلام [MASK]", "words": words}]}
    assert demo.sentences(evaluation) == ["\u2068السلام [MASK]\u2069   \u2068الله\u2069 | \u2068،\u2069"]
    assert demo.sentences({}) == []


def test_the_report_reads_evaluations_only(tmp_path: Path) -> None:
    for name, step in [
        ("evaluation-800", 800),
        ("evaluation-0", 0),
        ("probe_predictions", 800),
        ("tasks", 1),
    ]:
        (tmp_path / f"{name}.json").write_text(json.dumps({"step": step, "name": name}))
    names = [evaluation["name"] for evaluation in demo.evaluations_in(tmp_path)]
    assert names == ["evaluation-0", "evaluation-800"]


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
