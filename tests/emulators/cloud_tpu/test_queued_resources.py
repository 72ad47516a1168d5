"""Queued resources of the Cloud TPU emulator do what is known of the service, seen by Google's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google_errors
from google.cloud import tpu_v2alpha1 as tpu

from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from tests.support.tpu_calls import (
    NODE,
    QUEUED,
    ZONE,
    connect,
    create,
    delete,
    is_done,
    node_state,
    resource,
    state,
    switch,
)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


@pytest.fixture
def client(emulator: TpuEmulator) -> Iterator[tpu.TpuClient]:
    yield from connect(emulator.endpoint)


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
