"""No port of the emulator of Cloud TPU answers a process that does not have its token.

Covers qarib_tasks/emulators/cloud_tpu/rest.py, qarib_tasks/emulators/cloud_tpu/vm.py and
qarib_tasks/cli/emulators.py, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.cloud import tpu_v2alpha1 as tpu
from google.cloud.tpu_v2alpha1.services.tpu.transports import TpuGrpcTransport

from qarib_tasks.emulators.access import new_token
from qarib_tasks.emulators.cloud_tpu.emulator import REST_ENVIRONMENT_NAME, TOKEN_FILE, TpuEmulator
from qarib_tasks.emulators.cloud_tpu.server import handlers
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuPermissionError
from tests.support.tpu_calls import NODE, QUEUED, connect, create, node_state


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


@pytest.mark.parametrize("token", ["", "wrong", 24 * "0f"])
def test_no_machine_without_the_token(emulator: TpuEmulator, tmp_path: Path, token: str) -> None:
    client = CloudTpuClient("test", endpoint=f"{token}@127.0.0.1:{emulator.port}")
    with pytest.raises(TpuPermissionError):
        client.nodes("us-west4-a")
    client.close()
    with grpc.insecure_channel(f"127.0.0.1:{emulator.port}") as channel:
        plain = tpu.TpuClient(transport=TpuGrpcTransport(channel=channel))
        with pytest.raises(Exception, match="needs its token"):
            create(plain, metadata={"startup-script": f"touch {tmp_path}/ran"})
    assert emulator.calls == {}
    emulator.advance(300)
    assert not (tmp_path / "ran").exists()


def test_every_method_needs_the_token(emulator: TpuEmulator) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{emulator.port}") as channel:
        methods = [m for handler in handlers(emulator.api) for m in handler._method_handlers]  # type: ignore[attr-defined]
        assert len(methods) > 20
        for method in methods:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"")
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/unknown/Method")(b"", metadata=[("authorization", "Bearer x")])
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert emulator.calls == {}


def answer(url: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(url, b"x" if method == "PUT" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_machine_and_no_other_process_uses_its_metadata_server(emulator: TpuEmulator) -> None:
    for client in connect(emulator.endpoint):
        create(client, metadata={"startup-script": "true"})
        emulator.advance(152)
        assert node_state(client, NODE) == "READY"
        address = emulator.machines("a")[0].metadata.address
        place, _, secret = address.partition("/")
        path = "computeMetadata/v1/instance"
        google = {"Metadata-Flavor": "Google"}
        tokens = "service-accounts/default/token"
        assert answer(f"http://{address}/{path}/{tokens}", **google) == 200
        for wrong in (place, f"{place}/{new_token()}", f"{place}/{secret[:-1]}"):
            assert answer(f"http://{wrong}/{path}/{tokens}", **google) == 403
            assert answer(f"http://{wrong}/{path}/attributes/startup-script", **google) == 403
            assert answer(f"http://{wrong}/{path}/guest-attributes/qarib/problem", "PUT", **google) == 403
        assert emulator.machines("a")[0].metadata.guest_attributes == {}


def test_only_a_machine_deletes_itself(emulator: TpuEmulator) -> None:
    for client in connect(emulator.endpoint):
        create(client)
        emulator.advance(152)
        url = f"{emulator.state.environment[REST_ENVIRONMENT_NAME]}/v2alpha1/{QUEUED}?force=true"
        for authorization in ("", "Bearer ", "Bearer emulated", f"Bearer {new_token()}"):
            assert answer(url, "DELETE", Authorization=authorization) == 401
        emulator.advance(300)
        assert node_state(client) == "READY"
        assert answer(url, "DELETE", Authorization=f"Bearer {emulator.token}") == 200
        emulator.advance(300)
        assert node_state(client) == "NOT_FOUND"


def test_the_command_shows_no_token_and_keeps_it_in_a_file(tmp_path: Path) -> None:
    folder, mine = tmp_path / "tpu machines", "value-of-a-secret"
    command = [
        sys.executable,
        "-c",
        "from qarib_tasks.cli.emulators import emulate_command; emulate_command()",
    ]
    command += ["tpu", "--folder", str(folder), "--port", "0", "--environment", "MINE"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"MINE": mine})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        path = folder / TOKEN_FILE
        token = path.read_text().strip()
        assert path.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o077 == 0
        assert token not in line
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert token not in shown
        assert mine not in shown
        script = f'{line}\nprintf %s "$CLOUD_TPU_EMULATOR_HOST"'
        endpoint = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
        assert endpoint.startswith(f"{token}@127.0.0.1:")
        client = CloudTpuClient("test", endpoint=endpoint)
        assert client.nodes("us-west4-a") == []
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
