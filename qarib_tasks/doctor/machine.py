"""This machine: its packages, and the room on its disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path

from qarib_tasks import __version__
from qarib_tasks.config.loading import is_address
from qarib_tasks.config.run import RunConfig
from qarib_tasks.corpus.sources import SourceFile, list_files
from qarib_tasks.counting import counted
from qarib_tasks.doctor.result import Result, fault, of_error, ok, warning
from qarib_tasks.errors import QaribError
from qarib_tasks.runs.disk_space import GB, estimate
from qarib_tasks.tpu.wheelhouse.locks import read_pins

PYTHONS = ((3, 11), (3, 14))  # from, and before
LEAST_FREE, FEW_FREE = int(1 * GB), int(10 * GB)
_MOST_NAMED = 5


def check_versions(lock: Path, needs_tpu: bool) -> list[Result]:
    """Compare Python and the installed packages with what the project is locked to.

    Args:
        lock: the deployment's lock file; packages of it that are not installed are not missed.
        needs_tpu: whether Google's client of Cloud TPU must be installed.
    """
    here = f"Python {platform.python_version()}, qarib {__version__}"
    install = (
        f"{shlex.quote(sys.executable)} -m pip install --no-deps --require-hashes -r requirements/airflow.txt"
    )
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        what = f"{here}: needs Python {_dotted(PYTHONS[0])} or later, before {_dotted(PYTHONS[1])}"
        return [
            fault("versions", what, sys.executable, "Make an environment of another Python: make install")
        ]
    if needs_tpu and importlib.util.find_spec("google.cloud.tpu_v2alpha1") is None:
        return [fault("versions", "google-cloud-tpu is not installed", sys.executable, install)]
    if not lock.is_file():
        return [ok("versions", f"{here}; not compared with a lock file")]
    known = {
        str(one.name).lower().replace("_", "-"): one.version for one in importlib.metadata.distributions()
    }
    pins = [pin for pin in read_pins(lock) if not pin.marker and pin.name in known]
    others = [
        f"{pin.name} {known[pin.name]}, locked {pin.version}"
        for pin in pins
        if known[pin.name] != pin.version
    ]
    if others:
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        what = f"{here}; other versions than locked: {'; '.join(others[:_MOST_NAMED])}{more}"
        return [warning("versions", what, str(lock), install)]
    return [ok("versions", f"{here}; {counted(len(pins), 'package')} as locked")]


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def check_disk(workspace: str, run: RunConfig | None) -> list[Result]:
    """Compare the room below the workspace with what the run's local sources need.

    Args:
        run: with the sources; None: the sources are not known.
    """
    if not workspace:
        return [
            warning("disk", "no workspace is set", do="export QARIB_WORKSPACE=/path, or set qarib_workspace")
        ]
    folder = Path(workspace).absolute()
    place = next(one for one in (folder, *folder.parents) if one.is_dir())
    user = os.geteuid()
    if not os.access(place, os.W_OK | os.X_OK):
        do = f"sudo chown {user} {shlex.quote(str(place))}"
        return [fault("disk", f"user {user} cannot write to it", str(place), do)]
    free = shutil.disk_usage(place).free
    results: list[Result] = []
    files: list[SourceFile] = []
    for source in run.collect.sources if run else ():
        if not is_address(source.path):
            try:
                files += list_files(source)
            except QaribError as error:
                results.append(of_error("sources", error))
    need, of = LEAST_FREE, ""
    if run and files:
        estimated = estimate(run, files, os.cpu_count() or 1)
        need, of = max(LEAST_FREE, estimated.total), f" ({estimated})"
    do = (
        f"df -h {shlex.quote(str(place))}. Make room (the DAG qarib_clean_up lists what can be deleted), set "
        "another workspace, turn keep_local off, or set compression to gzip"
    )
    figures = f"{free / GB:,.2f} GB are free"
    if free < need:
        results.append(fault("disk", f"{figures}, about {need / GB:,.2f} are needed{of}", str(place), do))
    elif free < FEW_FREE and not files:
        results.append(warning("disk", f"only {figures}", str(place), do))
    else:
        results.append(
            ok("disk", f"{figures}{f', about {need / GB:,.2f} are needed' if of else ''}", str(place))
        )
    return results
