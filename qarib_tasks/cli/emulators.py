"""`qarib emulate`: emulators of Google services, for work without an account."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE, OUTPUT_FOLDER

_TOKEN_FILE = click.option(
    "--token-file",
    type=FILE,
    help="File with the token that every request must have: 48 hexadecimal digits. Without it, each start "
    "makes a token, in a file that only you can read.",
)


@click.group("emulate")
def emulate_command() -> None:
    """Emulate Google services until Ctrl-C."""


@emulate_command.command(
    "tpu",
    epilog="Example: qarib emulate tpu --folder emulated-tpu --port 9470 --scale 0.01 --faults faults.yaml",
)
@click.option(
    "--folder",
    type=OUTPUT_FOLDER,
    required=True,
    help="Folder for the machines' disks and logs; those of an earlier emulator are deleted.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9470, show_default=True, help="Port; 0 for a free port."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--faults",
    type=FILE,
    help="YAML file of delays, switches and faults. It is read again when it changes, and may not exist yet.",
)
@click.option(
    "--scale",
    type=click.FloatRange(min=0),
    help="Delays as a share of the real service's, without --faults.  [default: 1]",
)
@click.option(
    "--environment",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Environment variable for the machines' processes; without a value, the value of this command's own "
    "variable. Every user of this computer can read a command line. Repeatable.",
)
@_TOKEN_FILE
@click.option("--label", default="run", show_default=True, help="Label that the final bill is split by.")
def emulate_tpu_command(
    folder: Path,
    port: int,
    host: str,
    faults: Path | None,
    scale: float | None,
    environment: tuple[str, ...],
    token_file: Path | None,
    label: str,
) -> None:
    """Emulate Cloud TPU: each machine is a process on this computer, and ends with this command.

    Clients find the emulator, and its token, by CLOUD_TPU_EMULATOR_HOST in their environment, or by the
    connection's `tpu_endpoint`. Run the printed command in their shell.
    """
    from qarib_tasks.emulators.cloud_tpu.emulator import ENVIRONMENT_NAME, TOKEN_FILE, serve

    if faults and scale is not None:
        raise click.UsageError("--scale cannot be combined with --faults: set `scale` in the --faults file")
    given = dict(item.partition("=")[::2] for item in environment if "=" in item)
    values = {name: os.environ.get(name, "") for name in environment if "=" not in name} | given
    end = _ended_by_signal()
    token = _token(token_file)
    with serve(
        folder, port=port, host=host, token=token, faults=faults, environment=values, scale=scale
    ) as emulator:
        path = _kept(token_file, folder / TOKEN_FILE, emulator.token)
        click.echo(f'export {ENVIRONMENT_NAME}="{path}@127.0.0.1:{emulator.port}"')
        problem = ""
        while not end.wait(1.0):
            if emulator.state.faults.problem != problem:
                problem = emulator.state.faults.problem
                click.echo(problem or f"{faults}: read", err=True)
        for value, seconds in sorted(emulator.bill(label).items()):
            click.echo(f"{seconds:.1f} node-seconds with {label}={value or 'nothing'}")


@emulate_command.command("gcs", epilog="Example: qarib emulate gcs --folder buckets --port 4443")
@click.option(
    "--folder",
    type=OUTPUT_FOLDER,
    required=True,
    help="Folder of the buckets; each folder in it is a bucket.",
)
@click.option("--port", type=click.IntRange(1, 65_535), default=4443, show_default=True)
@_TOKEN_FILE
def emulate_gcs_command(folder: Path, port: int, token_file: Path | None) -> None:
    """Emulate Cloud Storage.

    Clients find the emulator, and its token, by STORAGE_EMULATOR_HOST in their environment. Run the printed
    command in their shell.
    """
    from qarib_tasks.emulators import gcs
    from qarib_tasks.emulators.access import new_token

    end = _ended_by_signal()
    log = gcs.open_log(folder)
    token = _token(token_file) or new_token()
    process = gcs.start(folder, port, token, log=log)
    try:
        path = _kept(token_file, gcs.token_file(folder), token)
        click.echo(f'export STORAGE_EMULATOR_HOST="{gcs.address(port, path)}"')
    except BaseException:
        process.kill()
        raise
    _until(end, process)


@emulate_command.command(
    "gcs-gate", epilog="Example: qarib emulate gcs-gate --upstream 127.0.0.1:4444 --token-file token"
)
@click.option("--upstream", required=True, metavar="HOST:PORT", help="Address of fake-gcs-server.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65_535), default=4443, show_default=True)
@click.option(
    "--external", metavar="URL", help="Address by which clients reach it.  [default: http://127.0.0.1:PORT]"
)
@click.option(
    "--token-file", type=FILE, required=True, help="File with the token that every request must have."
)
def emulate_gcs_gate_command(
    upstream: str, host: str, port: int, external: str | None, token_file: Path
) -> None:
    """Pass on requests that have a token to a Cloud Storage emulator, which runs elsewhere.

    Only this command should be able to reach that emulator.
    """
    from qarib_tasks.emulators import gcs
    from qarib_tasks.emulators.access import read_token

    end = _ended_by_signal()
    options = ["--host", host, "--upstream", upstream]
    process = gcs.start_gate(port, read_token(token_file), external or f"http://127.0.0.1:{port}", options)
    _until(end, process)


def _until(end: threading.Event, process: subprocess.Popen[bytes]) -> None:
    """Wait for the end, and end the process; it must not end before."""
    try:
        while not end.wait(1.0):
            if process.poll() is not None:
                raise click.ClickException(f"the emulator ended with exit status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _token(token_file: Path | None) -> str | None:
    from qarib_tasks.emulators.access import read_token

    return read_token(token_file) if token_file else None


def _kept(token_file: Path | None, own: Path, token: str) -> str:
    """Write the token to our file, unless the user has one; return what reads it in a shell."""
    from qarib_tasks.emulators.access import write_token

    if token_file is None:
        write_token(own, token)
    return f"$(cat {shlex.quote(str((token_file or own).absolute()))})"


def _ended_by_signal() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set."""
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    return end
