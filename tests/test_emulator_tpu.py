"""The Cloud TPU emulator does what is known of the service, seen through Google's own client."""

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

import grpc
import pytest
from google.api_core import exceptions as google_errors
from google.cloud import tpu_v2alpha1 as tpu
from google.cloud.location import locations_pb2
from google.cloud.tpu_v2alpha1.services.tpu.transports import TpuGrpcTransport
from google.longrunning import operations_pb2

from qarib_tasks.emulators.cloud_tpu import TpuEmulator
from qarib_tasks.emulators.cloud_tpu_faults import Behaviour
from qarib_tasks.emulators.cloud_tpu_state import ManualClock
from qarib_tasks.errors import ConfigError

ZONE = "projects/test/locations/us-west4-a"
QUEUED, NODE = f"{ZONE}/queuedResources/a", f"{ZONE}/nodes/a"


@pytest.fixture(autouse=True)
def _no_test_waits_for_ever() -> Iterator[None]:
    """A pipe's end that never comes must be a failure."""

    def fail(*_: object) -> None:
        raise TimeoutError("waited for two minutes")

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


@pytest.fixture
def client(emulator: TpuEmulator) -> Iterator[tpu.TpuClient]:
    yield from connect(emulator.endpoint)


def connect(endpoint: str) -> Iterator[tpu.TpuClient]:
    with grpc.insecure_channel(endpoint) as channel:
        yield tpu.TpuClient(transport=TpuGrpcTransport(channel=channel))


def switch(emulator: TpuEmulator, **values: Any) -> None:
    emulator.state.faults.behaviour = Behaviour(**values)


def resource(parent: str = ZONE, **changes: Any) -> tpu.QueuedResource:
    node = {
        "accelerator_type": "v5litepod-4",
        "runtime_version": "v2-alpha-tpuv5-lite",
        "labels": {"run": "r1"},
    }
    spec = {"parent": parent, "node_id": "a", "node": node}
    top = {"spot": {}, **{k: v for k, v in changes.items() if k in ("queueing_policy",)}}
    spec |= {k: v for k, v in changes.items() if k in ("node_id", "multi_node_params", "parent")}
    node |= {k: v for k, v in changes.items() if k not in spec and k not in top}
    if "multi_node_params" in changes:
        del spec["node_id"]
    return tpu.QueuedResource(tpu={"node_spec": [spec]}, **top)


def create(client: tpu.TpuClient, name: str = "a", parent: str = ZONE, **changes: Any) -> Any:
    changes = changes if "multi_node_params" in changes else {"node_id": name, **changes}
    return client.create_queued_resource(
        parent=parent, queued_resource_id=name, queued_resource=resource(parent, **changes)
    )


def state(client: tpu.TpuClient, name: str = QUEUED) -> str:
    answer = client.get_queued_resource(name=name).state
    return f"{answer.state.name} {answer.state_initiator.name}"


def node_state(client: tpu.TpuClient, name: str = NODE) -> str:
    try:
        return str(client.get_node(name=name).state.name)
    except google_errors.NotFound:
        return "NOT_FOUND"


def delete(client: tpu.TpuClient, name: str = QUEUED, *, force: bool = False) -> Any:
    request = tpu.DeleteQueuedResourceRequest(name=name, force=force)
    return client.delete_queued_resource(request=request)


def is_done(client: tpu.TpuClient, operation: Any) -> bool:
    """Of a delete's operation, of which even `operation.done()` cannot read an Empty."""
    request = operations_pb2.GetOperationRequest(name=operation.operation.name)
    return bool(client.get_operation(request).done)


