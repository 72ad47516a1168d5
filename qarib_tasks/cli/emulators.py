"""`qarib emulate`: emulators of Google services, for work without an account."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from qarib_tasks.cli.options import FILE, OUTPUT_FOLDER


@click.group("emulate")
def emulate_group() -> None:
    """Emulate Google services until Ctrl-C."""


@emulate_group.command(
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
    metavar="NAME=VALUE",
    help="Environment variable for the machines' processes. Repeatable.",
)
@click.option("--label", default="run", show_default=True, help="Label that the final bill is split by.")
def emulate_tpu_command(
    folder: Path,
    port: int,
    host: str,
    faults: Path | None,
    scale: float | None,
    environment: tuple[str, ...],
    label: str,
) -> None:
    """Emulate Cloud TPU: each machine is a process on this computer, and ends with this command.

    Clients find the emulator by CLOUD_TPU_EMULATOR_HOST in their environment, or by the connection's
    `tpu_endpoint`.
    """
    from qarib_tasks.emulators.cloud_tpu.emulator import ENVIRONMENT_NAME, serve

    if faults and scale is not None:
        raise click.UsageError("--scale cannot be combined with --faults: set `scale` in the --faults file")
    values = dict(item.partition("=")[::2] for item in environment)
    end = _ended_by_signal()
    with serve(folder, port=port, host=host, faults=faults, environment=values, scale=scale) as emulator:
        click.echo(f"export {ENVIRONMENT_NAME}={emulator.endpoint}")
        problem = ""
        while not end.wait(1.0):
            if emulator.state.faults.problem != problem:
                problem = emulator.state.faults.problem
                click.echo(problem or f"{faults}: read", err=True)
        for value, seconds in sorted(emulator.bill(label).items()):
            click.echo(f"{seconds:.1f} node-seconds with {label}={value or 'nothing'}")


@emulate_group.command("gcs", epilog="Example: qarib emulate gcs --folder buckets --port 4443")
@click.option(
    "--folder",
    type=OUTPUT_FOLDER,
    required=True,
    help="Folder of the buckets; each folder in it is a bucket.",
)
@click.option("--port", type=click.IntRange(1, 65_535), default=4443, show_default=True)
def emulate_gcs_command(folder: Path, port: int) -> None:
    """Emulate Cloud Storage.

    Clients find the emulator by STORAGE_EMULATOR_HOST in their environment.
    """
    from qarib_tasks.emulators import gcs

    end = _ended_by_signal()
    process = gcs.start(folder, port, log=gcs.open_log(folder))
    try:
        click.echo(f"export STORAGE_EMULATOR_HOST=http://127.0.0.1:{port}")
        while not end.wait(1.0):
            if process.poll() is not None:
                raise click.ClickException(f"the emulator ended with exit status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _ended_by_signal() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set."""
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    return end
