"""Wheelhouses that the real pip and uv make of packages of a few bytes; the build of Python is a script.

Covers qarib_tasks/cli/checking/wheelhouse.py, qarib_tasks/tpu/wheelhouse/contents.py,
qarib_tasks/tpu/wheelhouse/locks.py.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
from uv import find_uv_bin

from qarib_tasks.cli.main import run_command
from qarib_tasks.doctor.wheelhouse import check_wheelhouse
from qarib_tasks.errors import InputError, StorageError
from qarib_tasks.storage.files import checksums
from qarib_tasks.tpu.machine.startup import UV
from qarib_tasks.tpu.wheelhouse import make
from qarib_tasks.tpu.wheelhouse.make import MANIFEST, Wheelhouse, make_wheelhouse

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
BUILD = f"cpython-{platform.python_version()}+20260101-x86_64-unknown-linux-gnu-install_only.tar.gz"
UV_VERSION = UV.read_text(encoding="utf-8").partition("uv==")[2].split()[0]


def write_wheel(path: Path, files: Mapping[str, bytes]) -> str:
    """A wheel without dependencies: its requirement with its checksum."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    files = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{one},,\n" for one in [*files, f"{info}/RECORD"])
    with ZipFile(path, "w") as archive:
        for one, data in {**files, f"{info}/RECORD": record.encode()}.items():
            entry = ZipInfo(one)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, data)
    return f"{name}=={version} --hash=sha256:{checksums(path).sha256}\n"


