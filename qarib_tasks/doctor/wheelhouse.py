"""The wheelhouse for machines without internet access: present, complete, and of the locked requirements."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from qarib_tasks.counting import counted
from qarib_tasks.doctor.result import Result, fault, ok, warning
from qarib_tasks.tpu.wheelhouse.contents import faults_of
from qarib_tasks.tpu.wheelhouse.locks import read_pins

VARIABLE = "QARIB_TPU_WHEELHOUSE"
MAKE = "qarib wheelhouse -o wheelhouse.tar"


def check_wheelhouse(lock: Path, python: str, needed: bool, environment: Mapping[str, str]) -> list[Result]:
    """Compare the wheelhouse with the lock file.

    Args:
        lock: `requirements/tpu.txt`.
        python: the machines' version, such as `3.12`.
        needed: the machines have no external addresses.
    """
    path = environment.get(VARIABLE, "")
    if not path:
        if not needed:
            return [ok("wheelhouse", "none is needed: the machines reach the package index")]
        do = f"{MAKE}, and export {VARIABLE}=/path/wheelhouse.tar"
        return [fault("wheelhouse", "none is set, and external_ips is false", VARIABLE, do)]
    if not Path(path).is_file():
        return [fault("wheelhouse", f"no such file ({VARIABLE})", path, MAKE)]
    if not lock.is_file():
        return [
            warning(
                "wheelhouse", f"not compared: no {lock}", path, "export QARIB_TPU_REQUIREMENTS=/path/tpu.txt"
            )
        ]
    try:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(one.name).as_posix(): one for one in archive if one.isfile()}
            found = faults_of(archive, members, read_pins(lock), python)
    except (tarfile.TarError, OSError, EOFError) as error:
        return [fault("wheelhouse", f"cannot be read: {error}", path, MAKE)]
    if found:
        return [fault("wheelhouse", "; ".join(found), path, MAKE)]
    wheels = sum(name.endswith(".whl") for name in members)
    results = [ok("wheelhouse", f"{counted(wheels, 'wheel')} as locked, for Python {python}", path)]
    builds = [name for name in members if name.startswith("python/") and f"cpython-{python}." in name]
    if not builds:
        what = f"has no build of Python {python} below python/: the image must have one"
        results.append(warning("wheelhouse", what, path, MAKE))
    return results
