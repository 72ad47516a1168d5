"""Makes a wheelhouse: a tar of all that the startup script of a TPU machine installs without a package index.

    wheelhouse.json   first: what it was made from, and each file's SHA-256
    uv                the program, of the version in `uv.txt`
    *.whl             the requirements, each with a checksum of the lock file
    python/           a mirror of uv's Python builds, with the one that uv installs; absent if the image's own
                      Python is used

pip downloads from the package index that it is configured for. uv downloads the build, and compares it with
its own checksum of it. Then uv makes the environment as on the machine, without a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

from qarib_tasks.errors import InputError, QaribError, StorageError
from qarib_tasks.storage.files import atomic_path, checksums, temporary_folder
from qarib_tasks.storage.ownership import check_outputs
from qarib_tasks.storage.recognition import require_ours
from qarib_tasks.tpu.machine.startup import UV
from qarib_tasks.tpu.wheelhouse.contents import faults_of
from qarib_tasks.tpu.wheelhouse.locks import read_pins

log = logging.getLogger(__name__)
MANIFEST = "wheelhouse.json"
FORMAT = 1
PYTHON = "3.12"  # as `startup.Launch`
_GLIBC = 31  # of the images; `make lock` resolves for it, too
_BLOCK = tarfile.BLOCKSIZE
_LAST_LINES = 12


@dataclass(frozen=True)
class Wheelhouse:
    """A wheelhouse that was made or kept.

    Attributes:
        build: the file name of the Python build; empty: the image's own Python is used.
        tried: the environment was made from it here; otherwise, its contents were only resolved.
        kept: it existed, and its files have the checksums of its manifest.
    """

    path: Path
    wheels: int
    bytes: int
    build: str
    tried: bool
    kept: bool = False


def make_wheelhouse(
    output: Path, lock: Path, *, python: str = PYTHON, build: bool = True, uv: Path | None = None
) -> Wheelhouse:
    """Download what the lock file names, try it without a network, and write the tar. Repeatable.

    The same files give the same bytes.

    Args:
        lock: requirements with a checksum for each file, such as `requirements/tpu.txt`.
        python: the machines' version of Python.
        build: include the build of Python that uv installs on the machines.
        uv: requirements that install uv; the default is `uv.txt`.

    Raises:
        InputError: the output exists and is no wheelhouse, or pip is missing.
        StorageError: a download failed, or what was downloaded does not install.
    """
    uv = uv or UV
    check_outputs([output], [lock, uv])
    if not lock.is_file():
        do = "Set QARIB_TPU_REQUIREMENTS to requirements/tpu.txt of the project"
        raise InputError("no such file", where=lock, do=do)
    require_ours(output, is_wheelhouse)
    wanted = {"requirements": checksums(lock).sha256, "uv": checksums(uv).sha256, "python": python}
    if found := _kept(output, wanted, build):
        return found
    with temporary_folder(output.absolute().with_name(f"{output.name}.files")) as folder:
        content = folder / "content"
        content.mkdir()
        own_uv = _machine_uv(folder, content, uv)
        log.info("downloading the wheels of %s", lock)
        target = [*_options_of_target(python), "--dest", str(content)]
        _pip("download", *target, "--requirement", str(lock))
        archive = _add_build(folder, content, own_uv, python) if build else ""
        tried = _try(folder, content, own_uv, lock, python, archive)
        files = sorted(path for path in content.rglob("*") if path.is_file())
        sums = {path.relative_to(content).as_posix(): checksums(path).sha256 for path in files}
        manifest = {"format": FORMAT, **wanted, "build": archive, "tried": tried, "files": sums}
        with atomic_path(output) as temporary:
            _write(temporary, manifest, content, files)
            _check(temporary, lock, python)
    wheels = sum(path.suffix == ".whl" for path in files)
    return Wheelhouse(output, wheels, output.stat().st_size, archive, tried)


def is_wheelhouse(head: bytes) -> bool:
    """Whether it is the beginning of a wheelhouse of ours: its first member is the manifest."""
    name = MANIFEST.encode()
    return head[: len(name) + 1] == name + b"\0" and head[_BLOCK:].startswith(b'{\n "build": ')


def _kept(output: Path, wanted: Mapping[str, str], build: bool) -> Wheelhouse | None:
    """The wheelhouse that exists, if it was made from the same, and is complete."""
    if not output.is_file():
        return None
    try:
        with tarfile.open(output) as archive:
            members = {one.name: one for one in archive}
            values: dict[str, Any] = json.load(_open(archive, members[MANIFEST]))
            if any(values[name] != value for name, value in wanted.items()) or bool(values["build"]) != build:
                return None
            if values["format"] != FORMAT or members.keys() - {MANIFEST} != values["files"].keys():
                return None
            for name, digest in values["files"].items():
                if hashlib.file_digest(_open(archive, members[name]), "sha256").hexdigest() != digest:
                    return None
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError, TypeError):
        return None  # Cut off or damaged: made again.
    wheels = sum(name.endswith(".whl") for name in members)
    return Wheelhouse(
        output, wheels, output.stat().st_size, values["build"], bool(values["tried"]), kept=True
    )


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file


def _options_of_target(python: str) -> list[str]:
    """pip's options for the machines: each tag of a wheel that their C library runs, the newest first."""
    names = [f"manylinux_2_{minor}" for minor in range(_GLIBC, 4, -1)]
    names += ["manylinux2014", "manylinux2010", "manylinux1"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--implementation", "cp"]
    options += ["--python-version", python]
    return options + [f"--platform={name}_x86_64" for name in names]


def _machine_uv(folder: Path, content: Path, requirements: Path) -> Path:
    """Put the machines' uv into the wheelhouse; return a uv of the same version that runs here."""
    log.info("downloading uv")
    wheels = folder / "uv-wheel"
    target = [*_options_of_target(PYTHON), "--dest", str(wheels)]
    _pip("download", *target, "--requirement", str(requirements))
    (wheel,) = wheels.glob("uv-*.whl")
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        (content / "uv").write_bytes(archive.read(name))
    (content / "uv").chmod(0o755)
    if _is_like_machines():
        return content / "uv"
    here = folder / "uv-here"
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(here)]
    _pip("install", *options, "--requirement", str(requirements))
    return here / "bin" / "uv"


