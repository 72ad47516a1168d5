"""The main process of an emulated machine: runs the startup script, and kills every process when it ends.

It runs as a separate program: `python -m qarib_tasks.emulators.cloud_tpu.guard SCRIPT`. The process that
starts it writes one word per line to its standard input:

    notice   the power button: SIGTERM to every process of the machine
    freeze   SIGSTOP to every process of the machine
    thaw     SIGCONT

The machine ends when the standard input ends, also if the process that writes to it dies: every process, in
any session or group, gets SIGKILL. Needs Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SIGNALS = {"notice": signal.SIGTERM, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}


def _descendants() -> list[int]:
    """Return every running process below this one; as a subreaper, this one is also the parent of daemons."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        if fields[0] not in "ZX":
            parents[int(entry.name)] = int(fields[1])
    found, new = set[int](), {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in new} - found:
        found |= new
    return sorted(found)


def _signal_all(number: signal.Signals) -> list[int]:
    pids = _descendants()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return pids


def _reap(script: subprocess.Popen[bytes]) -> None:
    """Reap ended daemons; print the startup script's exit status, as the guest agent does."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == script.pid:
            print(f"startup-script exit status {os.waitstatus_to_exitcode(status)}", flush=True)


def main(script: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    def die_with_guard() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    # This process has one thread: code between fork and exec is safe.
    child = subprocess.Popen(
        ["bash", script], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_guard
    )
    words = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.2)
        _reap(child)
        if not readable:
            continue
        data = os.read(0, 4096)
        if not data:
            break
        *lines, words = (words + data).split(b"\n")
        for line in lines:
            if (word := line.decode()) in _SIGNALS:
                _signal_all(_SIGNALS[word])
    # New processes can start while others are killed: repeat until none is left.
    while _signal_all(signal.SIGKILL):
        _reap(child)
        time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1])