def test_from_the_request_to_a_ready_node(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    operation = create(client)
    assert operation.metadata.verb == "create"
    assert operation.operation.name.startswith(f"{ZONE}/operations/operation-")
    assert not operation.done()
    seen = [(state(client).split()[0], node_state(client))]
    for seconds in (2, 60, 90):
        emulator.advance(seconds)
        seen.append((state(client).split()[0], node_state(client)))
    assert seen == [
        ("CREATING", "NOT_FOUND"),
        ("WAITING_FOR_RESOURCES", "NOT_FOUND"),
        ("PROVISIONING", "CREATING"),
        ("ACTIVE", "READY"),
    ]
    # Done long before the node was there: when the request was accepted.
    assert operation.result().state.state.name == "ACCEPTED"
    assert (operation.metadata.end_time - operation.metadata.create_time).total_seconds() == 2
    node = client.get_node(name=NODE)
    assert (node.queued_resource, node.health.name) == (QUEUED, "HEALTHY")
    assert [endpoint.port for endpoint in node.network_endpoints] == [8470]


@pytest.mark.parametrize(
    ("code", "message"),
    [(13, "an internal error has occurred"), (8, "You have reached IN_USE_ADDRESSES limit. [EID: 0x1]")],
)
def test_capacity_withdrawn_while_provisioning(
    emulator: TpuEmulator, client: tpu.TpuClient, code: int, message: str
) -> None:
    emulator.add_fault(kind="provisioning_fails", code=code, message=message)
    create(client)
    emulator.advance(2 + 60 + 90)
    assert (state(client), node_state(client)) == ("SUSPENDING SERVICE", "NOT_FOUND")
    emulator.advance(30)
    error = client.get_queued_resource(name=QUEUED).state.failed_data.error
    assert (error.code, error.message) == (code, message)
    emulator.advance(100_000)
    assert state(client) == "FAILED SERVICE"


def test_preemption_suspends_and_nothing_starts_again(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="preempt", after=60)
    create(client)
    emulator.advance(2 + 60 + 90 + 59)
    assert node_state(client) == "READY"
    emulator.advance(1)
    assert (state(client), node_state(client)) == ("SUSPENDING SERVICE", "PREEMPTED")
    with pytest.raises(google_errors.FailedPrecondition, match="start is not supported while in state PREEM"):
        client.start_node(request={"name": NODE})
    emulator.advance(10)
    assert (state(client), node_state(client)) == ("SUSPENDING SERVICE", "NOT_FOUND")
    emulator.advance(20)
    assert state(client) == "SUSPENDED SERVICE"
    with pytest.raises(google_errors.FailedPrecondition, match="SUSPENDED"):
        client.reset_queued_resource(request={"name": QUEUED})
    assert emulator.bill("run") == {"r1": 60.0}


def test_the_user_deletes_the_node(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    create(client)
    emulator.advance(152)
    operation = client.delete_node(name=NODE)
    assert node_state(client) == "DELETING"
    emulator.advance(30)
    assert operation.result() is not None
    assert (state(client), node_state(client)) == ("SUSPENDING USER", "NOT_FOUND")
    emulator.advance(30)
    assert state(client) == "SUSPENDED USER"
    delete(client)
    emulator.advance(20)
    assert emulator.queued_resource_ids == []


def test_delete_without_force_is_refused_while_nodes_live(
    emulator: TpuEmulator, client: tpu.TpuClient
) -> None:
    create(client)
    for seconds in (62, 90):
        emulator.advance(seconds)
        with pytest.raises(google_errors.FailedPrecondition, match="delete is not supported while in state"):
            delete(client)
    operation = delete(client, force=True)
    assert (state(client), node_state(client)) == ("DELETING USER", "DELETING")
    emulator.advance(30)
    assert (state(client), node_state(client)) == ("DELETING USER", "NOT_FOUND")
    emulator.advance(20)
    with pytest.raises(TypeError, match=r"Could not convert `google\.protobuf\.Empty`"):
        operation.result()
    with pytest.raises(google_errors.NotFound, match="was not found") as error:
        state(client)
    assert error.value.details[0].resource_name == QUEUED
    assert emulator.bill("run") == {"r1": 0.0}


@pytest.mark.parametrize("refused", [False, True])
def test_delete_of_what_waits(emulator: TpuEmulator, client: tpu.TpuClient, refused: bool) -> None:
    switch(emulator, refuse_delete_while_waiting=refused, refusal_code=3)
    create(client)
    emulator.advance(3)
    if refused:
        with pytest.raises(google_errors.InvalidArgument, match="WAITING_FOR_RESOURCES"):
            delete(client)
    else:
        delete(client)
        emulator.advance(20)
        assert emulator.queued_resource_ids == []


def test_the_quota_counts_whatever_was_not_deleted(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="quota", chips=8)
    emulator.add_fault(kind="stock_out", match="failed")
    create(client, "failed")
    emulator.advance(100)
    assert state(client, f"{ZONE}/queuedResources/failed") == "FAILED SERVICE"
    create(client, "queued")
    with pytest.raises(google_errors.ResourceExhausted, match="Quota limit 'TPUV5sLitepodServing") as error:
        create(client, "third")
    assert "exhausted. Limit 8 in zone us-west4-a" in error.value.details[0].violations[0].description
    delete(client, f"{ZONE}/queuedResources/failed")
    emulator.advance(20)
    create(client, "third")
    # A quota is a zone's and a generation's own.
    elsewhere = "projects/test/locations/us-east5-a"
    create(client, "third", elsewhere, accelerator_type="v6e-8", runtime_version="v2-alpha-tpuv6e")


def test_a_stock_out_of_a_node_shows_in_its_operation_only(
    emulator: TpuEmulator, client: tpu.TpuClient
) -> None:
    emulator.add_fault(kind="stock_out", times=1)
    node = resource().tpu.node_spec[0].node
    operation = client.create_node(parent=ZONE, node_id="a", node=node)
    assert node_state(client) == "CREATING"
    emulator.advance(30)
    with pytest.raises(google_errors.ResourceExhausted, match='no more capacity in the zone "us-west4-a"'):
        operation.result()
    assert node_state(client) == "NOT_FOUND"
    operation = client.create_node(parent=ZONE, node_id="b", node=node)
    emulator.advance(60)
    assert operation.result().state.name == "READY"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "A_b"}, "Invalid queued_resource_id"),
        ({"name": "a" * 64}, "Invalid queued_resource_id"),
        ({"node_id": "under_score"}, "Invalid node_id"),
        ({"labels": {"Run": "x"}}, "Invalid label"),
        ({"labels": {"run": "A b"}}, "Invalid label"),
        ({"accelerator_type": "v6e-1"}, 'accelerator type, "v6e-1", could not be found in the zonal'),
        ({"runtime_version": "v1"}, 'runtime version "v1" was not found'),
        ({"description": "x" * 513}, "longer than 512"),
        ({"metadata": {"a b": ""}}, "Invalid metadata key"),
        ({"metadata": {"startup-script": "ت" * 131_073}}, "longer than 262144 bytes"),
        ({"metadata": {"a": "x" * 262_144, "b": "x" * 262_144}}, "524288 bytes in all"),
        ({"scheduling_config": {"spot": True}}, "scheduling_config"),
        ({"multi_node_params": {"node_count": 1}}, "node_count"),
        ({"parent": "projects/test/locations/us-central2-b"}, "not supported|node_spec"),
    ],
)
def test_bad_requests_are_refused_at_once(
    emulator: TpuEmulator, client: tpu.TpuClient, changes: dict[str, Any], message: str
) -> None:
    name = changes.pop("name", "a")
    with pytest.raises(google_errors.InvalidArgument, match=message):
        client.create_queued_resource(
            parent=ZONE, queued_resource_id=name, queued_resource=resource(**changes)
        )
    assert emulator.queued_resource_ids == []


