"""Nodes and machines of the Cloud TPU emulator, what befalls them, and the emulator itself.

Covers qarib_tasks/emulators/cloud_tpu/emulator.py, qarib_tasks/emulators/cloud_tpu/faults.py,
qarib_tasks/emulators/cloud_tpu/guard.py, qarib_tasks/emulators/cloud_tpu/nodes.py,
qarib_tasks/emulators/cloud_tpu/state.py, qarib_tasks/emulators/cloud_tpu/vm.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google_errors
from google.cloud import tpu_v2alpha1 as tpu
from google.cloud.location import locations_pb2
from google.longrunning import operations_pb2

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.errors import ConfigError
from tests.support.tpu_calls import NODE, QUEUED, ZONE, connect, create, node_state, state

# A pipe's end that never comes must be a failure.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


@pytest.fixture
def client(emulator: TpuEmulator) -> Iterator[tpu.TpuClient]:
    yield from connect(emulator.endpoint)


def test_endpoints_filled_in_late(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="endpoints_late", after=5)
    create(client, accelerator_type="v5litepod-16")
    emulator.advance(152)
    assert (node_state(client), len(client.get_node(name=NODE).network_endpoints)) == ("READY", 0)
    emulator.advance(5)
    addresses = {endpoint.ip_address for endpoint in client.get_node(name=NODE).network_endpoints}
    assert len(addresses) == 4


def test_failing_calls_at_a_rate(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="api_error", method="Get*", rate=0.3, seed=1)
    create(client)
    seen: dict[str, int] = {}
    for _ in range(200):
        try:
            client.get_queued_resource(name=QUEUED)
        except google_errors.GoogleAPICallError as error:
            seen[type(error).__name__] = seen.get(type(error).__name__, 0) + 1
    assert set(seen) == {"ResourceExhausted", "InternalServerError", "ServiceUnavailable"}
    assert 40 <= sum(seen.values()) <= 80


def test_a_lost_answer(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="api_error", method="Create*", codes=[14], times=1, after_effect=True)
    with pytest.raises(google_errors.ServiceUnavailable, match="Please try again"):
        create(client)
    assert emulator.queued_resource_ids == ["a"]


def test_a_node_spec_for_each_slice_and_pages_over_zones(
    emulator: TpuEmulator, client: tpu.TpuClient
) -> None:
    create(client, multi_node_params={"node_count": 3, "node_id_prefix": "s"})
    other = "projects/test/locations/us-east5-a"
    create(client, "b", other, accelerator_type="v6e-8", runtime_version="v2-alpha-tpuv6e")
    specs = client.get_queued_resource(name=QUEUED).tpu.node_spec
    assert [spec.node_id for spec in specs] == ["s-0", "s-1", "s-2"]
    emulator.advance(152)
    everywhere = "projects/test/locations/-"
    pager = client.list_nodes(request={"parent": everywhere, "page_size": 1})
    assert [len(page.nodes) for page in pager.pages] == [1, 1, 1, 1]
    queued = client.list_queued_resources(request={"parent": everywhere, "page_size": 1})
    assert [r.name.rsplit("/", 1)[1] for r in queued] == ["b", "a"]
    assert [r.name for r in client.list_queued_resources(parent=ZONE)] == [QUEUED]
    assert list(client.list_nodes(parent="projects/other/locations/-")) == []


def test_operations_and_what_the_zones_offer(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    name = create(client).operation.name
    listed = client.list_operations(operations_pb2.ListOperationsRequest(name=ZONE))
    assert [operation.name for operation in listed.operations] == [name]
    assert client.get_operation(operations_pb2.GetOperationRequest(name=name)).metadata.type_url.endswith(
        "google.cloud.tpu.v2alpha1.OperationMetadata"
    )
    client.delete_operation(operations_pb2.DeleteOperationRequest(name=name))
    with pytest.raises(google_errors.NotFound):
        client.get_operation(operations_pb2.GetOperationRequest(name=name))
    types = {t.type_ for t in client.list_accelerator_types(parent=ZONE)}
    assert "v5litepod-16" in types
    assert "v6e-8" not in types
    assert client.get_runtime_version(name=f"{ZONE}/runtimeVersions/v2-alpha-tpuv5-lite").version
    locations = client.list_locations(locations_pb2.ListLocationsRequest(name="projects/test"))
    assert "us-west4-a" in {location.location_id for location in locations.locations}


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        ({"kind": "vanish"}, "NOT_FOUND"),
        ({"kind": "node_state", "state": "TERMINATED"}, "TERMINATED"),
        ({"kind": "maintenance", "lasting": 100}, "REPAIRING"),
    ],
)
def test_lost_machines_of_an_active_resource(
    emulator: TpuEmulator, client: tpu.TpuClient, fault: dict[str, Any], left: str
) -> None:
    emulator.add_fault(after=10, times=1, **fault)
    create(client)
    emulator.advance(2 + 60 + 90 + 10)
    assert (state(client), node_state(client)) == ("ACTIVE SERVICE", left)
    emulator.advance(100)
    assert node_state(client) == ("READY" if fault["kind"] == "maintenance" else left)
    assert emulator.bill("run") == {"r1": 10.0}


def test_stop_and_start(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    create(client)
    emulator.advance(152)
    client.stop_node(request={"name": NODE})
    emulator.advance(20)
    assert node_state(client) == "STOPPED"
    emulator.add_fault(kind="stock_out", times=1)
    with pytest.raises(google_errors.ResourceExhausted):
        client.start_node(request={"name": NODE}).result()
    client.start_node(request={"name": NODE})
    emulator.advance(60)
    assert node_state(client) == "READY"


def script_with(pipe: Path, line: str = "") -> str:
    """Holds the pipe open in a daemon of its own session; says a line."""
    return f"exec 9>'{pipe}'\n{line}\nsetsid -f sleep 1000\necho up >&9\nsleep 1000\n"


def test_a_machine_knows_what_a_tpu_machine_knows(
    emulator: TpuEmulator, client: tpu.TpuClient, pipe: Path
) -> None:
    ask = "curl -sfH Metadata-Flavor:Google http://$GCE_METADATA_HOST/computeMetadata/v1/instance"
    script = f"""exec 9>'{pipe}'
    worker=$({ask}/attributes/agent-worker-number)
    curl -sfX PUT -H Metadata-Flavor:Google -d "step $worker" \\
        http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/qarib/progress
    {ask}/attributes/tpu-env | grep ^WORKER_ID >&9
    """
    create(client, accelerator_type="v5litepod-16", metadata={"startup-script": script})
    emulator.advance(152)
    # The pipe ends when the last of four machines has ended its script.
    with pipe.open() as said:
        assert sorted(said) == [f"WORKER_ID: '{i}'\n" for i in range(4)]
    answer = client.get_guest_attributes(request={"name": NODE, "worker_ids": ["3"]})
    assert [item.value for item in answer.guest_attributes[0].query_value.items] == ["step 3"]
    address = emulator.machines("a")[0].metadata.address
    request = urllib.request.Request(f"http://{address}/computeMetadata/v1/instance/zone")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


def test_preempted_at_a_step_with_all_that_it_started(
    emulator: TpuEmulator, client: tpu.TpuClient, pipe: Path
) -> None:
    emulator.add_fault(kind="preempt", at_step=5, times=1)
    emulator.add_fault(kind="preempt", at_step=1000)
    create(client, metadata={"startup-script": script_with(pipe, "echo step 7 of 10: loss 1")})
    emulator.advance(152)
    with pipe.open() as said:
        assert said.readline() == "up\n"
        emulator.advance(0)
        assert node_state(client) == "PREEMPTED"
        assert said.read() == ""


def test_a_notice_before_the_preemption(emulator: TpuEmulator, client: tpu.TpuClient, pipe: Path) -> None:
    script = f"exec 9>'{pipe}'\ntrap 'echo told >&9; exit' TERM\nsleep 1000 9>&- &\necho up >&9\nwait\n"
    emulator.add_fault(kind="preempt", after=10, notice=30)
    create(client, metadata={"startup-script": script})
    emulator.advance(152)
    with pipe.open() as said:
        assert said.readline() == "up\n"
        emulator.advance(10)
        assert said.read() == "told\n"
    assert emulator.machines("a")[0].metadata.values["instance/preempted"] == "TRUE"
    assert node_state(client) == "READY"
    emulator.advance(30)
    assert node_state(client) == "PREEMPTED"


def test_a_frozen_machine_is_still_ready(emulator: TpuEmulator, client: tpu.TpuClient, pipe: Path) -> None:
    create(client, metadata={"startup-script": script_with(pipe, "echo $$ > pid")})
    emulator.advance(152)
    with pipe.open() as said:
        said.readline()
        emulator.strike("a", kind="freeze")
        pid = int((emulator.machines("a")[0].folder / "disk/pid").read_text())
        while " T " not in Path(f"/proc/{pid}/stat").read_text():
            os.sched_yield()
        assert node_state(client) == "READY"
        emulator.stop()
        assert said.read() == ""


def in_shell(command: str, name: str) -> str:
    """The value of a variable in a shell that has run a command."""
    script = f'{command}\nprintf %s "${name}"'
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout


def test_nothing_outlives_a_killed_emulator(tmp_path: Path, pipe: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("scale: 0\n")
    arguments = ["tpu", "--folder", str(tmp_path / "tpu"), "--port", "0", "--faults", str(faults)]
    code = "from qarib_tasks.cli.emulators import emulate_command; emulate_command()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint = in_shell(process.stdout.readline(), "CLOUD_TPU_EMULATOR_HOST")
    for client in connect(endpoint):
        create(client, metadata={"startup-script": script_with(pipe)})
    with pipe.open() as said:
        assert said.readline() == "up\n"
        process.send_signal(signal.SIGKILL)
        assert said.read() == ""
    process.wait()
    process.stdout.close()


def test_the_faults_are_read_again(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock(), behaviour=faults) as emulator:
        for client in connect(emulator.endpoint):
            faults.write_text("scale: 0\nfaults: [{kind: queue_for_ever, match: a}]\n")
            create(client)
            create(client, "b")
            emulator.advance(0)
            assert state(client) == "WAITING_FOR_RESOURCES SERVICE"
            assert state(client, f"{ZONE}/queuedResources/b") == "ACTIVE SERVICE"
            faults.write_text("faults: [{kind: sleep}]\n")
            emulator.advance(0)
            assert "kind" in emulator.state.faults.problem
    with pytest.raises(ConfigError, match="kind"):
        TpuEmulator(tmp_path / "tpu", behaviour=faults)


def test_it_follows_the_time_by_itself(tmp_path: Path) -> None:
    with TpuEmulator(tmp_path / "tpu", behaviour=Behaviour(scale=0.001)) as emulator:
        for client in connect(emulator.endpoint):
            create(client)
            deadline = time.monotonic() + 300
            while node_state(client) != "READY":
                assert time.monotonic() < deadline


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="the folder has files that are not an emulator's"):
        TpuEmulator(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / ".cloud-tpu-emulator").write_text("a file of another program")
    with pytest.raises(ConfigError, match="the folder has files that are not an emulator's"):
        TpuEmulator(tmp_path)
    machine = tmp_path / "tpu" / "node-1" / "worker-0"
    for number in range(2):
        with TpuEmulator(tmp_path / "tpu", clock=ManualClock()):
            assert (tmp_path / "tpu" / "NOTES.txt").exists() == bool(number)
        (machine / "disk").mkdir(parents=True)
        for name in ("disk/data", "serial.log", "../../NOTES.txt", "../mine"):
            (machine / name).write_text(name)
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()):
        files = sorted(path.name for path in (tmp_path / "tpu").rglob("*") if path.is_file())
    assert files == [".cloud-tpu-emulator", "NOTES.txt", "mine"]
    assert not machine.exists()
