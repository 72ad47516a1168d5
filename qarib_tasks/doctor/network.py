"""The network of the TPU's machines: whether they reach Google and the package index."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.bucket import region_of
from qarib_tasks.doctor.project import not_shown
from qarib_tasks.doctor.result import Result, fault, ok

VIEWER = "roles/compute.networkViewer"
_ALL = ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1")
_GATEWAY = "default-internet-gateway"
# The addresses of private.googleapis.com and restricted.googleapis.com.
_GOOGLE = ("199.36.153.8/30", "199.36.153.4/30")


def check_network(apis: GoogleApis, project: str, member: str, tpu: TpuConfig) -> list[Result]:
    """Check the network's route and, without external addresses, each region's subnetwork."""
    network, home = _named(tpu.network or "default", project)
    try:
        apis.get("compute", f"compute/v1/projects/{home}/global/networks/{network}")
        routes = list(apis.pages("compute", f"compute/v1/projects/{home}/global/routes", "items"))
    except RefusedError as error:
        if error.code == 404:
            do = f"gcloud compute networks create {shlex.quote(network)} --project={shlex.quote(home)}"
            return [fault("network", "does not exist", network, do)]
        return [not_shown("network", error, home, member, VIEWER)]
    results = [_route(routes, network, home, tpu.external_ips)]
    for region in dict.fromkeys(region_of(zone) for zone in tpu.zones):
        results += _subnetwork(apis, tpu, network, home, member, region)
    return results


def _named(name: str, project: str) -> tuple[str, str]:
    """The name and the project of `projects/P/global/networks/N`, or of a name alone."""
    parts = name.split("/")
    home = parts[parts.index("projects") + 1] if "projects" in parts[:-1] else project
    return parts[-1], home


def _route(routes: Sequence[dict[str, Any]], network: str, project: str, external: bool) -> Result:
    wanted = _ALL if external else (*_ALL, *_GOOGLE)
    for route in routes:
        through = str(route.get("nextHopGateway", "")).endswith(_GATEWAY)
        # A proxy or NAT machine as the next hop may lead there too.
        other = any(
            route.get(key) for key in ("nextHopInstance", "nextHopIlb", "nextHopIp", "nextHopVpnTunnel")
        )
        own = str(route.get("network", "")).rpartition("/")[2] == network
        if own and route.get("destRange") in wanted and (through or other):
            return ok("network route", f"by {route.get('name')} to {route.get('destRange')}", network)
    do = (
        f"gcloud compute routes create qarib-internet --network={shlex.quote(network)} "
        f"--destination-range=0.0.0.0/0 --next-hop-gateway={_GATEWAY} --project={shlex.quote(project)}"
    )
    return fault("network route", "no route leads to Google's APIs", network, do)


def _subnetwork(
    apis: GoogleApis, tpu: TpuConfig, network: str, project: str, member: str, region: str
) -> list[Result]:
    # The subnetworks of a network that makes them itself have its name.
    name, home = _named(tpu.subnetwork or network, project)
    try:
        found = apis.get("compute", f"compute/v1/projects/{home}/regions/{region}/subnetworks/{name}")
    except RefusedError as error:
        if error.code == 404:
            do = (
                f"gcloud compute networks subnets create {shlex.quote(name)} "
                f"--network={shlex.quote(network)} --region={region} "
                f"--range=10.200.0.0/20 --enable-private-ip-google-access "
                f"--project={shlex.quote(home)}, or set subnetwork"
            )
            return [fault("subnetwork", f"does not exist in {region}", name, do)]
        return [not_shown("subnetwork", error, home, member, VIEWER)]
    if tpu.external_ips:
        return [ok("subnetwork", f"exists in {region}; the machines have external addresses", name)]
    if found.get("privateIpGoogleAccess"):
        return [ok("subnetwork", f"has Private Google Access in {region}", name)]
    do = (
        f"gcloud compute networks subnets update {shlex.quote(name)} --region={region} "
        f"--enable-private-ip-google-access --project={shlex.quote(home)}, or set external_ips: true"
    )
    what = f"has no Private Google Access in {region}, and external_ips is false"
    return [fault("subnetwork", what, name, do)]
