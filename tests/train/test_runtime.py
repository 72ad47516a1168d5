"""Which backend is chosen, and how a TPU is recognized."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qarib_tasks.errors import ConfigError
from qarib_tasks.train.runtime import choose_backend, chosen_precision, has_gpu, has_tpu


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # Restored afterwards: other tests of the process run on TensorFlow.
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


def pci_device(root: Path, name: str, vendor: str, kind: str) -> None:
    folder = root / "sys/bus/pci/devices" / name
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "class").write_text(kind + "\n")


def device(root: Path, name: str) -> None:
    (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "dev" / name).touch()


def test_chips_of_early_generations_are_accel_devices(tmp_path: Path) -> None:
    assert not has_tpu(tmp_path)
    device(tmp_path, "accel/accel0")  # another maker's, in a folder
    assert not has_tpu(tmp_path)
    device(tmp_path, "accel0")
    assert has_tpu(tmp_path)


def test_chips_of_later_generations_are_vfio_groups_of_google_s_devices(tmp_path: Path) -> None:
    device(tmp_path, "vfio/vfio")
    pci_device(tmp_path, "0000:00:04.0", "0x1ae0", "0x020000")  # the network card
    assert not has_tpu(tmp_path)
    device(tmp_path, "vfio/0")
    assert not has_tpu(tmp_path)
    pci_device(tmp_path, "0000:00:05.0", "0x1ae0", "0x0b4000")
    assert has_tpu(tmp_path)


def test_a_tpu_that_jax_may_not_use_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device(tmp_path, "accel0")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not has_tpu(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    assert has_tpu(tmp_path)


def test_cuda_is_silent_where_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_gpu(tmp_path)
    device(tmp_path, "nvidiactl")
    assert not has_gpu(tmp_path)
    device(tmp_path, "nvidia0")
    assert has_gpu(tmp_path)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    choose_backend()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == ("2" if has_gpu() else "3")


def test_keras_is_told_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert choose_backend("auto") == "tensorflow" == os.environ["KERAS_BACKEND"]
    assert choose_backend("jax") == "jax" == os.environ["KERAS_BACKEND"]


@pytest.mark.parametrize(
    ("backend", "platforms", "precision"),
    [("jax", "tpu", "bfloat16"), ("jax", "cpu", "float32"), ("tensorflow", "tpu", "float32")],
)
def test_the_precision_auto_is_bfloat16_on_a_tpu(
    backend: str, platforms: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    choose_backend(backend)
    assert chosen_precision("auto") == precision
    assert {chosen_precision(given) for given in ("float32", "bfloat16")} == {"float32", "bfloat16"}


def test_a_backend_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no_such_backend is not installed"):
        choose_backend("no_such_backend")


def test_where_a_tpu_is_expected_nothing_else_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_tpu(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    assert has_tpu(tmp_path)