def test_a_zone_without_tpus_is_refused(client: tpu.TpuClient) -> None:
    with pytest.raises(google_errors.InvalidArgument, match='zone "asia-south1-a" is not supported'):
        create(client, parent="projects/test/locations/asia-south1-a")


def test_the_create_operation_can_fail_later(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    message = 'FLEX_START provisioning model is not supported for accelerator type "v5litepod-4"'
    emulator.add_fault(kind="create_operation_fails", code=3, message=message)
    operation = create(client)
    emulator.advance(2)
    with pytest.raises(google_errors.InvalidArgument, match="FLEX_START"):
        operation.result()
    assert state(client) == "FAILED SERVICE"


def test_a_create_that_says_it_exists_has_made_it(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="create_conflict", times=1)
    with pytest.raises(google_errors.AlreadyExists):
        create(client)
    assert emulator.queued_resource_ids == ["a"]


def test_the_same_request_makes_one_resource(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    request = tpu.CreateQueuedResourceRequest(
        parent=ZONE, queued_resource_id="a", queued_resource=resource(), request_id="1"
    )
    names = {client.create_queued_resource(request=request).operation.name for _ in range(2)}
    assert len(names) == 1
    with pytest.raises(google_errors.AlreadyExists):
        create(client)


def test_a_delete_that_has_to_be_repeated(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="delete_again", times=2)
    create(client)
    emulator.advance(152)
    for _ in range(2):
        operation = delete(client, force=True)
        emulator.advance(50)
        assert is_done(client, operation)
        assert (state(client), node_state(client)) == ("SUSPENDED USER", "NOT_FOUND")
    delete(client, force=True)
    emulator.advance(20)
    assert emulator.queued_resource_ids == []


def test_a_delete_while_suspending_comes_to_nothing(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    create(client)
    emulator.advance(152)
    emulator.strike("a", kind="preempt")
    operation = delete(client, force=True)
    emulator.advance(1000)
    assert is_done(client, operation)
    assert state(client) == "SUSPENDED SERVICE"


def test_an_id_stays_taken_until_the_delete_has_ended(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    switch(emulator, delays={"id_taken_after_delete": 60})
    create(client)
    delete(client)
    with pytest.raises(google_errors.AlreadyExists):
        create(client)
    emulator.advance(20)
    assert emulator.queued_resource_ids == []
    with pytest.raises(google_errors.AlreadyExists):
        create(client)
    emulator.advance(60)
    create(client)


def test_an_operation_unfinished_after_the_node_works(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="operation_slow", method="CreateNode", after=600)
    operation = client.create_node(parent=ZONE, node_id="a", node=resource().tpu.node_spec[0].node)
    emulator.advance(60)
    assert node_state(client) == "READY"
    emulator.advance(599)
    assert not operation.done()
    emulator.advance(1)
    assert operation.done()


def test_a_grant_after_the_client_gave_up(emulator: TpuEmulator, client: tpu.TpuClient) -> None:
    emulator.add_fault(kind="late_grant", after=4800)
    create(client, queueing_policy={"valid_until_duration": "600s"})
    emulator.advance(4800)
    assert state(client) == "WAITING_FOR_RESOURCES SERVICE"
    emulator.advance(92)
    assert node_state(client) == "READY"


@pytest.mark.parametrize(("expiry", "left"), [("failed", "FAILED"), ("waiting", "WAITING_FOR_RESOURCES")])
def test_what_an_expired_request_leaves(
    emulator: TpuEmulator, client: tpu.TpuClient, expiry: str, left: str
) -> None:
    switch(emulator, expiry=expiry)
    emulator.add_fault(kind="queue_for_ever")
    create(client, queueing_policy={"valid_until_duration": "600s"})
    emulator.advance(599)
    assert state(client) == "WAITING_FOR_RESOURCES SERVICE"
    emulator.advance(100_000)
    assert state(client) == f"{left} SERVICE"


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


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


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


def test_nothing_outlives_a_killed_emulator(tmp_path: Path, pipe: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("scale: 0\n")
    arguments = ["tpu", "--folder", str(tmp_path / "tpu"), "--port", "0", "--faults", str(faults)]
    code = "from qarib_tasks.cli_emulators import emulate_group; emulate_group()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip().partition("=")[2]
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
            deadline = time.monotonic() + 60
            while node_state(client) != "READY":
                assert time.monotonic() < deadline


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds files that no emulator made"):
        TpuEmulator(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    for _ in range(2):
        with TpuEmulator(tmp_path / "tpu", clock=ManualClock()):
            assert (tmp_path / "tpu").is_dir()
