"""The table of TPU chips, and the work of a step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.emulators.cloud_tpu.catalog import SLICES
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import (
    CHIPS,
    TrainingShape,
    chip_of_device,
    chips_of,
    grid_of,
    hourly_price,
    links_of,
    machines_of,
)

CLUSTER = "projects/p/locations/l/clusters/c"
BASE = TrainingShape(model=ModelConfig(), vocab_size=64_000, batch=64)


@pytest.mark.parametrize(
    ("accelerator_type", "chips", "name"),
    [
        ("v2-8", 4, "v2"),
        ("v3-8", 4, "v3"),
        ("v4-8", 4, "v4"),
        ("v4-32", 16, "v4"),
        ("v5litepod-1", 1, "v5e"),
        ("v5litepod-8", 8, "v5e"),
        ("v5p-8", 4, "v5p"),
        ("v6e-8", 8, "v6e"),
    ],
)
def test_chips_of_an_accelerator_type(accelerator_type: str, chips: int, name: str) -> None:
    assert chips_of(accelerator_type) == (chips, CHIPS[name])


@pytest.mark.parametrize("accelerator_type", ["v9-8", "v5litepod", "8", "", "v5-8", "cpu"])
def test_an_unknown_accelerator_type_is_an_error_that_names_those_known(accelerator_type: str) -> None:
    with pytest.raises(ConfigError, match="v5litepod-8"):
        chips_of(accelerator_type)


def test_machines_are_those_of_the_emulated_service() -> None:
    for accelerator_type, kind in SLICES.items():
        assert machines_of(accelerator_type) == kind.machines, accelerator_type


def test_chips_of_devices() -> None:
    assert chip_of_device("TPU v5 lite") is CHIPS["v5e"]
    assert chip_of_device("TPU v5") is CHIPS["v5p"]
    assert chip_of_device("cpu") is None


def test_flops_of_bert_base() -> None:
    # The TPU compiler counted 3.0e11 a chip for an eighth of this, with softmax, dropout and optimizer.
    assert BASE.flops / 8 == pytest.approx(2.89e11, rel=0.01)


@pytest.mark.parametrize(
    ("accelerator_type", "grid", "links"),
    [
        ("v5litepod-1", (1, 1), 0),
        ("v5litepod-4", (2, 2), 2),
        ("v5litepod-8", (2, 4), 2),
        ("v5litepod-16", (4, 4), 2),
        ("v5litepod-128", (8, 16), 2),
        # Both axes of a complete pod are closed.
        ("v5litepod-256", (16, 16), 4),
        ("v3-8", (2, 2), 2),
        ("v4-8", (2, 2), 2),
        ("v4-16", (2, 2, 2), 2),
        ("v4-32", (2, 2, 4), 2),
        ("v4-64", (2, 4, 4), 2),
        ("v4-128", (4, 4, 4), 6),
        ("v5p-4", (1, 2), 1),
        ("v5p-24", (12,), 2),
    ],
)
def test_the_links_of_a_slice(accelerator_type: str, grid: tuple[int, ...], links: int) -> None:
    chips, chip = chips_of(accelerator_type)
    assert grid_of(chips, chip) == grid
    assert links_of(chips, chip) == links


def test_grids_are_those_of_the_emulated_service() -> None:
    for accelerator_type, kind in SLICES.items():
        sides = sorted(int(side) for side in kind.topology.split("x"))
        chips, chip = chips_of(accelerator_type)
        grid = (1, *grid_of(chips, chip)) if len(sides) > len(grid_of(chips, chip)) else grid_of(chips, chip)
        assert sorted(grid) == sides, accelerator_type


def test_bytes_of_gradients() -> None:
    assert BASE.parameters == pytest.approx(135.85e6, rel=1e-4)
    words = 64_000 * 768
    # By the TPU's compiler, the words twice; in bfloat16, 270.7 MB of products' gradients and 197.2 MB of
    # look-ups' (python benchmarks/tpu_compile.py --topology v5e:2x4 --batch 64).
    assert BASE.gradient_bytes == (4 * BASE.parameters, 4 * (BASE.parameters + words))
    once, compiled = replace(BASE, precision="bfloat16").gradient_bytes
    assert compiled == pytest.approx(467.9e6, rel=0.005)
    assert once == compiled - 2 * words


def test_flops_of_token_dropping() -> None:
    """Of 12 layers, 6 have half of the positions; the first of these has the keys and values of all."""
    assert replace(BASE, kept=64).flops == BASE.flops
    size, pairs = 768, 64 * 64
    of_layer = 24 * size * size * 64 + 4 * pairs * size
    half = 24 * size * size * 32 + 4 * pairs // 4 * size
    first = half + 2 * 2 * size * size * 32 + 4 * pairs // 4 * size
    saved = 6 * of_layer - 5 * half - first
    assert BASE.flops - replace(BASE, kept=32).flops == pytest.approx(3 * 64 * saved, rel=1e-12)
    small = replace(BASE, model=ModelConfig(num_hidden_layers=2), kept=64)
    assert small.flops == replace(small, kept=None).flops


@pytest.mark.parametrize("accelerator_type", ["v6e-0", "v4-00", "v6e-08", "v6e-" + "9" * 5_000, "v6e-٨"])
def test_a_type_has_chips(accelerator_type: str) -> None:
    with pytest.raises(ConfigError, match="unknown accelerator type"):
        chips_of(accelerator_type)


def test_what_only_clusters_have_is_estimated_and_has_no_price() -> None:
    assert [chips_of(kind)[0] for kind in ("tpu7x-8", "tpu7x-32", "nvidia-l4-1")] == [4, 16, 1]
    assert [machines_of(kind) for kind in ("tpu7x-8", "tpu7x-32", "nvidia-h100-80gb-8")] == [1, 4, 1]
    assert chips_of("tpu7x-8")[1].devices == 2
    tpu = TpuConfig(
        machine="gke", gke_cluster=CLUSTER, image=f"i@sha256:{'0' * 64}", accelerator_type="tpu7x-8"
    )
    with pytest.raises(ConfigError, match="no price of tpu7x is known"):
        hourly_price(tpu)
    assert hourly_price(replace(tpu, chip_hour_price=3.0)) == 12.0
