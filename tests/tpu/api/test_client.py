"""The Cloud TPU client against the emulator, with all that the service is known to do.

Covers qarib_tasks/emulators/cloud_tpu/catalog.py, qarib_tasks/emulators/cloud_tpu/node_calls.py,
qarib_tasks/emulators/cloud_tpu/rest.py, qarib_tasks/emulators/cloud_tpu/server.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.rpc import code_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qarib_tasks.emulators.cloud_tpu.catalog import check_id, check_labels
from qarib_tasks.emulators.cloud_tpu.emulator import TpuEmulator
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour
from qarib_tasks.emulators.cloud_tpu.state import ManualClock
from qarib_tasks.layout import label_value
from qarib_tasks.tpu.api import errors as cloud_errors
from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuError
from qarib_tasks.tpu.api.request import TpuRequest, resource_name
from tests.support.google.retries import moved_clock

ZONE = "us-west4-a"
QUICK = Backoff(first=0.001, longest=0.002, within=30)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[TpuEmulator]:
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock()) as running:
        yield running


@pytest.fixture
def client(emulator: TpuEmulator) -> Iterator[CloudTpuClient]:
    client = CloudTpuClient("test", endpoint=emulator.endpoint, backoff=QUICK)
    yield client
    client.close()


def request(name: str = "a", **changes: object) -> TpuRequest:
    values: dict[str, object] = {
        "name": name,
        "zone": ZONE,
        "accelerator_type": "v5litepod-4",
        "runtime_version": "v2-alpha-tpuv5-lite",
        "labels": {"run": "r1"},
    }
    return TpuRequest(**(values | changes))  # type: ignore[arg-type]


def state(client: CloudTpuClient, name: str = "a") -> str | None:
    resource = client.queued_resource(ZONE, name)
    return None if resource is None else str(resource.state.state.name)


def steps_until_gone(emulator: TpuEmulator, client: CloudTpuClient, name: str = "a") -> int:
    """Delete steps, five seconds apart."""
    for steps in range(1, 200):
        if client.delete_step(ZONE, name):
            return steps
        emulator.advance(5)
    raise AssertionError("never gone")


def test_asked_for_granted_and_deleted(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    operation = client.create_queued_resource(request(valid_until=3600, description="بيرت"))
    assert operation is not None
    assert client.node(ZONE, "a") is None
    emulator.advance(152)
    resource = client.queued_resource(ZONE, "a")
    assert resource is not None
    assert resource.queueing_policy.valid_until_duration.total_seconds() == 3600
    assert "spot" in resource
    node = client.nodes_of(ZONE, resource)["a"]
    assert node is not None
    assert (node.state.name, node.description) == ("READY", "بيرت")
    assert client.operation_error(operation, zone=ZONE) is None
    assert [n.name for n in client.nodes(labels={"run": "r1"})] == [node.name]
    assert client.nodes(labels={"run": "r2"}) == []
    assert [r.name for r in client.queued_resources(labels={"run": "r1"})] == [resource.name]
    assert client.queued_resources(ZONE, {"run": "r2"}) == []
    steps_until_gone(emulator, client)
    assert (state(client), client.node(ZONE, "a")) == (None, None)
    assert client.delete_step(ZONE, "a")


def test_two_tries_ask_for_one_tpu(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    assert client.create_queued_resource(request())
    assert client.create_queued_resource(request()) is None
    with pytest.raises(cloud_errors.TpuConflictError, match=r"a \(v5litepod-4\) in us-west4-a: .*exists"):
        client.create_queued_resource(request(labels={"run": "r2"}))
    assert emulator.queued_resource_ids == ["a"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "create_conflict", "times": 1},
        {"kind": "api_error", "method": "Create*", "after_effect": True, "times": 2},
        {"kind": "api_error", "method": "*QueuedResource", "times": 5, "codes": [14]},
    ],
)
def test_a_create_whose_answer_is_wrong_or_lost(
    emulator: TpuEmulator, client: CloudTpuClient, fault: dict[str, object]
) -> None:
    emulator.add_fault(**fault)
    client.create_queued_resource(request())
    emulator.advance(152)
    assert emulator.node_ids == ["a"]
    assert emulator.bills()[0].name.endswith("/nodes/a")
    assert len(emulator.bills()) == 1


def test_a_third_of_the_calls_fail(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    emulator.add_fault(kind="api_error", rate=0.3, seed=3)
    for name in ("a", "b", "c", "d"):
        client.create_queued_resource(request(name))
    emulator.advance(152)
    assert {state(client, name) for name in "abcd"} == {"ACTIVE"}
    assert len(client.queued_resources()) == 4
    for name in ("a", "b", "c", "d"):
        steps_until_gone(emulator, client, name)
    assert (emulator.queued_resource_ids, emulator.node_ids) == ([], [])


def test_an_api_that_never_answers(emulator: TpuEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = moved_clock(monkeypatch)
    emulator.add_fault(kind="api_error", codes=[14])
    client = CloudTpuClient("test", endpoint=emulator.endpoint)
    with pytest.raises(cloud_errors.TpuUnavailableError, match="Please try again"):
        client.queued_resource(ZONE, "a")
    assert emulator.calls["GetQueuedResource"] > 5
    assert Backoff().within - Backoff().longest <= clock.now <= Backoff().within
    client.close()


def freeze_at(seconds: float) -> Callable[[TpuEmulator], None]:
    return lambda emulator: emulator.advance(seconds)


def preempted(emulator: TpuEmulator) -> None:
    emulator.advance(152)
    emulator.strike("a", kind="preempt")


def vanished(emulator: TpuEmulator) -> None:
    emulator.advance(152)
    emulator.strike("a", kind="vanish")


def kept_twice(emulator: TpuEmulator) -> None:
    emulator.add_fault(kind="delete_again", times=2)
    emulator.advance(152)


def refused_waiting(emulator: TpuEmulator) -> None:
    emulator.state.faults.behaviour = Behaviour(refuse_delete_while_waiting=True)
    emulator.advance(3)


def withdrawn(emulator: TpuEmulator) -> None:
    emulator.add_fault(kind="provisioning_fails")
    emulator.advance(200)


@pytest.mark.parametrize(
    "before", [freeze_at(0), freeze_at(70), preempted, vanished, kept_twice, refused_waiting, withdrawn]
)
@pytest.mark.parametrize("response", ["empty", "queued_resource"])
def test_deleted_from_every_state(
    tmp_path: Path, before: Callable[[TpuEmulator], None], response: str
) -> None:
    behaviour = Behaviour(delete_response=response)  # type: ignore[arg-type]
    with TpuEmulator(tmp_path / "tpu", clock=ManualClock(), behaviour=behaviour) as emulator:
        client = CloudTpuClient("test", endpoint=emulator.endpoint, backoff=QUICK)
        client.create_queued_resource(request())
        before(emulator)
        steps_until_gone(emulator, client)
        assert (emulator.queued_resource_ids, emulator.node_ids) == ([], [])
        client.close()


def test_no_delete_while_it_is_being_suspended(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    client.create_queued_resource(request())
    preempted(emulator)
    assert state(client) == "SUSPENDING"
    assert not client.delete_step(ZONE, "a")
    assert "DeleteQueuedResource" not in emulator.calls


def test_a_delete_without_end_says_how_to_go_on(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    client.create_queued_resource(request())
    with pytest.raises(cloud_errors.TpuUnavailableError, match="queued-resources delete a --zone=us-west4-a"):
        client.delete(ZONE, "a", within=0.0, poll=0.0)


def test_a_node_that_its_queued_resource_left_behind(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    client.api.create_node(
        parent=f"projects/test/locations/{ZONE}",
        node_id="a",
        node=request().message("test").tpu.node_spec[0].node,
    )
    emulator.advance(60)
    assert emulator.node_ids == ["a"]
    steps_until_gone(emulator, client)
    assert emulator.node_ids == []


def test_what_went_wrong_is_said_with_zone_type_and_cure(
    emulator: TpuEmulator, client: CloudTpuClient
) -> None:
    with pytest.raises(cloud_errors.TpuRequestError, match=r"a \(v6e-1\) in us-west4-a: .*types list --zone"):
        client.create_queued_resource(request(accelerator_type="v6e-1"))
    emulator.add_fault(kind="quota", chips=4)
    client.create_queued_resource(request())
    with pytest.raises(cloud_errors.TpuQuotaError, match=r"b \(v5litepod-4\) in us-west4-a: .*Quotas"):
        client.create_queued_resource(request("b"))
    # A quota does not grow by asking again.
    assert emulator.calls["CreateQueuedResource"] == 3
    emulator.clear_faults()
    text = "Permission denied on 'locations/us-west4-a' (or it may not exist)."
    emulator.add_fault(kind="create_refused", code=7, message=text)
    with pytest.raises(cloud_errors.TpuPermissionError, match="roles/tpu"):
        client.create_queued_resource(request("c"))


def test_a_failed_resource_says_why(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    emulator.add_fault(kind="stock_out", match="a")
    emulator.add_fault(kind="provisioning_fails", match="b")
    text = "You have reached IN_USE_ADDRESSES limit. [EID: 0x1]"
    emulator.add_fault(kind="provisioning_fails", match="c", code=8, message=text)
    emulator.add_fault(kind="queue_for_ever", match="d")
    text = "Reservation not found"
    emulator.add_fault(kind="create_operation_fails", match="e", code=5, message=text)
    for name in "abcd":
        client.create_queued_resource(request(name, valid_until=300))
    operation = client.create_queued_resource(request("e"))
    emulator.advance(400)
    expected = {
        "a": (cloud_errors.TpuStockOutError, "no more capacity"),
        "b": (cloud_errors.TpuStockOutError, "an internal error"),
        "c": (cloud_errors.TpuQuotaError, "IN_USE_ADDRESSES"),
        "d": (cloud_errors.TpuStockOutError, "not granted within"),
        "e": (cloud_errors.TpuRequestError, "Reservation not found"),
    }
    for name, (kind, text) in expected.items():
        resource = client.queued_resource(ZONE, name)
        assert resource is not None
        assert resource.state.state.name == "FAILED"
        error = cloud_errors.of_failed(resource, zone=ZONE)
        assert type(error) is kind, error
        assert text in str(error)
        assert f"{name} (v5litepod-4) in {ZONE}" in str(error)
        assert error.do
    assert operation
    assert isinstance(client.operation_error(operation, zone=ZONE), cloud_errors.TpuRequestError)


def test_every_code_has_an_error() -> None:
    for code in code_pb2.Code.values():
        error = cloud_errors.of_status(code, "something", zone=ZONE)
        assert isinstance(error, TpuError)
        assert error.do


def test_what_a_zone_offers(client: CloudTpuClient) -> None:
    client.check_offered(ZONE, "v5litepod-4", "v2-alpha-tpuv5-lite")
    with pytest.raises(cloud_errors.TpuRequestError, match=r"no accelerator type v6e-8.*v5litepod-16"):
        client.check_offered(ZONE, "v6e-8", "v2-alpha-tpuv5-lite")
    with pytest.raises(cloud_errors.TpuRequestError, match=r"no runtime version v2.*v2-alpha-tpuv5-lite"):
        client.check_offered(ZONE, "v5litepod-4", "v2")
    with pytest.raises(cloud_errors.TpuRequestError, match="not supported"):
        client.check_offered("mars-east1-a", "v5litepod-4", "v2")


def test_a_reserved_tpu_of_an_own_account(emulator: TpuEmulator, client: CloudTpuClient) -> None:
    reservation = "projects/test/locations/us-west4-a/reservations/-"
    account = "trainer@test.iam.gserviceaccount.com"
    client.create_queued_resource(
        request(tier="reserved", reservation=reservation, service_account=account, external_ips=False)
    )
    resource = client.queued_resource(ZONE, "a")
    assert resource is not None
    assert (resource.guaranteed.reserved, resource.reservation_name) == (True, reservation)
    assert resource.tpu.node_spec[0].node.service_account.email == account
    with pytest.raises(cloud_errors.TpuRequestError, match="tier"):
        request(reservation=reservation)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLOUD_TPU_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(cloud_errors.TpuPermissionError, match=r"missing\.json.*CLOUD_TPU_EMULATOR_HOST"):
        CloudTpuClient("test")


@pytest.mark.parametrize("bad", [{"name": "A"}, {"name": "a" * 64}, {"zone": "us-central1"}])
def test_names_are_checked_before_the_call(bad: dict[str, str]) -> None:
    with pytest.raises(cloud_errors.TpuRequestError):
        request(**bad)


@settings(max_examples=25, deadline=None)
@given(st.text(), st.integers(1, 999), st.text(max_size=80))
@example("manual__2026-11-22T10:00:00+00:00_$(reboot)\n'\"", 1, "9")
@example("", 1, "")
def test_names_and_labels_of_any_run_id_are_accepted(run_id: str, attempt: int, prefix: str) -> None:
    name = resource_name(run_id, attempt, prefix)
    check_id("queued_resource_id", name, strict=True)
    assert name == resource_name(run_id, attempt, prefix)
    assert name != resource_name(run_id, attempt + 1, prefix)
    assert name != resource_name(f"{run_id}_", attempt, prefix)
    check_labels({"run": label_value(run_id)})
    assert label_value(run_id) != label_value(run_id.swapcase()) or run_id == run_id.swapcase()


def test_a_dag_file_may_import_it_without_google_s_libraries() -> None:
    heavy = ("grpc", "google.api_core", "google.cloud.tpu_v2alpha1")
    code = f"import sys, qarib_tasks.tpu.api.client; print([n for n in sys.modules if n in {heavy}])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