class Index:
    """What can be downloaded: packages for pip, and a build of Python for uv, which is a script."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.output = folder / "index", folder / "wheelhouse.tar"
        self.folder.mkdir()
        self.lock, self.uv = folder / "tpu.txt", folder / "uv.txt"
        program = {f"uv-{UV_VERSION}.data/scripts/uv": Path(find_uv_bin()).read_bytes()}
        self.uv.write_text(write_wheel(self.folder / f"uv-{UV_VERSION}-py3-none-any.whl", program))
        lines = [self.add("tiny-1.0-py3-none-any.whl", b"any = 1")]
        lines += [self.add("quick-2.0-cp311-abi3-manylinux_2_28_x86_64.whl", b"abi = 3")]
        self.lock.write_text("".join(lines))
        builds = self._offer_build()
        for name, value in {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder),
            "UV_PYTHON_INSTALL_MIRROR": (self.folder / "builds").as_uri(),
            "UV_PYTHON_DOWNLOADS_JSON_URL": builds.as_uri(),
        }.items():
            monkeypatch.setenv(name, value)

    def add(self, name: str, text: bytes) -> str:
        return write_wheel(self.folder / name, {f"{name.partition('-')[0]}.py": text})

    def _offer_build(self) -> Path:
        archive = self.folder / "builds" / "20260101" / BUILD
        archive.parent.mkdir(parents=True)
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'.encode()
        with tarfile.open(archive, "w:gz") as tar:
            files = {f"bin/{name}": script for name in ("python", "python3", f"python{MINOR}")}
            # uv sets the paths in this file, and knows it by its first line.
            variables = b"# system configuration generated and used by the sysconfig module\n"
            variables += b"build_time_vars = {}\n"
            files[f"lib/python{MINOR}/_sysconfigdata__linux_x86_64-linux-gnu.py"] = variables
            for name, data in files.items():
                member = tarfile.TarInfo(f"python/{name}")
                member.size, member.mode = len(data), 0o755
                tar.addfile(member, io.BytesIO(data))
        release = "https://github.com/astral-sh/python-build-standalone/releases/download/20260101"
        about = {
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
            "prerelease": "",
            "url": f"{release}/{BUILD.replace('+', '%2B')}",
            "sha256": checksums(archive).sha256,
            "variant": None,
            "build": "20260101",
        }
        about |= zip(("major", "minor", "patch"), sys.version_info[:3], strict=True)
        builds = self.folder / "builds.json"
        builds.write_text(json.dumps({f"cpython-{platform.python_version()}-linux-x86_64-gnu": about}))
        return builds

    def make(self, build: bool = False) -> Wheelhouse:
        return make_wheelhouse(self.output, self.lock, python=MINOR, build=build, uv=self.uv)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return Index(tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_wheelhouse_holds_all_and_was_tried(index: Index, tmp_path: Path) -> None:
    made = index.make(build=True)
    assert made == Wheelhouse(index.output, 2, index.output.stat().st_size, BUILD, tried=True)
    with tarfile.open(index.output) as archive:
        members = {one.name: one for one in archive}
        manifest = json.load(archive.extractfile(MANIFEST))  # type: ignore[arg-type]
        archive.extractall(tmp_path / "machine", filter="data")
    assert list(members) == [MANIFEST, *sorted(manifest["files"])]
    assert f"python/20260101/{BUILD}" in members
    assert {name: checksums(tmp_path / "machine" / name).sha256 for name in manifest["files"]} == manifest[
        "files"
    ]
    assert {one.mtime for one in members.values()} == {0}
    version = subprocess.run([tmp_path / "machine" / "uv", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith(f"uv {UV_VERSION}")
    environment = {"QARIB_TPU_WHEELHOUSE": str(index.output)}
    assert [one.state for one in check_wheelhouse(index.lock, MINOR, True, environment)] == ["ok"]
    # Nothing but the tar is left.
    assert {path.name for path in tmp_path.iterdir()} == {
        *("index", "wheelhouse.tar", "tpu.txt", "uv.txt", "machine")
    }


@pytest.mark.slow
def test_again_it_is_kept_and_elsewhere_it_has_the_same_bytes(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = index.make()
    first = index.output.read_bytes()
    index.output = tmp_path / "other.tar"
    index.make()
    assert index.output.read_bytes() == first
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "absent"))
    assert index.make() == replace(made, path=index.output, kept=True)
    # Another lock, or a damaged byte: it is made again, for which the index is missing.
    damaged = bytearray(first)
    damaged[first.index(b"any = 1")] ^= 1
    index.output.write_bytes(damaged)
    with pytest.raises(StorageError, match="pip cannot get the locked files"):
        index.make()
    assert index.output.read_bytes() == damaged


def test_a_file_of_others_is_not_replaced(index: Index) -> None:
    with tarfile.open(index.output, "w") as archive:
        archive.add(index.lock, "wheelhouse.json")
    before = index.output.read_bytes()
    with pytest.raises(InputError, match="was not made by qarib"):
        index.make()
    assert index.output.read_bytes() == before


@pytest.mark.slow
def test_other_bytes_than_the_locked_ones_are_refused(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    index.add("tiny-1.0-py3-none-any.whl", b"any = 2")
    with pytest.raises(StorageError, match="pip cannot get the locked files"):
        index.make()
    assert "DO NOT MATCH THE HASHES" in caplog.text
    assert not index.output.exists()


@pytest.mark.slow
def test_wheels_that_do_not_fit_together_are_found(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    """A lock that lacks a dependency."""
    name = "needs-1.0-py3-none-any.whl"
    text = b"Metadata-Version: 2.1\nName: needs\nVersion: 1.0\nRequires-Dist: absent\n"
    with ZipFile(index.folder / name, "w") as archive:
        archive.writestr("needs-1.0.dist-info/METADATA", text)
        archive.writestr("needs-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr("needs-1.0.dist-info/RECORD", "")
    index.lock.write_text(f"needs==1.0 --hash=sha256:{checksums(index.folder / name).sha256}\n")
    with pytest.raises(StorageError, match="the wheels do not fit together"):
        index.make()
    assert "absent" in caplog.text
    assert not index.output.exists()


def test_the_command(
    index: Index, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "UV", index.uv)
    output = index.output.with_name("it's $(touch x).tar")
    arguments = ["-o", str(output), "--requirements", str(index.lock), "--python", MINOR]
    assert run_command(["wheelhouse", *arguments, "--image-python"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{output}: 2 wheels and uv, ")
    assert said[0].endswith("MB, installed without a network")
    assert said[1:] == [
        f"Python: no build, the image must have Python {MINOR}",
        f"export QARIB_TPU_WHEELHOUSE={shlex.quote(str(output))}",
    ]
