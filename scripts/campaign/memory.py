"""The memory that `qarib` takes for files that were crafted to take it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MOST = 2_000_000_000  # bytes of a process
SECONDS = 120.0  # of a command


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
        memory: bytes that it took at most.
        status: of its exit; that of a signal is negative.
    """

    memory: int
    status: int
    error: str


# A process counts what the one had that started it: a small one starts the command.
SMALL = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(process, 0)
print(usage.ru_maxrss << 10, os.waitstatus_to_exitcode(status))
"""


def measured(command: Sequence[str], seconds: float = SECONDS) -> Ended:
    """Run a command, or kill it after some seconds."""
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'plugins'}"}
    with subprocess.Popen(
        [sys.executable, "-ISc", SMALL, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            figures, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Ended(0, -signal.SIGKILL, process.communicate()[1] + f"killed after {seconds:.0f} seconds")
    memory, status = map(int, figures.split())
    return Ended(memory, status, said)


def take_little(files: Iterable[Path], most: int = MOST) -> bool:
    """Collect and preview each file with the command; print the most memory.

    Returns:
        whether no command took more, needed too long, ended by a signal, or showed a traceback.
    """
    largest, shown, count, held = 0, "", 0, True
    qarib = [sys.executable, "-m", "qarib_tasks.cli"]
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            for name, more in (("collect", ["-o", f"{folder}/{count}.txt"]), ("preview", [])):
                ended = measured([*qarib, name, str(file), *more])
                count += 1
                what = f"qarib {name} {file.parent.name}/{file.name}"
                if ended.memory > largest:
                    largest, shown = ended.memory, what
                if ended.memory > most or ended.status < 0 or "Traceback" in ended.error:
                    held = False
                    print(f"{what}: {ended.memory / 1e9:.2f} GB, status {ended.status}\n{ended.error}")
    print(f"most memory of {count:,} commands on crafted files: {largest / 1e9:.2f} GB, {shown}")
    return held and count > 0