def _is_like_machines() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


def _add_build(folder: Path, content: Path, uv: Path, python: str) -> str:
    """Put the build of Python that uv installs on the machines into the wheelhouse; return its name."""
    log.info("downloading a build of Python %s", python)
    key = f"cpython-{python}-linux-x86_64-gnu"
    cache, environment = folder / "builds", _environment(folder)
    environment["UV_PYTHON_CACHE_DIR"] = str(cache)
    do = "Set UV_PYTHON_INSTALL_MIRROR to a mirror that you reach; if the image has it, give --image-python"
    listing = _run(
        [str(uv), "python", "list", key, "--only-downloads", "--output-format", "json"],
        environment,
        "uv does not list its builds of Python",
        do,
    )
    builds = json.loads(listing)
    if not builds:
        raise StorageError(f"uv has no build of Python {python}", where=key, do=do)
    options = ["--no-bin", "--install-dir", str(folder / "installed")]
    what = f"uv cannot download the build of Python {python}"
    _run([str(uv), "python", "install", key, *options], environment, what, do)
    (archive,) = cache.iterdir()
    # uv looks for DATE/NAME below the address of a mirror.
    date, name = PurePosixPath(unquote(urlsplit(builds[0]["url"]).path)).parts[-2:]
    place = content / "python" / date / name
    place.parent.mkdir(parents=True)
    shutil.move(archive, place)
    return name


def _try(folder: Path, content: Path, uv: Path, lock: Path, python: str, build: str) -> bool:
    """Make the environment as the startup script does, or where that cannot run here, resolve only.

    Returns:
        whether the environment was made.
    """
    # Not UV_OFFLINE: with it, uv takes no build of Python from a mirror that is a folder either.
    environment = _environment(folder)
    options = ["--offline", "--no-index", "--find-links", str(content), "--require-hashes", "--no-deps"]
    options += ["--only-binary", ":all:", "-r", str(lock)]
    what, do = "the wheels cannot be installed without a network", "Make it again"
    made = folder / "environment"
    if build:
        environment["UV_PYTHON_INSTALL_MIRROR"] = (content / "python").as_uri()
        environment["UV_MANAGED_PYTHON"] = "1"
    else:
        environment["UV_PYTHON_DOWNLOADS"] = "never"
    if not _is_like_machines() or not (build or _has_python(uv, python, environment)):
        log.info("resolving the wheels for Python %s without a network", python)
        target = ["--python-version", python, "--python-platform", f"x86_64-manylinux_2_{_GLIBC}"]
        target += ["--dry-run", "--target", str(made)]
        _run([str(uv), "pip", "install", *target, *options], environment, what, do)
        return False
    log.info("trying the wheelhouse without a network")
    _run([str(uv), "venv", "--python", python, str(made)], environment, what, do)
    interpreter = str(made / "bin" / "python")
    _run([str(uv), "pip", "install", "--python", interpreter, *options], environment, what, do)
    _run(
        [str(uv), "pip", "check", "--python", interpreter], environment, "the wheels do not fit together", do
    )
    return True


def _has_python(uv: Path, python: str, environment: Mapping[str, str]) -> bool:
    command = [str(uv), "python", "find", "--no-project", python]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def _environment(folder: Path) -> dict[str, str]:
    """The variables of uv's processes: nothing is written outside of the folder, or read from a project."""
    return dict(os.environ) | {
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_PYTHON_INSTALL_DIR": str(folder / "pythons"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
    }


def _pip(command: str, *options: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            "this Python has no pip", where=sys.executable, do="Run the command with a Python that has it"
        )
    _run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *options],
        dict(os.environ),
        "pip cannot get the locked files",
        "Its index must have each of them, with a checksum of the lock file",
    )


def _run(command: Sequence[str], environment: Mapping[str, str], what: str, do: str) -> str:
    """Run a program; return what it prints.

    Raises:
        StorageError: it fails. The error has its last lines.
    """
    shown = " ".join([Path(command[0]).name, *command[1:4]])
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror}", where=shown, do=do) from None
    if done.returncode != 0:
        for line in (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]:
            log.error("%s", line)
        raise StorageError(f"{what}, see the lines above", where=shown, do=do)
    return done.stdout


def _write(path: Path, manifest: Mapping[str, Any], content: Path, files: Sequence[Path]) -> None:
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo(MANIFEST)
        place = content.parent / MANIFEST
        place.write_text(text, encoding="utf-8", newline="\n")
        for name, file in [(MANIFEST, place), *((one.relative_to(content).as_posix(), one) for one in files)]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = file.stat().st_size, 0o755 if name == "uv" else 0o644
            with file.open("rb") as source:
                archive.addfile(member, source)


def _check(path: Path, lock: Path, python: str) -> None:
    """Compare the tar with the lock file, as `qarib doctor` does.

    Raises:
        QaribError: they differ.
    """
    with tarfile.open(path) as archive:
        found = faults_of(archive, {one.name: one for one in archive}, read_pins(lock), python)
    if found:
        raise QaribError("; ".join(found), where=lock, do="Make it again")
