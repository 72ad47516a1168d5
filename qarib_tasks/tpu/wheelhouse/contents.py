"""Compares the files of a wheelhouse with the lock file."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from qarib_tasks.tpu.wheelhouse.locks import Pin, normal

_MOST_NAMED = 5


def faults_of(
    archive: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], pins: list[Pin], python: str
) -> list[str]:
    """What is wrong: missing, stale, of another Python, or with another checksum.

    Args:
        members: the archive's files by their names.
        pins: of the lock file.
        python: the machines' version, such as `3.12`.
    """
    from packaging.markers import Marker
    from packaging.tags import Tag, cpython_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    minor = (int(python.split(".")[0]), int(python.split(".")[1]))
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    machine |= {"platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix"}
    machine |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    # Of any glibc: which the image has is not known here.
    interpreters = {(tag.interpreter, tag.abi) for tag in cpython_tags(minor, platforms=["any"])}

    def fits(tag: Tag) -> bool:
        known = (tag.interpreter, tag.abi) in interpreters or tag.interpreter in (
            "py3",
            f"py3{minor[1]}",
            "py2.py3",
        )
        return known and (
            tag.platform == "any" or ("linux" in tag.platform and tag.platform.endswith("x86_64"))
        )

    wheels: dict[str, list[tuple[str, str, bool]]] = {}
    for name in members:
        if not name.endswith(".whl"):
            continue
        try:
            project, version, _, tags = parse_wheel_filename(PurePosixPath(name).name)
        except InvalidWheelFilename:
            continue
        wheels.setdefault(normal(project), []).append((str(version), name, any(fits(tag) for tag in tags)))
    missing, stale, others, changed = [], [], [], []
    for pin in pins:
        if pin.marker and not Marker(pin.marker).evaluate(machine):
            continue
        have = wheels.get(pin.name, [])
        exact = [one for one in have if one[0] == pin.version]
        fitting = [one for one in exact if one[2]]
        if not have:
            missing.append(pin.name)
        elif not exact:
            stale.append(f"{pin.name} {have[0][0]}, locked {pin.version}")
        elif not fitting:
            others.append(PurePosixPath(exact[0][1]).name)
        elif pin.hashes and not any(_sha256(archive, members[one[1]]) in pin.hashes for one in fitting):
            changed.append(PurePosixPath(fitting[0][1]).name)
    faults = [] if "uv" in members else ["it has no file uv"]
    faults += _listed("missing", missing) + _listed("stale", stale)
    faults += _listed(f"not for Python {python} on Linux x86_64", others)
    return faults + _listed("another file than the locked one", changed)


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMED])}{more}"]


def _sha256(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    file = archive.extractfile(member)
    assert file is not None
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
