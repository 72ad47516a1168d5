"""A stand-in for Google's APIs, an emulated Cloud TPU, and a deployment of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from tests.support.google.deployment import Checked
from tests.support.google.stand_in import GoogleStandIn, World, standing_in


@pytest.fixture(scope="session")
def emulated_tpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path_factory.mktemp("doctor") / "tpu") as emulator:
        yield emulator


@pytest.fixture
def google() -> Iterator[GoogleStandIn]:
    with standing_in(World()) as one:
        yield one


@pytest.fixture
def deployment(google: GoogleStandIn, emulated_tpu: TpuEmulator, tmp_path: Path) -> Checked:
    return Checked(tmp_path, google, emulated_tpu.endpoint)


@pytest.fixture
def apis(google: GoogleStandIn) -> GoogleApis:
    """With a token that the stand-in accepts."""
    from google.oauth2.credentials import Credentials

    return GoogleApis(Credentials("stand-in-token"), google.address)  # type: ignore[no-untyped-call]
