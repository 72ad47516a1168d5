"""The machines' network: route, subnetwork, Private Google Access."""

from __future__ import annotations

from typing import Any

import pytest

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.network import check_network
from tests.support.google.stand_in import GoogleStandIn

ME = "user:me@example.org"


def checked(apis: GoogleApis, **settings: Any) -> list[tuple[str, str, str]]:
    tpu = TpuConfig(zones=("us-central1-a", "us-central1-b"), **settings)
    return [(one.subject, one.state, one.do) for one in check_network(apis, "my-project", ME, tpu)]


def test_without_external_addresses_the_subnetwork_needs_access(
    apis: GoogleApis, google: GoogleStandIn
) -> None:
    (route, (subject, state, do)) = checked(apis, external_ips=False)
    assert (route[1], subject, state) == ("ok", "subnetwork", "fault")
    command = "gcloud compute networks subnets update default --region=us-central1 "
    assert do.startswith(f"{command}--enable-private-ip-google-access")
    google.world.private_access = True
    assert [one[1] for one in checked(apis, external_ips=False)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("route", "external", "state"),
    [
        ({"destRange": "10.0.0.0/8", "nextHopGateway": True}, True, "fault"),
        ({"destRange": "199.36.153.8/30", "nextHopGateway": True}, True, "fault"),
        ({"destRange": "199.36.153.8/30", "nextHopGateway": True}, False, "ok"),
        ({"destRange": "0.0.0.0/0", "nextHopIp": "10.0.0.2"}, True, "ok"),
    ],
)
def test_routes(
    apis: GoogleApis, google: GoogleStandIn, route: dict[str, Any], external: bool, state: str
) -> None:
    google.world.routes = [{"name": "r", "network": "default", **route}]
    assert checked(apis, external_ips=external)[0][:2] == ("network route", state)


def test_a_network_of_another_project(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.networks = {"shared"}
    google.world.routes[0]["network"] = "shared"
    name = "projects/host/global/networks/shared"
    assert [one[1] for one in checked(apis, network=name)] == ["ok", "ok"]
    ((subject, state, do),) = checked(apis, network="absent")
    assert (subject, state, do) == (
        "network",
        "fault",
        "gcloud compute networks create absent --project=my-project",
    )
    (_, (subject, state, do)) = checked(apis, network=name, subnetwork="absent")
    assert (subject, state) == ("subnetwork", "fault")
    assert "subnets create absent --network=shared" in do


def test_it_may_not_be_seen(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.denied.add("compute.networks.get")
    ((_, state, do),) = checked(apis)
    assert (state, do.endswith("roles/compute.networkViewer")) == ("warning", True)
    google.world.denied = {"compute.subnetworks.get"}
    assert [one[1] for one in checked(apis)] == ["ok", "warning"]
