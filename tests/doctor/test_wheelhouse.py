"""The wheelhouse and its lock file.

Covers qarib_tasks/tpu/wheelhouse/locks.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.doctor.result import Result
from qarib_tasks.doctor.wheelhouse import check_wheelhouse
from qarib_tasks.tpu.wheelhouse.locks import FOLDER, read_pins
from tests.support.google.wheels import BUILD, COMPLETE, JAX, NUMPY, write_lock, write_wheelhouse


def checked(folder: Path, files: dict[str, bytes], python: str = "3.12") -> list[Result]:
    path = write_wheelhouse(folder / "wheelhouse.tar", files)
    return check_wheelhouse(write_lock(folder / "tpu.txt"), python, True, {"QARIB_TPU_WHEELHOUSE": str(path)})


def test_a_complete_one(tmp_path: Path) -> None:
    (one,) = checked(tmp_path, COMPLETE)
    assert (one.state, one.what) == ("ok", "2 wheels as locked, for Python 3.12")


@pytest.mark.parametrize(
    ("without", "more", "said"),
    [
        (JAX, {}, "missing: jax"),
        (JAX, {"jax-0.10.1-py3-none-any.whl": b"jax"}, "stale: jax 0.10.1, locked 0.10.2"),
        (
            NUMPY,
            {NUMPY.replace("cp312", "cp311"): b"numpy"},
            "not for Python 3.12 on Linux x86_64: numpy-2.4.6-cp311",
        ),
        (NUMPY, {NUMPY.replace("x86_64", "aarch64"): b"numpy"}, "not for Python 3.12 on Linux x86_64: numpy"),
        (JAX, {JAX: b"another"}, "another file than the locked one: jax-0.10.2"),
        ("uv", {}, "it has no file uv"),
    ],
)
def test_what_is_wrong_with_it(tmp_path: Path, without: str, more: dict[str, bytes], said: str) -> None:
    files = {name: data for name, data in COMPLETE.items() if name != without} | more
    one = checked(tmp_path, files)[0]
    assert one.state == "fault"
    assert said in one.what


def test_of_another_python(tmp_path: Path) -> None:
    one = checked(tmp_path, COMPLETE, "3.13")[0]
    assert "not for Python 3.13" in one.what


def test_without_a_python_the_image_must_have_it(tmp_path: Path) -> None:
    files = {name: data for name, data in COMPLETE.items() if name != BUILD}
    assert [one.state for one in checked(tmp_path, files)] == ["ok", "warning"]


def test_none_and_what_is_no_archive(tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "tpu.txt")
    assert check_wheelhouse(lock, "3.12", False, {})[0].state == "ok"
    assert "export QARIB_TPU_WHEELHOUSE" in check_wheelhouse(lock, "3.12", True, {})[0].do
    absent = {"QARIB_TPU_WHEELHOUSE": str(tmp_path / "absent.tar")}
    assert check_wheelhouse(lock, "3.12", True, absent)[0].what.startswith("no such file")
    path = tmp_path / "text.tar"
    path.write_text("no archive" * 100)
    assert (
        "cannot be read" in check_wheelhouse(lock, "3.12", True, {"QARIB_TPU_WHEELHOUSE": str(path)})[0].what
    )


def test_the_projects_own_lock_is_read_completely() -> None:
    lines = (FOLDER / "tpu.txt").read_text(encoding="utf-8").splitlines()
    pins = read_pins(FOLDER / "tpu.txt")
    assert len(pins) == sum("==" in line and not line.startswith((" ", "#")) for line in lines) > 70
    assert sum(len(pin.hashes) for pin in pins) == sum("--hash=sha256:" in line for line in lines)
    assert all(pin.hashes for pin in pins)
