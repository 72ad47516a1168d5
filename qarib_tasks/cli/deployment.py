"""Commands that set up and monitor Airflow."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click

from qarib_tasks.errors import ConfigError

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


@click.command("airflow-init", epilog="Example: QARIB_BUCKET=my-bucket qarib airflow-init")
def airflow_init_command() -> None:
    """Check and create the Airflow pool, variables and connection that the DAGs need. Repeatable.

    All values are from environment variables; see docs/deployment.md.
    """
    if importlib.util.find_spec("airflow") is None:
        do = "Run this where Airflow's own processes run"
        raise ConfigError("Airflow is not installed", where=sys.prefix, do=do)
    environment = dict(os.environ)
    if PLUGINS.is_dir():
        paths = [str(PLUGINS), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    # In a separate process, because this package never imports Airflow.
    sys.exit(
        subprocess.run([sys.executable, "-m", "qarib_airflow.deployment.setup"], env=environment).returncode
    )


@click.command("metrics", epilog="Example: qarib metrics --host 127.0.0.1, then curl localhost:9102/metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--statsd-port", type=click.IntRange(1, 65_535), default=8125, show_default=True, help="UDP port."
)
@click.option("--port", type=click.IntRange(1, 65_535), default=9102, show_default=True, help="HTTP port.")
def metrics_command(host: str, statsd_port: int, port: int) -> None:
    """Receive Airflow's StatsD metrics and serve them to Prometheus until Ctrl-C."""
    from qarib_tasks.emulators.statsd_exporter import Exporter

    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with Exporter(host, statsd_port, port) as exporter:
        click.echo(f"StatsD on {host}:{exporter.statsd_port}, http://{host}:{exporter.port}/metrics")
        end.wait()
